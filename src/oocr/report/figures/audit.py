"""An audit's blocks: what a constant vector brings back at each, and how constant the change is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from oocr.audit.findings import CONSTANT, PARTLY, UNTOLD
from oocr.audit.record import AuditRecord, block_rows
from oocr.charts.figure import Figure, Key, Panel, percent
from oocr.charts.panels import Line, figure_of, line_of, lines_panel

_LOWEST = -0.5
"""Shares below are drawn here: a vector can do any amount of harm."""

_CURVES = {
    "cosine": Key("cosine", "signed cosine", "other", "circle"),
    "absolute": Key("absolute", "|cosine|", "swap-all", "diamond-open"),
    "energy": Key("energy", "energy of the mean", "adapter", "square"),
}


def blocks_figure(record: AuditRecord) -> Figure:
    """Left the share of the effect brought back, right the constancy of the change."""
    data = pl.DataFrame(block_rows(record), infer_schema_length=None)
    keys = [Key("mean", "the mean difference", "vector", "circle")]
    if record.fitted and record.fitted.steps:
        keys.append(Key("fitted", "the best single vector", "swap-span", "triangle-up"))
    judged = record.kind not in UNTOLD
    if judged:
        keys.append(Key("random", "random direction, same norm", "random", "line"))
    curves = [
        line_of(
            data,
            key.label,
            key.colour,
            "layer",
            name,
            key=name,
            symbols=key.symbol,
            dash="dot" if name == "absolute" else "solid",
        )
        for name, key in _CURVES.items()
    ]
    lowest = data["cosine"].min()
    cosine_low = min(0.0, float(lowest)) if isinstance(lowest, float) else 0.0
    panels = [
        _panel(
            record,
            _recovered(record, keys) if judged else [],
            "Effect brought back",
            _low(record),
            (PARTLY, CONSTANT) if judged else (),
        ),
        _panel(record, curves, "Constancy", cosine_low),
    ]
    caption = (
        "Left: share of KL(fine-tune ‖ base) that is gone when the mean difference is added to "
        "every token of the base at that block's output; bars are 95 % intervals over texts, "
        "grey lines the verdict's thresholds "
        f"({percent(CONSTANT)} and {percent(PARTLY)} %). "
        "Filled: the block chosen on other texts. "
        "Right: the change at each block's output, token by token; a constant vector has signed "
        "cosine and energy 1, and an axis whose sign flips has only |cosine| 1."
    )
    figure = figure_of("blocks", caption, panels, data, [*keys, *_CURVES.values()])
    assert figure is not None
    return replace(figure, file="blocks.parquet")


def _low(record: AuditRecord) -> float:
    ends = [block.recovered for block in record.blocks] + [block.low for block in record.blocks]
    ends += [] if record.fitted is None else [record.fitted.recovered.low]
    return max(_LOWEST, min([0.0, record.random, *(end for end in ends if math.isfinite(end))]))


def _panel(
    record: AuditRecord, lines: list[Line], title: str, low: float, levels: Sequence[float] = ()
) -> Panel:
    layers = [block.layer for block in record.blocks]
    return lines_panel(
        lines,
        "block",
        "",
        title=title,
        height=300,
        level=(*levels, 0.0) if low < 0 else levels,
        ticks=layers[:: max(1, round(len(layers) / 10))],
        limits=(low - 0.06, 1.06),
    )


def _recovered(record: AuditRecord, keys: Sequence[Key]) -> list[Line]:
    blocks = record.blocks
    labels = {key.key: key for key in keys}
    lines = [
        Line(
            labels["mean"].label,
            "vector",
            [block.layer for block in blocks],
            [_seen(block.recovered) for block in blocks],
            [_seen(block.low) for block in blocks],
            [_seen(block.high) for block in blocks],
            key="mean",
            symbols=["circle" if b.layer == record.best else "circle-open" for b in blocks],
            notes=["chosen" if block.layer == record.best else "" for block in blocks],
        ),
        _point(record, labels["random"], record.random, "line-ew"),
    ]
    if record.fitted and record.fitted.steps:
        recovered = record.fitted.recovered
        point = _point(record, labels["fitted"], recovered.value, "triangle-up")
        lines.append(replace(point, low=[_seen(recovered.low)], high=[_seen(recovered.high)]))
    return lines


def _point(record: AuditRecord, key: Key, value: float, symbol: str) -> Line:
    return Line(key.label, key.colour, [record.best], [_seen(value)], key=key.key, symbols=symbol)


def _seen(value: float) -> float:
    return max(_LOWEST, value) if math.isfinite(value) else value
