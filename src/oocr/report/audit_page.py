"""An audit as one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from oocr.audit.passes import MOST_TOKENS, SKIP
from oocr.audit.record import CONSTANT, PARTLY, UNJUDGED, Audit, block_rows
from oocr.charts.figure import Figure, LegendEntry, Panel
from oocr.charts.lines import Line, line_of, lines_panel
from oocr.charts.pieces import percent
from oocr.report.figures.effects import coloured_texts
from oocr.report.page import write_page
from oocr.words import ranges

_LOWEST = -0.5
"""Shares below are drawn here: a vector can do any amount of harm."""

_CURVES = (
    LegendEntry("cosine", "signed cosine", "other", "circle"),
    LegendEntry("absolute", "|cosine|", "swap-all", "diamond-open"),
    LegendEntry("energy", "energy of the mean", "adapter", "square"),
)


def build_audit_page(record: Audit, folder: Path) -> Path:
    """Write `report.html`, and the two tables behind its figures, into an audit's folder.

    RunError: the folder cannot be written.
    """
    figures = {"blocks": blocks_figure(record), "tokens": _tokens_figure(record)}
    values = {
        **figures,
        "record": record,
        "judged": record.kind not in UNJUDGED,
        "layers": ranges(record.layers),
        "most_tokens": MOST_TOKENS,
        "constant": CONSTANT,
        "partly": PARTLY,
    }
    return write_page(folder / "report.html", "audit.html", figures.values(), values)


def _tokens_figure(record: Audit) -> Figure:
    rows = pl.DataFrame(
        {"text": text, "kind": strip.kind, "position": place + SKIP, "token": token}
        | {"cosine": strip.cosines[place], "norm": strip.norms[place]}
        for text, strip in enumerate(record.strips)
        for place, token in enumerate(strip.tokens)
    )
    caption = (
        "Each token's colour is the signed cosine of the change there with the vector; the "
        "underline grows with the size of the change, relative to the median of these tokens. "
        "Point at a token for its numbers."
    )
    texts = (coloured_texts("", rows.with_columns(in_span=False)),)
    return Figure(
        "tokens", caption, {}, rows, file="tokens.parquet", texts=texts, compared_with="the vector"
    )


def blocks_figure(record: Audit) -> Figure:
    """Left the share of the effect brought back, right the constancy of the change."""
    data = pl.DataFrame(block_rows(record), infer_schema_length=None)
    keys = [LegendEntry("mean", "the mean difference", "vector", "circle")]
    recovered: list[Line] = []
    if record.kind not in UNJUDGED:
        random = LegendEntry("random", "random direction, same norm", "random", "line")
        recovered = [_mean_line(record, keys[0]), _point(record, random, "line-ew", record.random)]
        if record.fitted and record.fitted.steps:
            share = record.fitted.recovered
            fitted = LegendEntry("fitted", "the best single vector", "swap-span", "triangle-up")
            point = _point(record, fitted, fitted.symbol, share.value)
            recovered.append(replace(point, low=[_seen(share.low)], high=[_seen(share.high)]))
            keys.append(fitted)
        keys.append(random)
    curves = [
        line_of(
            data,
            key.label,
            key.colour,
            "layer",
            key.key,
            key=key.key,
            symbols=key.symbol,
            dash="dot" if key.key == "absolute" else "solid",
        )
        for key in _CURVES
    ]
    lowest = data["cosine"].min()
    cosine_low = min(0.0, float(lowest)) if isinstance(lowest, float) else 0.0
    levels = (PARTLY, CONSTANT) if recovered else ()
    panels = [
        _panel(record, recovered, "Effect brought back", _low(record), levels),
        _panel(record, curves, "Constancy", cosine_low),
    ]
    caption = (
        "Left: share of KL(fine-tune ‖ base) that is gone when the mean difference is added to "
        "every token of the base at that block's output; bars are 95 % intervals over texts, grey "
        f"lines the verdict's thresholds ({percent(CONSTANT)} and {percent(PARTLY)} %). Filled: "
        "the block chosen on other texts. Right: the change at each block's output, token by "
        "token; a constant vector has signed cosine and energy 1, and an axis whose sign flips has "
        "only |cosine| 1."
    )
    shown = (*keys, *_CURVES)
    return Figure("blocks", caption, {"": tuple(panels)}, data, shown, file="blocks.parquet")


def _low(record: Audit) -> float:
    ends = [end for block in record.blocks for end in (block.recovered, block.low)]
    ends += [] if record.fitted is None else [record.fitted.recovered.low]
    return max(_LOWEST, min([0.0, record.random, *(end for end in ends if math.isfinite(end))]))


def _panel(
    record: Audit, lines: list[Line], title: str, low: float, levels: Sequence[float] = ()
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


def _mean_line(record: Audit, key: LegendEntry) -> Line:
    blocks = record.blocks
    best = [block.layer == record.best for block in blocks]
    return Line(
        key.label,
        key.colour,
        [block.layer for block in blocks],
        [_seen(block.recovered) for block in blocks],
        [_seen(block.low) for block in blocks],
        [_seen(block.high) for block in blocks],
        key=key.key,
        symbols=["circle" if chosen else "circle-open" for chosen in best],
        notes=["chosen" if chosen else "" for chosen in best],
    )


def _point(record: Audit, key: LegendEntry, symbol: str, value: float) -> Line:
    return Line(key.label, key.colour, [record.best], [_seen(value)], key=key.key, symbols=symbol)


def _seen(value: float) -> float:
    return max(_LOWEST, value) if math.isfinite(value) else value
