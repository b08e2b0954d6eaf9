"""Panels of the report as one SVG: the same builders and colours, and no script.

Colours are the report's (page.css), light or dark as the reader's system is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files

from benchmarks.sizes.svg_marks import mark_at, paint, text_at, width_of
from benchmarks.sizes.svg_panel import TITLE, panel_svg
from oocr.charts.figure import LegendEntry, Panel
from oocr.charts.pieces import text

WIDTH = 960
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
_SIZE = 13
_GAP = 28  # between panels
_KEYS = {
    "tick": '<path d="M0-7V7" stroke-width="2.5" {stroke}/>',
    "line": '<path d="M-8 0H8" stroke-width="2" {stroke}/>',
    "dash": '<path d="M-8 0H8" stroke-width="2" stroke-dasharray="5 3" {stroke}/>',
    "dots": '<path d="M0-7V7" stroke-width="1.5" stroke-dasharray="2 2" {stroke}/>',
    "band": '<rect x="-8" y="-6" width="16" height="12" fill-opacity=".24" {fill}/>',
}


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
            parts.append(panel_svg(panel, left, top, width))
            left += width + _GAP
        top += height + TITLE + 12
    return framed(parts, top, about)


def framed(parts: Sequence[str], height: float, about: str) -> str:
    """An SVG of these elements on a card, `WIDTH` wide; `about` is read out, not shown."""
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    ground = f'<rect width="100%" height="100%" rx="6" {paint("fill", "card")}/>'
    body = "\n".join([ground, *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{_FONT}" '
        f'font-size="{_SIZE}"><title>{text(about)}</title><style>{_theme(body)}</style>'
        f"{body}</svg>\n"
    )


def _legend(keys: Sequence[LegendEntry]) -> tuple[str, float]:
    """The legend, in lines as long as the picture, and where the panels begin."""
    parts, x, y = [], 24.0, 22.0
    for key in keys:
        width = 20 + width_of(key.label) + 22
        if x > 24 and x + width > WIDTH:
            x, y = 24.0, y + 22
        parts.append(
            f'<g transform="translate({x:.1f} {y:.1f})">{_key_shape(key)}</g>'
            + text_at(key.label, x + 16, y, "muted", 12, "start")
        )
        x += width
    return "".join(parts), (y + 20 if keys else 8)


def _key_shape(key: LegendEntry) -> str:
    paints = {what: paint(what, key.colour) for what in ("fill", "stroke")}
    if key.symbol in _KEYS:
        return _KEYS[key.symbol].format(**paints)
    return mark_at(key.symbol, key.colour, 9, 1.6, 0, 0)


def _palettes() -> tuple[dict[str, str], dict[str, str]]:
    """The report's light and dark colours by name."""
    css = files("oocr.report").joinpath("page/page.css").read_text(encoding="utf-8")
    light, dark = css.split("}", 1)
    one, other = (
        dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]+)", part))
        for part in (light, dark.split("}")[0])
    )
    return one, other


def _theme(body: str) -> str:
    """Rules for the colours that are used: the light ones, and the dark ones instead."""
    used = sorted(set(re.findall(r'class="(fill|stroke)-([\w-]+)"', body)))
    light, dark = (
        "".join(f".{what}-{name}{{{what}:{palette[name]}}}" for what, name in used)
        for palette in _palettes()
    )
    return f"{light}@media (prefers-color-scheme: dark){{{dark}}}"
