"""An analysis's tables: what names they hold, and a figure with its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Panel

Tables = Mapping[str, pl.DataFrame]
"""An analysis's tables, by the runs that they are about."""


def names_in(table: pl.DataFrame, column: str) -> list[str]:
    """A column's values, each once, in the table's order."""
    return table[column].unique(maintain_order=True).to_list()


def joined_tables(tables: Tables) -> pl.DataFrame:
    """The tables under each other, with what each is about."""
    named = [table.with_columns(about=pl.lit(name)) for name, table in tables.items()]
    return pl.concat(named, how="diagonal_relaxed")


def figure_of(
    name: str,
    caption: str,
    panels: Sequence[Panel] | Mapping[str, Sequence[Panel]],
    tables: Tables | pl.DataFrame,
    keys: Sequence[LegendEntry] = (),
    *,
    scale: tuple[str, str] | None = None,
    stats: Sequence[tuple[str, str]] = (),
) -> Figure | None:
    """A figure of one view, or of several with their labels; None without panels."""
    if not panels:
        return None
    data = tables if isinstance(tables, pl.DataFrame) else joined_tables(tables)
    views = panels if isinstance(panels, Mapping) else {"": panels}
    return Figure(name, caption, views, data, keys, scale, stats)
