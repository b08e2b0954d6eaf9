"""Scores along training, facet by facet: some are learned and lost before others."""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr.charts.arms import ADAPTER, BASE, VECTOR, Arm, base_line, dot_keys, rows_of
from oocr.charts.figure import Figure, Json, Panel, View, number, text
from oocr.charts.traces import axis, layout
from oocr.report.figures.training import followed
from oocr.report.measure import Measure, measure_of, scored
from oocr.report.runs import Run

_MOST = 12  # panels


def facets_figure(run: Run) -> Figure | None:
    """A small panel per out-of-context facet, with a line per method."""
    measure = measure_of(run)
    if measure is None or run.rows is None:
        return None
    probes = run.rows.filter(pl.col("part") == "probes", pl.col("control") == "")
    facets = probes["facet"].unique(maintain_order=True).to_list()
    if not 1 < len(facets) <= _MOST:
        return None
    found = []
    for arm in (VECTOR, ADAPTER):
        mine = followed(rows_of(probes, arm).filter(pl.col("step").is_not_null()))
        if mine["step"].n_unique() > 1:
            found += _points(measure, mine, arm)
    if not found:
        return None
    base = _base(measure, rows_of(probes, BASE))
    data = pl.DataFrame(found).sort("facet", "arm", "step")
    shown = [arm for arm in (VECTOR, ADAPTER) if arm.name in data["arm"]]
    panels = tuple(
        _panel(measure, data.filter(pl.col("facet") == facet), facet, base.get(facet), shown)
        for facet in facets
        if facet in data["facet"]
    )
    caption = f"Out-of-context score along training, facet by facet. Ribbons: {measure.bars}."
    if base:
        caption += " Level line: the untouched model."
    keys = dot_keys(shown) + ((BASE.entry(symbol="line"),) if base else ())
    return Figure("training-facets", caption, (View("", panels),), data, keys)


def _points(measure: Measure, rows: pl.DataFrame, arm: Arm) -> list[dict[str, Any]]:
    found = []
    for (facet, step), some in rows.group_by("facet", "step", maintain_order=True):
        one = scored(measure, some, balanced=True)
        if one is not None:
            found.append(
                {"facet": str(facet), "arm": arm.name, "step": step}
                | {"value": one.value, "low": one.low, "high": one.high}
            )
    return found


def _base(measure: Measure, rows: pl.DataFrame) -> dict[str, float]:
    if rows.is_empty() or measure.kind != "accuracy":
        return {}
    found = {}
    for (facet,), some in rows.group_by("facet", maintain_order=True):
        one = scored(measure, some, balanced=True)
        if one is not None:
            found[str(facet)] = one.value
    return found


def _panel(
    measure: Measure, data: pl.DataFrame, facet: str, base: float | None, arms: list[Arm]
) -> Panel:
    traces: list[Json] = []
    if base is not None:
        traces.append(base_line(0, max(data["step"].to_list()), base))
    for arm in arms:
        some = data.filter(pl.col("arm") == arm.name)
        if not some.is_empty():
            traces += _lines(arm, some)
    y = axis("", "width", rangemode="tozero", nticks=5)
    if measure.kind == "accuracy":
        y["range"] = [-0.04, 1.04]
    x = axis("", rangemode="tozero", nticks=6)
    return Panel(tuple(traces), layout(x, y), 190, facet, 2)


def _lines(arm: Arm, some: pl.DataFrame) -> list[Json]:
    steps = some["step"].to_list()
    ribbon: Json = {
        "type": "scatter",
        "mode": "lines",
        "meta": arm.key,
        "x": [*steps, *reversed(steps)],
        "y": [*some["high"].to_list(), *reversed(some["low"].to_list())],
        "fill": "toself",
        "fillcolor": f"@{arm.colour}/0.15",
        "line": {"color": "@none", "width": 0},
        "hoverinfo": "skip",
    }
    line: Json = {
        "type": "scatter",
        "mode": "lines+markers",
        "meta": arm.key,
        "x": steps,
        "y": some["value"].to_list(),
        "line": {"color": f"@{arm.colour}", "width": 2},
        "marker": {"color": f"@{arm.colour}", "symbol": arm.symbol, "size": 6},
        "hovertext": [
            f"<b>{text(arm.label)}</b><br>step {row['step']}: {number(row['value'])} "
            f"[{number(row['low'])}, {number(row['high'])}]"
            for row in some.iter_rows(named=True)
        ],
        "hoverinfo": "text",
    }
    return [ribbon, line]
