"""A figure: plotly panels as plain dictionaries, or coloured texts, with their data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from oocr.charts.pieces import Json


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. `span` is how many columns of the page's six it asks for on a wide screen."""

    traces: tuple[Json, ...]
    layout: Json
    height: int
    title: str = ""
    span: int = 6


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A legend entry: hides or shows the traces whose `meta` is `key`."""

    key: str
    label: str
    colour: str
    symbol: str


@dataclass(frozen=True, slots=True)
class ColouredTexts:
    """Texts whose tokens are coloured by a number; `label` is shown where several can be chosen.

    `typical_norm` has the middle thickness of underline; `texts` are (kind, rows), a row per token
    with token, in_span, cosine and norm.
    """

    label: str
    typical_norm: float
    texts: tuple[tuple[str, list[Json]], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels, legend (`keys`), caption, and the data behind them with one row per mark.

    Attributes:
        views: label -> panels that are shown together; of several, a switch shows one.
        scale: what the palest and the deepest colour of a heat map stand for.
        stats: single numbers shown above, each with its label.
        texts, compared_with: in place of views, and what their colours are cosines to.
        file: address of the Parquet file, from the page's folder.
    """

    name: str
    caption: str
    views: Mapping[str, Sequence[Panel]]
    data: pl.DataFrame
    keys: Sequence[LegendEntry] = ()
    scale: tuple[str, str] | None = None
    stats: Sequence[tuple[str, str]] = ()
    texts: Sequence[ColouredTexts] = ()
    compared_with: str = ""
    file: str = ""

    @property
    def spec(self) -> Markup:
        """The views as JSON that is safe inside a script element."""
        views = [
            {
                "label": label,
                "panels": [{"traces": panel.traces, "layout": panel.layout} for panel in panels],
            }
            for label, panels in self.views.items()
        ]
        return script_json(views)


def script_json(value: Any) -> Markup:
    """JSON whose text cannot end or open a script element or comment."""
    text = json.dumps(_clean(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _clean(value: Any) -> Any:
    """Numbers that are not finite become null; floats keep five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _clean(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(part) for part in value]
    return value


Tables = Mapping[str, pl.DataFrame]
"""An analysis's tables, by the runs that they are about."""


def names_in(table: pl.DataFrame, column: str) -> list[str]:
    """A column's values, each once, in the table's order."""
    return table[column].unique(maintain_order=True).to_list()


def joined_tables(tables: Tables) -> pl.DataFrame:
    """The tables concatenated, with a column for the runs of each."""
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
