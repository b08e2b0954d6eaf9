"""Member by member: share right by facet, and the swap of the LoRA for its mean difference."""

from __future__ import annotations

import math
from collections import Counter

import polars as pl

from oocr import stats
from oocr.charts.arms import (
    ADAPTER,
    BASE,
    CEILING,
    NULLS,
    RANDOM_EVERYWHERE,
    RANDOM_SPAN,
    SWAP_EVERYWHERE,
    SWAP_SPAN,
    VECTOR,
    Arm,
    arms_in,
    rows_of,
)
from oocr.charts.figure import Figure, Json, Panel, hover_box, number, percent, text
from oocr.charts.panels import figure_of, heat_panel
from oocr.charts.rows import dot_panel
from oocr.evals.score_table import facet_order, final_rows, null_scores, whole_name
from oocr.evals.scores import Scoring
from oocr.report.figures.scores import SHARE, row_name
from oocr.runs.folder import RunFolder, as_float, has

_ANSWERS = 6  # different answers in a hover box
_PANELS = 4
_SWAP_ARMS = (BASE, RANDOM_SPAN, RANDOM_EVERYWHERE, SWAP_SPAN, SWAP_EVERYWHERE, ADAPTER)


def members_figure(run: RunFolder) -> Figure | None:
    """Heat maps of the share right for trained arms, their controls and the untouched model."""
    if run.info.score != "accuracy" or not has(run.rows, "chosen", "right"):
        return None
    final = final_rows(run.rows)
    trained = final.filter(pl.col("arm").is_in([VECTOR.name, ADAPTER.name]))
    members = trained["member"].unique(maintain_order=True).to_list()
    if len(members) < 2:
        return None
    wanted = (VECTOR, ADAPTER, Arm("vector", "shuffled"), Arm("vector", "decorrelated"), BASE)
    present = arms_in(final)
    tables = {
        arm: _member_table(rows_of(final, arm), members)
        for arm in (*wanted, CEILING)
        if arm in present
    }
    tables = {arm: table for arm, table in tables.items() if not table.is_empty()}
    order = [row_name(*pair) for pair in facet_order(trained)]
    panels = [
        _member_heat(arm, table, members, order) for arm, table in list(tables.items())[:_PANELS]
    ]
    if not panels:
        return None
    data = pl.concat(
        table.with_columns(arm=pl.lit(arm.name), control=pl.lit(arm.control))
        for arm, table in tables.items()
    )
    caption = (
        "Share right per member and facet, mean over seeds and wordings. Point at a cell for the "
        f"answers given and how often. n = {len(members)} members."
    )
    return figure_of("members", caption, panels, data, scale=("0", "1"))


def _member_table(rows: pl.DataFrame, members: list[str]) -> pl.DataFrame:
    lines = []
    rows = rows.filter(pl.col("member").is_in(members))
    keys = ("member", "part", "facet")
    for names, cell in rows.group_by(keys, maintain_order=True):
        counts = Counter(cell["chosen"].to_list()).most_common(_ANSWERS)
        lines.append(
            dict(zip(keys, map(str, names), strict=True))
            | {
                "right": as_float(cell["right"].cast(pl.Float64).mean()),
                "items": cell.height,
                "answer": str(cell["answer"][0]).strip(),
                "answers": "; ".join(f"{str(name).strip()} {n}×" for name, n in counts),
            }
        )
    return pl.DataFrame(lines)


def _member_heat(arm: Arm, table: pl.DataFrame, members: list[str], order: list[str]) -> Panel:
    cells = {
        (line["member"], row_name(line["part"], line["facet"])): line
        for line in table.iter_rows(named=True)
    }
    names = [name for name in order if any((member, name) in cells for member in members)]
    grid = [[cells.get((member, name)) for name in names] for member in members]
    return heat_panel(
        members,
        names,
        [[cell["right"] if cell else None for cell in line] for line in grid],
        hover=[[_member_hover(cell) if cell else "" for cell in line] for line in grid],
        title=arm.label,
        span=3 if len(order) <= 6 else 6,
    )


