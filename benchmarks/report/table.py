"""The table in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.report.bars import bars, large_bars
from benchmarks.report.summary import FIXED_LOSS, Line, summarise, unsteady
from benchmarks.report.texts import (
    WHO,
    bar_texts,
    giga,
    mega,
    percent,
    row_name,
    seconds,
    times,
    unsteady_text,
)

COLUMNS = (
    "who",
    "s/step",
    "per arm",
    f"s to {FIXED_LOSS:g} nats",
    "vs all logits",
    "vs last logits",
    "vs TRL+PEFT",
    "GFLOP/s",
    "of peak",
    "MB more",
    "loss diff",
)

LEAN = ("plain-last", "peft-last", "beft")
"""Peers that compute the last logits only, by what is trained."""


def cells(line: Line) -> list[str]:
    """One row's cells, in the order of COLUMNS; a void row has only its reason."""
    if line.void and "step" not in line.row:
        return [WHO[line.row["who"]], *["–"] * (len(COLUMNS) - 1)]
    row, ratios = line.row, line.ratios
    to_loss = seconds(line.to_loss)
    return [
        WHO[row["who"]],
        seconds(row["step"]),
        seconds(line.per_arm) if row["side_by_side"] > 1 else "–",
        f"({to_loss})" if line.extrapolated else to_loss,
        times(ratios.get("plain-all")),
        times(next((ratios[w] for w in LEAN if w in ratios), None)),
        times(ratios.get("trl")),
        giga(line.rate),
        percent(line.share),
        mega(row["peak"] - row["resident"]),
        "–" if line.difference is None else f"{line.difference:.1g}",
    ]


def show(results: dict[str, Any], console: Console) -> None:
    """Print the rows and the bars."""
    lines = summarise(results)
    for title, group in sections(lines):
        table = Table(title=title, title_justify="left")
        table.add_column("row", overflow="fold")
        for name in COLUMNS:
            table.add_column(name, justify="left" if name == "who" else "right")
        for line in group:
            style = "dim" if line.void else "bold" if line.ours else ""
            table.add_row(row_name(line.row), *cells(line), style=style)
        console.print(table)
        for line in group:
            if line.void:
                who = WHO[line.row["who"]]
                console.print(f"void: {who}, {row_name(line.row)}: {line.void}", style="yellow")
    for line in unsteady(lines):
        console.print(unsteady_text(line.row), style="yellow")
    table = Table(title="bars", title_justify="left")
    for name in ("bar", "required", "found", ""):
        table.add_column(name)
    on_large = any(line.row["case"].get("data") == "functions" for line in lines)
    for bar in (large_bars if on_large else bars)(lines):
        table.add_row(bar.name, *bar_texts(bar))
    console.print(table)


def sections(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Rows by what they are about: a precision and block, arms, the sweep, growth."""
    out: dict[str, list[Line]] = {}
    for line in lines:
        case, row = line.row["case"], line.row
        if row["seeds"]:
            title = "a sweep over all layers"
        elif case["examples"] == 16 and (row["together"] or case["tokens"] == 41):
            title = f"arms side by side, one batch of 16, block {case['block']}"
        elif case["tokens"] != 41 or case["examples"] != 64:
            title = f"growth with tokens and examples, block {case['block']}"
        else:
            title = f"block {case['block']}, {case['precision']}"
        out.setdefault(title, []).append(line)
    return list(out.items())
