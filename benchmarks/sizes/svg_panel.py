"""One panel as SVG: what `oocr.charts.dots` and `.lines` give.

That is points, lines, ribbons, level bars, intervals, straight lines, and texts
(`layout.annotations`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.sizes.svg_marks import lines_of, mark_at, paint, text_at, width_of
from oocr.charts.figure import Panel
from oocr.charts.pieces import Json, text

_MOST_TICKS = 6
_RIGHT, _BOTTOM, TITLE = 14, 44, 24  # around a panel's plot
_DASHES = {"dot": "2 3", "dash": "7 4"}


@dataclass(frozen=True, slots=True)
class _Plot:
    """The plot's rectangle, and the values at its ends."""

    left: float
    top: float
    width: float
    height: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    log: bool

    def x(self, value: float) -> float:
        low, high = self.x_ends
        return self.left + self.width * (self._at(value) - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_ends
        return self.top + self.height * (high - value) / (high - low)

    def _at(self, value: float) -> float:
        return math.log10(value) if self.log else value


def panel_svg(panel: Panel, left: float, top: float, width: float) -> str:
    across, up = panel.layout["xaxis"], panel.layout["yaxis"]
    x_ends, y_ends = _ends(across, panel, "x"), _ends(up, panel, "y")
    up_ticks = _ticks(up, y_ends)
    margin = 10 + max(
        (width_of(line) for _, tick in up_ticks for line in lines_of(tick)), default=0
    )
    title = up.get("title", {}).get("text", "")
    margin += 18 if title else 0
    plot = _Plot(
        left + margin,
        top + TITLE,
        width - margin - _RIGHT,
        panel.height - _BOTTOM,
        x_ends,
        y_ends,
        across.get("type") == "log",
    )
    parts = [text_at(f"<b>{text(panel.title)}</b>", left, top + 8, "ink", 13, "start")]
    parts += _axes(plot, across, up, up_ticks)
    if title:
        middle, at = plot.top + plot.height / 2, left + 7
        shown = text_at(text(title), at, middle, "muted", 12, "middle")
        parts.append(f'<g transform="rotate(-90 {at:.1f} {middle:.1f})">{shown}</g>')
    clip = f"{top:.0f}-{left:.0f}"
    around = (plot.left - 6, plot.top - 4, plot.width + 12, plot.height + 8)
    box = 'x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"'.format(*around)
    parts.append(f'<clipPath id="c{clip}"><rect {box}/></clipPath><g clip-path="url(#c{clip})">')
    parts += [_straight(plot, shape) for shape in panel.layout.get("shapes", ())]
    for trace in panel.traces:
        parts += _bars(plot, trace) if trace["type"] == "bar" else _points(plot, trace)
    parts += [
        text_at(note["text"], plot.x(note["x"]) + 6, plot.y(note["y"]), "muted", 12, "start")
        for note in panel.layout.get("annotations", ())
    ]
    return "".join([*parts, "</g>"])


def _ends(axis: Json, panel: Panel, name: str) -> tuple[float, float]:
    """The axis's range; where it states none, what its traces need, and a little more."""
    if "range" in axis:
        low, high = axis["range"]
        return float(low), float(high)
    values = [value for trace in panel.traces for value in _values(trace, name)]
    if axis.get("type") == "log":
        values = [math.log10(value) for value in values if value > 0]
    if axis.get("rangemode") == "tozero":
        values.append(0.0)
    low, high = min(values, default=0.0), max(values, default=1.0)
    padding = 0.05 * (high - low) or 0.5
    return low - padding, high + padding


def _values(trace: Json, name: str) -> Iterator[float]:
    errors = trace.get(f"error_{name}", {})
    values = trace.get(name, ())
    for place, value in enumerate(values):
        if value is not None and math.isfinite(value):
            yield value
            if errors:
                yield value + errors["array"][place]
                yield value - errors["arrayminus"][place]


def _ticks(axis: Json, ends: tuple[float, float]) -> list[tuple[float, str]]:
    """Places, on the axis's own scale, and labels."""
    if "tickvals" in axis:
        values = [float(value) for value in axis["tickvals"]]
        labels = axis.get("ticktext") or [f"{value:g}" for value in values]
        return list(zip(values, labels, strict=True))
    step = (ends[1] - ends[0]) / _MOST_TICKS
    size = 10.0 ** math.floor(math.log10(step))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= step)
    first, last = math.ceil(ends[0] / step - 1e-9), math.floor(ends[1] / step + 1e-9)
    return [(at * step, f"{at * step:g}".replace("-", "−")) for at in range(first, last + 1)]