def _member_hover(cell: Json) -> str:
    return hover_box(
        f"{cell['member']}, {cell['facet']}",
        f"right {number(cell['right'])} of {cell['items']} items; "
        f"right answer: {text(cell['answer'])}",
        "answered: " + "<br>".join(text(answer) for answer in cell["answers"].split("; ")),
    )


def swap_figure(run: RunFolder) -> Figure | None:
    """Scores per member (or facet, for log-odds) of LoRA and swaps, and the effect kept."""
    scoring = run.scoring
    if scoring is None or run.rows is None:
        return None
    final = final_rows(run.rows).filter(pl.col("part") == "probes", pl.col("control") == "")
    whole = whole_name(scoring)
    final = scoring.kept(final)
    swaps = [arm for arm in (SWAP_SPAN, SWAP_EVERYWHERE) if not rows_of(final, arm).is_empty()]
    if not swaps or rows_of(final, ADAPTER).is_empty():
        return None
    unit = "member" if scoring.cluster == "member" else "facet"
    table = _swap_table(scoring, final, unit, whole)
    shares = {arm: scoring.share_kept(final, arm.name) for arm in swaps}
    kept = {arm: share for arm, share in shares.items() if share is not None}
    lora = dict(table.filter(pl.col("arm") == ADAPTER.name).select("row", "score").iter_rows())
    accuracy = scoring.measure == "accuracy"
    panel = dot_panel(
        table.with_columns(value="score", control=pl.lit("")),
        [whole, *sorted((name for name in lora if name != whole), key=lambda name: -lora[name])],
        scoring.axis,
        strong=(whole,),
        limits=SHARE if accuracy else None,
        one_lane=True,
        link=(BASE, ADAPTER),
    )
    caption = (
        f"Out-of-context score ({scoring.axis}) per {unit}, mean over seeds: the LoRA, and its "
        "mean difference as a constant vector in its place"
        + (
            " (x and +: median over random directions of the same norm)"
            if any(arm.name in table["arm"] for arm in NULLS)
            else ""
        )
        + ". The line runs from the untouched model to the LoRA."
        + (
            f" For “{whole}”, each distinct answer weighs the same."
            if accuracy and scoring.balance
            else ""
        )
        + (f" Shares of effect: Fieller's 95 % intervals over {scoring.units}." if kept else "")
    )
    recovery = pl.DataFrame(
        {"row": "recovery", "arm": arm.name, "score": i.value, "low": i.low, "high": i.high}
        for arm, i in kept.items()
    )
    data = pl.concat([table, recovery], how="diagonal") if kept else table
    keys = [
        arm.entry(symbol="tick" if arm == BASE else "")
        for arm in _SWAP_ARMS
        if arm.name in table["arm"]
    ]
    stats_shown = [
        (
            f"of the LoRA’s effect kept, {arm.label}",
            f"{percent(i.value)} % [{percent(i.low)}, {percent(i.high)}]",
        )
        for arm, i in kept.items()
    ]
    return figure_of("swap", caption, [panel], data, keys, stats=stats_shown)


def _swap_table(scoring: Scoring, final: pl.DataFrame, unit: str, whole: str) -> pl.DataFrame:
    names = rows_of(final, ADAPTER)[unit].unique(maintain_order=True).to_list()
    lines = []
    for arm in _SWAP_ARMS:
        of_arm = rows_of(final, arm)
        for name in (whole, *names):
            rows = of_arm if name == whole else of_arm.filter(pl.col(unit) == name)
            value = _score(scoring, rows, rows_of(final, BASE), null=arm in NULLS)
            if value is not None and math.isfinite(value):
                lines.append({"row": name, "arm": arm.name, "score": value})
    return pl.DataFrame(lines)


def _score(scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, *, null: bool) -> float | None:
    if rows.is_empty():
        return None
    if null:
        scores = null_scores(scoring, rows, base).filter("whole")
        return None if scores.is_empty() else as_float(scores["score"].median())
    cells = scoring.score(rows, base)
    return None if cells is None else stats.mean(cells)
