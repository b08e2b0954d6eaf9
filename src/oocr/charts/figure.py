"""What a figure is: plotly panels as plain dictionaries, or coloured texts, with their data.

Colours are written "@name" or "@name/0.2" (opacity); the page replaces them by the CSS variable
`--name` of the theme in use, so a figure follows the page from light to dark.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from markupsafe import Markup

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. `span` is how many columns of the page's six it asks for on a wide screen."""

    traces: tuple[Json, ...]
    layout: Json
    height: int
    title: str = ""
    span: int = 6


@dataclass(frozen=True, slots=True)
class View:
    """Panels that are shown together; a figure with several views has a switch."""

    label: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A legend entry: hides or shows the traces whose `meta` is `key`."""

    key: str
    label: str
    colour: str
    symbol: str


@dataclass(frozen=True, slots=True)
class TokenMark:
    """A token as a page shows it.

    Attributes:
        shown: its text, with a visible sign where it is only white space.
        sign: "plus" or "minus", of the cosine.
        depth: size of the cosine in percent.
        underline: thickness of the underline in pixels, by the norm.
        note: shown when the token is pointed at.
        in_span: whether the token belongs to the steered span.
        begins, ends: the span starts or ends here.
        newline: the token ends a line.
    """

    shown: str
    sign: str
    depth: int
    underline: int
    note: str
    in_span: bool
    begins: bool
    ends: bool
    newline: bool


@dataclass(frozen=True, slots=True)
class ColouredText:
    """A text: what kind it is, and its tokens."""

    kind: str
    tokens: tuple[TokenMark, ...]


@dataclass(frozen=True, slots=True)
class ColouredTexts:
    """All texts of one arm; `label` is shown where several arms can be chosen."""

    label: str
    texts: tuple[ColouredText, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """Views, legend, caption and the data behind them.

    Attributes:
        name: of the Parquet file.
        caption: what is shown, what bars are, n.
        views: what is shown, one at a time.
        data: the numbers, one row per mark.
        keys: the legend.
        scale: what the palest and the deepest colour of a heat map stand for.
        stats: single numbers shown above, each with its label.
        texts: coloured texts, in place of views.
        compared_with: what the colours of the texts are cosines to.
        file: address of the Parquet file, from the page's folder.
    """

    name: str
    caption: str
    views: tuple[View, ...]
    data: pl.DataFrame
    keys: tuple[Key, ...] = ()
    scale: tuple[str, str] | None = None
    stats: tuple[tuple[str, str], ...] = ()
    texts: tuple[ColouredTexts, ...] = ()
    compared_with: str = ""
    file: str = field(default="")

    @property
    def spec(self) -> Markup:
        """The views as JSON that is safe inside a script element."""
        views = [
            {
                "label": view.label,
                "panels": [{"traces": p.traces, "layout": p.layout} for p in view.panels],
            }
            for view in self.views
        ]
        return script_json(views)


def script_json(value: Any) -> Markup:
    """JSON whose text cannot end or open a script element or comment."""
    text = json.dumps(_clean(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _clean(value: Any) -> Any:
    """Numbers that are not finite become null; floats keep five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _clean(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(part) for part in value]
    return value


def text(value: object) -> str:
    """Text for a label or hover box: plotly reads a little HTML there, so it is escaped."""
    escaped = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\n", "⏎")


def counted(count: float, word: str) -> str:
    """A number of things: "1 seed", "3 seeds"."""
    return f"{count:.0f} {word}" + ("" if count == 1 else "s")


def percent(value: float) -> str:
    """A share as a whole number of percent, without the sign; "–" for none."""
    return f"{100 * value:.0f}".replace("-", "−") if math.isfinite(value) else "–"


def number(value: float | None, digits: int = 2) -> str:
    """A number as the page prints it: 0.83, 12.4, 1,250, 0.0031; the rounding of sums as 0."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        printed = f"{value:,.0f}"
    elif size >= 100:
        printed = f"{value:.0f}"
    elif size >= 10:
        printed = f"{value:.1f}"
    elif 1e-9 < size < 0.01:
        printed = f"{value:.2g}"
    else:
        printed = f"{size:.{digits}f}" if size < 1e-9 else f"{value:.{digits}f}"
    return printed.replace("-", "−")
