"""The pieces that panels are made of: axes, points, intervals, hover boxes; numbers as text.

Colours are written "@name" or "@name/0.2" (opacity); the page replaces them by the CSS variable
`--name` of the theme in use, so a figure follows the page from light to dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

HEAT = [[0, "@heat-0"], [0.33, "@heat-1"], [0.67, "@heat-2"], [1, "@heat-3"]]
DIVERGING = [[0, "@minus"], [0.5, "@middle"], [1, "@plus"]]


def text(value: object) -> str:
    """Text for a label or hover box: plotly reads a little HTML there, so it is escaped."""
    escaped = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("\n", "⏎")


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


def axis(title: str = "", margin: str = "height", **more: Any) -> Json:
    """A quiet axis; `margin`: "height" makes room for a horizontal one, "width" for a vertical."""
    return {
        "title": {"text": title, "standoff": 10, "font": {"color": "@muted", "size": 12}},
        "gridcolor": "@grid",
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "tickfont": {"color": "@muted", "size": 12},
        "automargin": margin,
        **more,
    }


def row_axis(names: Sequence[str], *, strong: Sequence[str] = ()) -> Json:
    """A vertical axis of names: the first at 0, the second at -1, and so on."""
    labels = [f"<b>{wrapped(name)}</b>" if name in strong else wrapped(name) for name in names]
    return axis(
        margin="width",
        tickmode="array",
        tickvals=[-index for index in range(len(names))],
        ticktext=labels,
        range=[-len(names) + 0.48, 0.52],
        showgrid=False,
        tickfont={"color": "@ink", "size": 13},
    )


def layout(x: Json, y: Json, **more: Any) -> Json:
    """A panel's layout."""
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "showlegend": False,
        "hovermode": "closest",
        "paper_bgcolor": "@none",
        "plot_bgcolor": "@none",
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@line", "align": "left"},
        **more,
    }


def points(
    x: Sequence[float | None],
    y: Sequence[float | None],
    hover: Sequence[str | None],
    *,
    key: str = "",
    mode: str = "markers",
    **more: Any,
) -> Json:
    """A scatter trace; a None in `x` and `y` breaks a line. `key` is its legend entry."""
    trace: Json = {"type": "scatter", "mode": mode, "x": list(x), "y": list(y)}
    if key:
        trace["meta"] = key
    shown = {"hovertext": list(hover), "hoverinfo": "text"} if hover else {"hoverinfo": "skip"}
    return trace | shown | more


def marker(colour: str, symbol: Any = "circle", size: Any = 7, outline: float = 0) -> Json:
    """How points look; `symbol` and `size` are one for all, or one per point."""
    return {
        "color": f"@{colour}",
        "symbol": symbol,
        "size": size,
        "line": {"width": outline, "color": f"@{colour.split('/')[0]}"},
    }


def interval_bars(
    values: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    colour: str,
    thickness: float = 2,
) -> Json:
    """Error bars from `low` to `high`; none where an end is missing or not finite."""

    def length(end: float | None, start: float | None) -> float:
        size = math.nan if end is None or start is None else end - start
        return max(0.0, size) if math.isfinite(size) else 0.0

    return {
        "type": "data",
        "symmetric": False,
        "array": [length(end, value) for end, value in zip(high, values, strict=True)],
        "arrayminus": [length(value, end) for end, value in zip(low, values, strict=True)],
        "color": f"@{colour}",
        "thickness": thickness,
        "width": 0,
    }


def straight_line(colour: str, width: float = 1.5, *, x: Any = None, y: Any = None) -> Json:
    """A line across the whole panel behind everything: vertical at `x`, or level at `y`."""
    ends: Json = (
        {"xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
        if x is None
        else {"yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x}
    )
    style = {"color": f"@{colour}", "width": width}
    return {"type": "line", "layer": "below", "line": style, **ends}


def interval_text(value: float, low: float | None, high: float | None, digits: int = 2) -> str:
    """A value with its interval: "0.83 [0.71, 0.92]"; without an interval only the value.

    An interval of no width is none: it is over one unit.
    """
    if low is None or high is None:
        return number(value, digits)
    if low == high:
        return f"{number(value, digits)} (no interval)"
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def hover_box(name: object, *lines: str) -> str:
    """A hover box: a name in bold above lines of markup; empty lines are left out."""
    return "<br>".join([f"<b>{text(name)}</b>", *(line for line in lines if line)])


def shortened(name: str, length: int) -> str:
    """At most `length` characters."""
    return name if len(name) <= length else name[: length - 1] + "…"


def wrapped(name: str) -> str:
    """A label as markup; long ones break before a bracket or in the middle of their words."""
    if len(name) <= 14:
        return text(name)
    if " (" in name:
        head, tail = name.split(" (", 1)
        return f"{text(head)}<br>({text(tail)}"
    words = name.split(" ")
    if len(words) < 2:
        return text(shortened(name, 24))
    half = (len(words) + 1) // 2
    return f"{text(' '.join(words[:half]))}<br>{text(' '.join(words[half:]))}"


def row_labels(names: Sequence[str], size: int = 13) -> Json:
    """An axis whose ticks are these names, one a row or column."""
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [text(name) for name in names],
        "showgrid": False,
        "tickfont": {"color": "@ink", "size": size},
    }
