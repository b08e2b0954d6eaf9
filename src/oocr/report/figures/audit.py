"""An audit's blocks: what a constant vector brings back at each, and how constant the change is."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from oocr.audit.findings import CONSTANT, PARTLY, UNTOLD
from oocr.audit.record import AuditRecord, block_rows
from oocr.charts.figure import Figure, Json, Key, Panel, View, number, percent
from oocr.charts.traces import axis, layout

_LOWEST = -0.5
"""Shares below are drawn here: a vector can do any amount of harm."""

_LINES = {
    "cosine": ("signed cosine", "other", "circle", "solid"),
    "absolute": ("|cosine|", "swap-all", "diamond-open", "dot"),
    "energy": ("energy of the mean", "adapter", "square", "solid"),
}


def blocks_figure(record: AuditRecord) -> Figure:
    """Left the share of the effect brought back, right the constancy of the change."""
    data = pl.DataFrame(block_rows(record), infer_schema_length=None)
    panels = (
        Panel(_recovered(record), _layout(record, _low(record)), 300, "Effect brought back", 3),
        Panel(_constancy(data), _layout(record, _lowest_cosine(data)), 300, "Constancy", 3),
    )
    keys = [Key("mean", "the mean difference", "vector", "circle")]
    if record.fitted and record.fitted.steps:
        keys.append(Key("fitted", "the best single vector", "swap-span", "triangle-up"))
    if record.kind not in UNTOLD:
        keys.append(Key("random", "random direction, same norm", "random", "line"))
    keys += [
        Key(name, label, colour, symbol) for name, (label, colour, symbol, _) in _LINES.items()
    ]
    caption = (
        "Left: share of KL(fine-tune ‖ base) that is gone when the mean difference is added to "
        "every token of the base at that block's output; bars are 95 % intervals over texts, "
        "dashed lines the verdict's thresholds "
        f"({percent(CONSTANT)} and {percent(PARTLY)} %). "
        "Filled: the block chosen on other texts. "
        "Right: the change at each block's output, token by token; a constant vector has signed "
        "cosine and energy 1, and an axis whose sign flips has |cosine| 1 alone."
    )
    return Figure("blocks", caption, (View("", panels),), data, tuple(keys), file="blocks.parquet")


def _low(record: AuditRecord) -> float:
    ends = [one.recovered for one in record.blocks] + [one.low for one in record.blocks]
    ends += [] if record.fitted is None else [record.fitted.recovered.low]
    return max(_LOWEST, min([0.0, record.random, *(one for one in ends if math.isfinite(one))]))


def _lowest_cosine(data: pl.DataFrame) -> float:
    found = data["cosine"].min()
    return min(0.0, float(found)) if isinstance(found, float) else 0.0


def _layout(record: AuditRecord, low: float) -> Json:
    layers = [one.layer for one in record.blocks]
    step = max(1, round(len(layers) / 10))
    room = 0.5 if len(layers) < 12 else 0.03 * len(layers)
    x = axis(
        "block",
        tickmode="array",
        tickvals=layers[::step],
        range=[layers[0] - room, layers[-1] + room],
    )
    y = axis("", "width", range=[low - 0.06, 1.06], tickmode="array")
    y["tickvals"] = [one for one in (-0.5, -0.25, 0, 0.25, 0.5, 0.75, 1) if one >= low - 0.06]
    y |= {"zeroline": low < 0, "zerolinecolor": "@line"}
    return layout(x, y)


def _recovered(record: AuditRecord) -> tuple[Json, ...]:
    if record.kind in UNTOLD:
        return ()
    blocks = record.blocks
    ends = [blocks[0].layer - 0.5, blocks[-1].layer + 0.5]
    traces: list[Json] = [
        {
            "type": "scatter",
            "mode": "lines",
            "meta": "threshold",
            "x": ends,
            "y": [level, level],
            "line": {"color": "@muted/0.7", "width": 1, "dash": "dash"},
            "hoverinfo": "skip",
        }
        for level in (PARTLY, CONSTANT)
    ]
    values = [_seen(one.recovered) for one in blocks]
    traces.append(
        {
            "type": "scatter",
            "mode": "lines+markers",
            "meta": "mean",
            "x": [one.layer for one in blocks],
            "y": values,
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [
                    max(0.0, _seen(one.high) - y) for one, y in zip(blocks, values, strict=True)
                ],
                "arrayminus": [
                    max(0.0, y - _seen(one.low)) for one, y in zip(blocks, values, strict=True)
                ],
                "color": "@vector/0.5",
                "thickness": 2,
                "width": 0,
            },
            "line": {"color": "@vector/0.6", "width": 1.5},
            "marker": {
                "color": "@vector",
                "symbol": [
                    "circle" if one.layer == record.best else "circle-open" for one in blocks
                ],
                "size": [11 if one.layer == record.best else 7 for one in blocks],
                "line": {"width": 1.6, "color": "@vector"},
            },
            "hovertext": [
                f"<b>block {one.layer}</b>{' (chosen)' if one.layer == record.best else ''}<br>"
                f"{number(one.recovered)} [{number(one.low)}, {number(one.high)}]"
                for one in blocks
            ],
            "hoverinfo": "text",
        }
    )
    traces.append(
        _point(
            record,
            "random",
            record.random,
            {"symbol": "line-ew", "size": 16, "line": {"width": 3, "color": "@random"}},
            f"random directions: {number(record.random)}",
        )
    )
    if record.fitted and record.fitted.steps:
        found = record.fitted.recovered
        traces.append(
            _point(
                record,
                "fitted",
                found.value,
                {"symbol": "triangle-up", "size": 11, "color": "@swap-span"},
                f"best single vector: {number(found.value)} "
                f"[{number(found.low)}, {number(found.high)}]",
            )
        )
    return tuple(traces)


def _point(record: AuditRecord, key: str, value: float, marker: Json, hover: str) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "meta": key,
        "x": [record.best],
        "y": [_seen(value)],
        "marker": marker,
        "hovertext": [hover],
        "hoverinfo": "text",
    }


def _seen(value: float) -> float:
    return max(_LOWEST, value) if math.isfinite(value) else value


def _constancy(data: pl.DataFrame) -> tuple[Json, ...]:
    layers: list[Any] = data["layer"].to_list()
    return tuple(
        {
            "type": "scatter",
            "mode": "lines+markers",
            "meta": name,
            "x": layers,
            "y": data[name].to_list(),
            "line": {"color": f"@{colour}/0.7", "width": 1.5, "dash": dash},
            "marker": {"color": f"@{colour}", "symbol": symbol, "size": 7},
            "hovertext": [
                f"<b>block {layer}</b><br>{label} {number(value)}"
                for layer, value in zip(layers, data[name].to_list(), strict=True)
            ],
            "hoverinfo": "text",
        }
        for name, (label, colour, symbol, dash) in _LINES.items()
    )
