"""Parts of figures that several analyses share: a line per member, a line per split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import polars as pl

from oocr.charts.figure import Figure, LegendEntry
from oocr.charts.panels import COLOURS, Line, Tables, figure_of, line_of, lines_panel
from oocr.reproduce.scoring import SPLITS


def colour(place: int) -> str:
    """The colour of the thing in this place."""
    return COLOURS[place % len(COLOURS)]


def names_in(table: pl.DataFrame, column: str) -> list[str]:
    """A column's values, each once, in the table's order."""
    return table[column].unique(maintain_order=True).to_list()


def member_lines(table: pl.DataFrame, members: Sequence[str], x: str, y: str) -> list[Line]:
    """One line per member that has rows."""
    return [
        line_of(table.filter(pl.col("member") == member), member, colour(place), x, y)
        for place, member in enumerate(members)
        if member in table["member"]
    ]


def split_figure(
    name: str, caption: str, tables: Tables, x: str, across: str, *, log: bool = False
) -> Figure | None:
    """Scores in and out of context over a column `x`; grey: the untouched model, out of context."""
    panels = []
    for task, table in tables.items():
        lines = [
            line_of(rows, words, colour(place), x, intervals=True)
            for place, (split, words) in enumerate(SPLITS.items())
            if len(rows := table.filter(pl.col("part") == split))
        ]
        level = float(table.filter(pl.col("part") == "probes")["base"].to_list()[0])
        ticks = sorted(table[x].unique().to_list())
        panel = lines_panel(lines, across, "score", title=task, log=log, level=level, ticks=ticks)
        panels.append(replace(panel, height=300, span=6))
    return figure_of(name, caption, panels, tables, split_keys())


def split_keys() -> list[LegendEntry]:
    """A legend entry per split."""
    return keys_of((words, words, colour(place)) for place, words in enumerate(SPLITS.values()))


def line_keys(lines: Iterable[Line]) -> list[LegendEntry]:
    """A legend entry per name."""
    return keys_of(dict.fromkeys((line.name, line.name, line.colour) for line in lines))


def keys_of(entries: Iterable[tuple[str, str, str]]) -> list[LegendEntry]:
    """Legend entries of lines, from their ids, labels and colours."""
    return [LegendEntry(id, label, hue, "line") for id, label, hue in entries]
