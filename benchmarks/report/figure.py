"""The figure: seconds per step of ours and the peers, and how cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report.summary import Line, summarise
from benchmarks.report.texts import KIND, WHO

COLOURS = {
    "ours": "#0b6e4f",
    "plain-all": "#8a8a8a",
    "plain-last": "#b9b9b9",
    "peft-last": "#e3c9a4",
    "trl": "#c77d2e",
    "beft": "#7c6aa8",
    "beft-hook": "#b3a8cc",
}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write an SVG; left the compared rows, right the cost per arm and per token."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same input gives the same file.
    mpl.rcParams.update({"svg.hashsalt": "oocr", "font.size": 9, "axes.spines.top": False})
    mpl.rcParams["axes.spines.right"] = False
    import matplotlib.pyplot as plt

    lines = [entry for entry in summarise(results) if "step" in entry.row]
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(13, 6.5), width_ratios=(2.2, 1, 1), layout="constrained"
    )
    _compared(left, lines)
    _arms(middle, lines)
    _tokens(right, lines)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _plain(line: Line) -> bool:
    row = line.row
    usual = row["case"]["tokens"] == 41 and row["case"]["examples"] == 64
    return usual and not row["seeds"] and not row["together"]


def _compared(axes: Any, lines: Sequence[Line]) -> None:
    rows = [entry for entry in lines if _plain(entry) and entry.row["case"]["precision"] == "fp32"]
    rows.sort(
        key=lambda entry: (entry.row["case"]["block"], list(KIND).index(entry.row["case"]["kind"]))
    )
    names: list[str] = []
    seen: set[str] = set()
    for place, line in enumerate(reversed(rows)):
        row = line.row
        who = row["who"]
        label = WHO[who] if who not in seen else None
        seen.add(who)
        void = bool(line.void)
        axes.barh(
            place,
            row["step"],
            color=COLOURS[who],
            label=label,
            alpha=0.3 if void else 1,
            height=0.8,
        )
        names.append(f"{row['case']['block']}: {KIND[row['case']['kind']]}")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.set_xlabel("seconds per step (log scale; pale: void)")
    axes.set_title("block: what is trained, by whom (fp32)", loc="left")
    if names:
        axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.4, -0.25), ncol=3)


def _arms(axes: Any, lines: Sequence[Line]) -> None:
    for kind, mark in (("last", "o"), ("span", "s"), ("lora", "^")):
        rows = [
            entry
            for entry in lines
            if entry.ours
            and entry.row["together"]
            and entry.row["case"]["kind"] == kind
            and not entry.void
        ]
        rows.sort(key=lambda entry: entry.row["arms"])
        counts = [entry.row["arms"] for entry in rows]
        axes.plot(counts, [entry.per_arm for entry in rows], marker=mark, label=KIND[kind])
    _log(axes, "arms side by side", "seconds per step and arm", "cost of an arm")


def _tokens(axes: Any, lines: Sequence[Line]) -> None:
    blocks = {entry.row["case"]["block"] for entry in lines if entry.row["case"]["tokens"] != 41}
    for kind, mark in (("last", "o"), ("span", "s"), ("all", "^")):
        rows = [
            entry
            for entry in lines
            if entry.ours
            and not entry.void
            and entry.row["case"]["kind"] == kind
            and entry.row["case"]["block"] in blocks
            and entry.row["case"]["examples"] == 64
            and entry.row["case"]["precision"] == "fp32"
        ]
        rows.sort(key=lambda entry: entry.row["case"]["tokens"])
        counts = [entry.row["case"]["tokens"] for entry in rows]
        axes.plot(counts, [entry.row["step"] for entry in rows], marker=mark, label=KIND[kind])
    _log(axes, "tokens of a prompt", "seconds per step", "growth with length")


def _plain_numbers(axis: Any) -> None:
    """0.2, not 2 x 10^-1, at 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _log(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _plain_numbers(axes.yaxis)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, loc="left")
    if axes.lines:
        axes.legend(fontsize=7)
