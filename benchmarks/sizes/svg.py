"""Panels of the report as one SVG: the same builders and colours, and no script.

Colours are the report's (page.css), light or dark as the reader's system is; where CSS variables
are not known, the light ones. What is drawn is what `oocr.charts.dots` and `.lines` give: points,
lines, ribbons, level bars, intervals, straight lines, and texts (`layout.annotations`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from oocr.charts.figure import LegendEntry, Panel
from oocr.charts.pieces import Json, text

WIDTH = 960
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
_SIZE = 13
_GAP = 28  # between panels
_MOST_TICKS = 6
_RIGHT, _BOTTOM, _TITLE = 14, 44, 24  # around a panel's plot
_SHAPES = {
    "circle": '<circle r="1"/>',
    "square": '<path d="M-.9-.9H.9V.9H-.9z"/>',
    "diamond": '<path d="M0-1.25 1.25 0 0 1.25-1.25 0z"/>',
    "triangle-up": '<path d="M0-1.15 1.15.95H-1.15z"/>',
}
_STROKES = {"x": "M-1-1 1 1M1-1-1 1", "cross": "M0-1.1V1.1M-1.1 0H1.1", "line-ns": "M0-1.5V1.5"}
_KEYS = {
    "tick": '<path d="M0-7V7" stroke-width="2.5" {stroke}/>',
    "line": '<path d="M-8 0H8" stroke-width="2" {stroke}/>',
    "dash": '<path d="M-8 0H8" stroke-width="2" stroke-dasharray="5 3" {stroke}/>',
    "dots": '<path d="M0-7V7" stroke-width="1.5" stroke-dasharray="2 2" {stroke}/>',
    "band": '<rect x="-8" y="-6" width="16" height="12" fill-opacity=".24" {fill}/>',
}
_DASHES = {"dot": "2 3", "dash": "7 4"}


def draw(rows: Sequence[Sequence[Panel]], keys: Sequence[LegendEntry], about: str) -> str:
    """An SVG of rows of panels, of at most six columns. `about` is read out, not shown."""
    legend, top = _legend(keys)
    parts = [legend]
    for row in rows:
        height = max(panel.height for panel in row)
        unit = (WIDTH - 2 * 16 + _GAP) / 6
        left = 16.0
        for panel in row:
            width = panel.span * unit - _GAP
            parts.append(_panel(panel, left, top, width))
            left += width + _GAP
        top += height + _TITLE + 12
    size = f'width="{WIDTH}" height="{top:.0f}" viewBox="0 0 {WIDTH} {top:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{_FONT}" '
        f'font-size="{_SIZE}"><title>{text(about)}</title><style>{_theme()}</style>'
        f'<rect width="100%" height="100%" rx="6" {_paint("fill", "card")}/>'
        + "\n".join(parts)
        + "</svg>\n"
    )


# -- colours -------------------------------------------------------------------------------------


def _palettes() -> tuple[dict[str, str], dict[str, str]]:
    """The report's light and dark colours by name."""
    css = files("oocr.report").joinpath("page/page.css").read_text(encoding="utf-8")
    light, dark = css.split("}", 1)
    one, other = (
        dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]+)", part))
        for part in (light, dark.split("}")[0])
    )
    return one, other


def _theme() -> str:
    light, dark = (
        ":root{" + "".join(f"--{name}:{value};" for name, value in palette.items()) + "}"
        for palette in _palettes()
    )
    return f"{light}@media (prefers-color-scheme: dark){{{dark}}}"


def _paint(what: str, colour: str) -> str:
    """Attributes of a fill or a stroke in a colour "@name/0.5"."""
    name, _, opacity = colour.lstrip("@").partition("/")
    if name == "none":
        return f'{what}="none"'
    fallback = _palettes()[0][name]
    clear = f' {what}-opacity="{opacity}"' if opacity else ""
    return f'{what}="{fallback}" style="{what}:var(--{name})"{clear}'


# -- legend and texts ----------------------------------------------------------------------------


def _legend(keys: Sequence[LegendEntry]) -> tuple[str, float]:
    """The legend, in lines as long as the picture, and where the panels begin."""
    parts, x, y = [], 24.0, 22.0
    for key in keys:
        width = 20 + _width(key.label) + 22
        if x > 24 and x + width > WIDTH:
            x, y = 24.0, y + 22
        parts.append(
            f'<g transform="translate({x:.1f} {y:.1f})">{_key_shape(key)}</g>'
            + _label(key.label, x + 16, y, "muted", 12, "start")
        )
        x += width
    return "".join(parts), (y + 20 if keys else 8)


def _key_shape(key: LegendEntry) -> str:
    paints = {what: _paint(what, key.colour) for what in ("fill", "stroke")}
    if key.symbol in _KEYS:
        return _KEYS[key.symbol].format(**paints)
    return _mark(key.symbol, key.colour, 9, 1.6, 0, 0)


def _width(words: str, size: float = 12) -> float:
    """About how wide a text is."""
    return 0.56 * size * len(re.sub(r"&\w+;", "x", words))


