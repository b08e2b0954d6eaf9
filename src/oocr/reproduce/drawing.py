"""Parts of figures that several analyses share: a line per member, a line per split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from oocr.charts.figure import Key, Panel
from oocr.charts.panels import COLOURS, Line, Tables, line_of, lines_panel
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


def split_panels(
    tables: Tables, x: str, across: str, *, log: bool = False, span: int = 6
) -> list[Panel]:
    """Scores in and out of context over a column `x`; grey: the untouched model, out of context."""
    panels = []
    for name, table in tables.items():
        lines = [
            line_of(rows, words, colour(place), x, intervals=True)
            for place, (split, words) in enumerate(SPLITS.items())
            if len(rows := table.filter(pl.col("part") == split))
        ]
        level = float(table.filter(pl.col("part") == "probes")["base"].to_list()[0])
        ticks = sorted(table[x].unique().to_list())
        panels.append(
            lines_panel(
                lines,
                across,
                "score",
                title=name,
                span=span,
                height=300,
                log=log,
                level=level,
                ticks=ticks,
            )
        )
    return panels


def split_keys() -> list[Key]:
    """The legend of `split_panels`."""
    return [Key(words, words, colour(place), "line") for place, words in enumerate(SPLITS.values())]


def line_keys(lines: Iterable[Line]) -> list[Key]:
    """A legend entry per name."""
    return list(
        {line.name: Key(line.name, line.name, line.colour, "line") for line in lines}.values()
    )
