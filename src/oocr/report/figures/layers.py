"""Test scores by layer, where a run trained the reported arms at several layers."""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr import stats
from oocr.charts.arms import ADAPTER, BASE, VECTOR, Arm, base_line, rows_of
from oocr.charts.figure import Figure, Json, Key, Panel, View, number, text
from oocr.charts.traces import axis, layout
from oocr.report.measure import Measure, measure_of
from oocr.report.runs import Run, has
from oocr.report.score_table import headline, whole_name

_MOST = 9  # panels


def tested_layers_figure(run: Run) -> Figure | None:
    """A panel for the headline score and one per facet of it; a point per layer and method."""
    measure = measure_of(run)
    if measure is None or not has(run.rows, "layer"):
        return None
    assert run.rows is not None
    rows = run.rows.filter(pl.col("final"), pl.col("part") == "probes", pl.col("control") == "")
    rows = headline(rows)
    whole = whole_name(run.rows)
    found = []
    for arm in (VECTOR, ADAPTER):
        mine = rows.filter(pl.col("arm").is_in([arm.name, f"{arm.name} sweep"]))
        if mine["layer"].drop_nulls().n_unique() > 1:
            found += _points(measure, mine, arm, whole)
    if not found:
        return None
    data = pl.DataFrame(found).sort("arm", "facet", "layer")
    facets = [whole, *(one for one in rows["facet"].unique(maintain_order=True) if one != whole)]
    base = _base(measure, rows_of(rows, BASE), whole)
    shown = [arm for arm in (VECTOR, ADAPTER) if arm.name in data["arm"]]
    panels = tuple(
        _panel(measure, data.filter(pl.col("facet") == facet), facet, base.get(facet), shown)
        for facet in facets[:_MOST]
        if facet in data["facet"]
    )
    caption = (
        "Test scores with the arm at each layer, every layer with its own best learning rate and "
        f"stopping point on the validation tasks. Bars: {measure.bars}. Filled: the layer chosen "
        "on the validation tasks, the one reported above."
        + (" Level line: the untouched model." if base else "")
        + f" n = {rows_of(rows, shown[0])['member'].n_unique()} members."
    )
    keys = [arm.entry() for arm in shown]
    if base:
        keys.append(Key(BASE.key, BASE.label, BASE.colour, "line"))
    return Figure("layers-test", caption, (View("", panels),), data, tuple(keys))


def _points(measure: Measure, rows: pl.DataFrame, arm: Arm, whole: str) -> list[dict[str, Any]]:
    found = []
    for (layer, name), some in rows.group_by("layer", "arm", maintain_order=True):
        cells = measure.cells(some, balanced=True)
        if layer is None or cells is None:
            continue
        for facet in (whole, *cells.facets):
            one = stats.estimate(cells if facet == whole else cells.only(facet))
            found.append(
                {"arm": arm.name, "layer": layer, "chosen": name == arm.name, "facet": facet}
                | {"value": one.value, "low": one.low, "high": one.high}
            )
    return found


def _base(measure: Measure, rows: pl.DataFrame, whole: str) -> dict[str, float]:
    cells = measure.cells(rows, balanced=True) if measure.kind == "accuracy" else None
    if cells is None:
        return {}
    return {whole: stats.mean(cells)} | {
        facet: stats.mean(cells.only(facet)) for facet in cells.facets
    }


def _panel(
    measure: Measure, data: pl.DataFrame, facet: str, base: float | None, arms: list[Arm]
) -> Panel:
    layers = sorted(data["layer"].unique().to_list())
    traces: list[Json] = []
    if base is not None:
        traces.append(base_line(layers[0], layers[-1], base))
    for arm in arms:
        some = data.filter(pl.col("arm") == arm.name)
        if not some.is_empty():
            traces.append(_line(arm, some))
    y = axis("", "width", nticks=5, rangemode="tozero")
    if measure.kind == "accuracy":
        y["range"] = [-0.04, 1.04]
    x = axis("layer", tickmode="array", tickvals=layers)
    return Panel(tuple(traces), layout(x, y), 230, facet, 2)


def _line(arm: Arm, some: pl.DataFrame) -> Json:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "meta": arm.key,
        "x": some["layer"].to_list(),
        "y": some["value"].to_list(),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, high - value) for high, value in _pairs(some, "high")],
            "arrayminus": [max(0.0, value - low) for low, value in _pairs(some, "low")],
            "color": f"@{arm.colour}/0.55",
            "thickness": 2,
            "width": 0,
        },
        "line": {"color": f"@{arm.colour}/0.6", "width": 1.5},
        "marker": {
            "color": f"@{arm.colour}",
            "symbol": [arm.symbol if one else f"{arm.symbol}-open" for one in some["chosen"]],
            "size": 8,
            "line": {"width": 1.6, "color": f"@{arm.colour}"},
        },
        "hovertext": [
            f"<b>{text(arm.label)}</b>, layer {row['layer']}{' (chosen)' if row['chosen'] else ''}"
            f"<br>{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]"
            for row in some.iter_rows(named=True)
        ],
        "hoverinfo": "text",
    }


def _pairs(some: pl.DataFrame, name: str) -> list[tuple[float, float]]:
    return list(zip(some[name].to_list(), some["value"].to_list(), strict=True))