def _lines(markup: str) -> list[str]:
    return str(markup).split("<br>")


def _label(markup: str, x: float, y: float, colour: str, size: float, anchor: str) -> str:
    """A text whose middle is at `y`; it may have the markup of plotly's labels."""
    lines = _lines(markup)
    spans = []
    for place, line in enumerate(lines):
        bold = ' font-weight="600"' if "<b>" in line else ""
        shown = line.replace("<b>", "").replace("</b>", "")
        down = y + (place - (len(lines) - 1) / 2) * size * 1.15 + 0.35 * size
        spans.append(f'<tspan x="{x:.1f}" y="{down:.1f}"{bold}>{shown}</tspan>')
    paint = _paint("fill", colour)
    return f'<text font-size="{size:g}" text-anchor="{anchor}" {paint}>{"".join(spans)}</text>'


# -- one panel -----------------------------------------------------------------------------------


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


def _panel(panel: Panel, left: float, top: float, width: float) -> str:
    across, up = panel.layout["xaxis"], panel.layout["yaxis"]
    x_ends, y_ends = _ends(across, panel, "x"), _ends(up, panel, "y")
    up_ticks = _ticks(up, y_ends)
    margin = 10 + max((_width(line) for _, tick in up_ticks for line in _lines(tick)), default=0)
    title = up.get("title", {}).get("text", "")
    margin += 18 if title else 0
    plot = _Plot(
        left + margin,
        top + _TITLE,
        width - margin - _RIGHT,
        panel.height - _BOTTOM,
        x_ends,
        y_ends,
        across.get("type") == "log",
    )
    parts = [_label(f"<b>{text(panel.title)}</b>", left, top + 8, "ink", 13, "start")]
    parts += _axes(plot, across, up, up_ticks)
    if title:
        middle, at = plot.top + plot.height / 2, left + 7
        label = _label(text(title), at, middle, "muted", 12, "middle")
        parts.append(f'<g transform="rotate(-90 {at:.1f} {middle:.1f})">{label}</g>')
    clip = f"{top:.0f}-{left:.0f}"
    around = (plot.left - 6, plot.top - 4, plot.width + 12, plot.height + 8)
    box = 'x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"'.format(*around)
    parts.append(f'<clipPath id="c{clip}"><rect {box}/></clipPath><g clip-path="url(#c{clip})">')
    parts += [_straight(plot, shape) for shape in panel.layout.get("shapes", ())]
    for trace in panel.traces:
        parts += _bars(plot, trace) if trace["type"] == "bar" else _points(plot, trace)
    parts += [
        _label(note["text"], plot.x(note["x"]) + 6, plot.y(note["y"]), "muted", 12, "start")
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
            parts.append(_label(label, x, bottom + 11, "muted", 12, "middle"))
    for value, label in up_ticks:
        y = plot.y(value)
        if up.get("showgrid", True):
            parts.append(_line((plot.left, y, plot.left + plot.width, y), "grid", 1))
        colour = up.get("tickfont", {}).get("color", "@muted")
        parts.append(_label(label, plot.left - 8, y, colour, 12, "end"))
    if across.get("zeroline") and plot.x_ends[0] < 0 < plot.x_ends[1]:
        parts.append(_line((plot.x(0), plot.top, plot.x(0), bottom), "line", 1.5))
    title = across.get("title", {}).get("text", "")
    middle = plot.left + plot.width / 2
    return [*parts, _label(text(title), middle, bottom + 29, "muted", 12, "middle")]


def _line(ends: tuple[float, float, float, float], colour: str, width: float) -> str:
    where = 'x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"'.format(*ends)
    return f'<line {where} stroke-width="{width:g}" {_paint("stroke", colour)}/>'


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
            f'height="{below - above:.1f}" {_paint("fill", trace["marker"]["color"])}/>'
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
                parts.append(_mark(shape, look["color"], look["size"], outline, *at))
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
    fill = _paint("fill", trace["fillcolor"]) if trace.get("fill") else 'fill="none"'
    dash = _DASHES.get(line.get("dash", ""), "")
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    stroke = "" if trace.get("fill") else f" {_paint('stroke', line['color'])}"
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


def _mark(symbol: str, colour: str, size: float, outline: float, x: float, y: float) -> str:
    kind = symbol.removesuffix("-dot").removesuffix("-open")
    half = size / 2
    place = f'transform="translate({x:.1f} {y:.1f}) scale({half:g})"'
    width = f'stroke-width="{max(outline, 1.6) / half:.2f}"'
    if kind in _STROKES:
        return f'<path {place} d="{_STROKES[kind]}" {width} {_paint("stroke", colour)}/>'
    shape = _SHAPES.get(kind, _SHAPES["circle"])
    if "-open" in symbol:
        return f'<g {place} fill="none" {width} {_paint("stroke", colour)}>{shape}</g>'
    return f"<g {place} {_paint('fill', colour)}>{shape}</g>"
