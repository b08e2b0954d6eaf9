"""Strip charts of the page: recall and conclusions, a point for each seed and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from oocr.charts import pieces
from oocr.charts.dots import strip_panel
from oocr.charts.figure import LegendEntry, Panel
from oocr.intervals import SHARE, mean_interval


def strip_rows(
    row: str, series: str, values: Sequence[float], **columns: str
) -> list[dict[str, Any]]:
    """Rows of a figure's table: each seed's share, and the mean with its interval."""
    fields = {**columns, "row": row, "series": series}
    seeds = [{**fields, "kind": "seed", "value": value} for value in values]
    return [*seeds, {**fields, "kind": "mean", **mean_interval(values, bounds=SHARE).columns}]


def strips(table: pl.DataFrame, keys: Sequence[LegendEntry], title: str, chance: float) -> Panel:
    """Seeds and means of each series, by row; columns: those of `strip_rows`."""
    rows = list(dict.fromkeys(table["row"]))
    notes = pl.format("{}: {}", pl.col("row"), pl.col("value").round(3)).alias("note")
    cloud, means = (
        table.filter(pl.col("kind") == kind).with_columns(notes) for kind in ("seed", "mean")
    )
    x = pieces.axis("share right", range=[-0.06, 1.06])
    return strip_panel(cloud, means, rows, keys, x=x, vertical=chance, title=title, span=2)
