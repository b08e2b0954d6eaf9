"""What SVGs of panels are made of: texts, paints and marks."""

from __future__ import annotations

import re

_SHAPES = {
    "circle": '<circle r="1"/>',
    "square": '<path d="M-.9-.9H.9V.9H-.9z"/>',
    "diamond": '<path d="M0-1.25 1.25 0 0 1.25-1.25 0z"/>',
    "triangle-up": '<path d="M0-1.15 1.15.95H-1.15z"/>',
}
_STROKES = {"x": "M-1-1 1 1M1-1-1 1", "cross": "M0-1.1V1.1M-1.1 0H1.1", "line-ns": "M0-1.5V1.5"}


def paint(what: str, colour: str) -> str:
    """Attributes of a fill or a stroke in a colour "@name/0.5"."""
    name, _, opacity = colour.lstrip("@").partition("/")
    if name == "none":
        return f'{what}="none"'
    return f'class="{what}-{name}"' + (f' {what}-opacity="{opacity}"' if opacity else "")


def width_of(words: str, size: float = 12) -> float:
    """About how wide a text is."""
    return 0.56 * size * len(re.sub(r"&\w+;", "x", words))


def lines_of(markup: str) -> list[str]:
    """The lines of a label."""
    return str(markup).split("<br>")


def text_at(markup: str, x: float, y: float, colour: str, size: float, anchor: str) -> str:
    """A text whose middle is at `y`; it may have the markup of plotly's labels."""
    lines = lines_of(markup)
    spans = []
    for place, line in enumerate(lines):
        bold = ' font-weight="600"' if "<b>" in line else ""
        shown = line.replace("<b>", "").replace("</b>", "")
        down = y + (place - (len(lines) - 1) / 2) * size * 1.15 + 0.35 * size
        spans.append(f'<tspan x="{x:.1f}" y="{down:.1f}"{bold}>{shown}</tspan>')
    look = f'font-size="{size:g}" text-anchor="{anchor}" {paint("fill", colour)}'
    return f"<text {look}>{''.join(spans)}</text>"


def mark_at(symbol: str, colour: str, size: float, outline: float, x: float, y: float) -> str:
    """A marker: one of plotly's symbols."""
    kind = symbol.removesuffix("-dot").removesuffix("-open")
    half = size / 2
    place = f'transform="translate({x:.1f} {y:.1f}) scale({half:g})"'
    width = f'stroke-width="{max(outline, 1.6) / half:.2f}"'
    if kind in _STROKES:
        return f'<path {place} d="{_STROKES[kind]}" {width} {paint("stroke", colour)}/>'
    shape = _SHAPES.get(kind, _SHAPES["circle"])
    if "-open" in symbol:
        return f'<g {place} fill="none" {width} {paint("stroke", colour)}>{shape}</g>'
    return f"<g {place} {paint('fill', colour)}>{shape}</g>"