def _axes(plot: _Plot, across: Json, up: Json, up_ticks: list[tuple[float, str]]) -> list[str]:
    """Grid lines, ticks' labels, and the horizontal axis's title."""
    parts, bottom = [], plot.top + plot.height
    for value, label in _ticks(across, plot.x_ends):
        x = plot.x(value)
        if plot.left - 1 <= x <= plot.left + plot.width + 1:
            parts.append(_line((x, plot.top, x, bottom), "grid", 1))
            parts.append(text_at(label, x, bottom + 11, "muted", 12, "middle"))
    for value, label in up_ticks:
        y = plot.y(value)
        if up.get("showgrid", True):
            parts.append(_line((plot.left, y, plot.left + plot.width, y), "grid", 1))
        colour = up.get("tickfont", {}).get("color", "@muted")
        parts.append(text_at(label, plot.left - 8, y, colour, 12, "end"))
    if across.get("zeroline") and plot.x_ends[0] < 0 < plot.x_ends[1]:
        parts.append(_line((plot.x(0), plot.top, plot.x(0), bottom), "line", 1.5))
    title = across.get("title", {}).get("text", "")
    middle = plot.left + plot.width / 2
    return [*parts, text_at(text(title), middle, bottom + 29, "muted", 12, "middle")]


def _line(ends: tuple[float, float, float, float], colour: str, width: float) -> str:
    where = 'x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"'.format(*ends)
    return f'<line {where} stroke-width="{width:g}" {paint("stroke", colour)}/>'


def _straight(plot: _Plot, shape: Json) -> str:
    """A line across the whole plot."""
    style = shape["line"]
    if shape.get("yref") == "paper":
        x = plot.x(shape["x0"])
        ends = (x, plot.top, x, plot.top + plot.height)
    else:
        y = plot.y(shape["y0"])
        ends = (plot.left, y, plot.left + plot.width, y)
    return _line(ends, style["color"], style["width"])


def _bars(plot: _Plot, trace: Json) -> list[str]:
    """Level bars from `base` on."""
    half = trace["width"] / 2
    parts = []
    for base, length, y in zip(trace["base"], trace["x"], trace["y"], strict=True):
        left, right = sorted((plot.x(base), plot.x(base + length)))
        above, below = plot.y(y + half), plot.y(y - half)
        parts.append(
            f'<rect x="{left:.1f}" y="{above:.1f}" width="{right - left:.1f}" '
            f'height="{below - above:.1f}" {paint("fill", trace["marker"]["color"])}/>'
        )
    return parts


def _points(plot: _Plot, trace: Json) -> list[str]:
    """Lines or ribbons, then intervals, then markers."""
    pairs = list(zip(trace["x"], trace["y"], strict=True))
    parts: list[str] = []
    if "lines" in trace["mode"]:
        parts.append(_path(plot, pairs, trace))
    parts += _intervals(plot, pairs, trace)
    if "markers" in trace["mode"]:
        look = trace["marker"]
        for place, (x, y) in enumerate(pairs):
            if x is not None and y is not None:
                symbol = look["symbol"]
                shape = symbol if isinstance(symbol, str) else symbol[place]
                outline = look["line"]["width"]
                at = plot.x(x), plot.y(y)
                parts.append(mark_at(shape, look["color"], look["size"], outline, *at))
    return parts


def _path(plot: _Plot, pairs: Sequence[tuple[Any, Any]], trace: Json) -> str:
    steps, pen = [], "M"
    for x, y in pairs:
        if x is None or y is None:
            pen = "M"
            continue
        steps.append(f"{pen}{plot.x(x):.1f} {plot.y(y):.1f}")
        pen = "L"
    line = trace["line"]
    fill = paint("fill", trace["fillcolor"]) if trace.get("fill") else 'fill="none"'
    dash = _DASHES.get(line.get("dash", ""), "")
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    stroke = "" if trace.get("fill") else f" {paint('stroke', line['color'])}"
    return f'<path d="{"".join(steps)}" {fill} stroke-width="{line["width"]:g}"{dashes}{stroke}/>'


def _intervals(plot: _Plot, pairs: Sequence[tuple[Any, Any]], trace: Json) -> list[str]:
    parts = []
    for name in ("x", "y"):
        bars = trace.get(f"error_{name}")
        if bars is None:
            continue
        for (x, y), up, down in zip(pairs, bars["array"], bars["arrayminus"], strict=True):
            if name == "x":
                ends = (plot.x(x - down), plot.y(y), plot.x(x + up), plot.y(y))
            else:
                ends = (plot.x(x), plot.y(y - down), plot.x(x), plot.y(y + up))
            parts.append(_line(ends, bars["color"], bars["thickness"]))
    return parts
