"""Panels of bars and histograms."""

from __future__ import annotations

from collections.abc import Sequence

from oocr.charts.figure import Json, Panel, axis, hover_box, layout, number, row_labels, text


def bars_panel(
    names: Sequence[str],
    groups: Sequence[tuple[str, str, Sequence[float | None]]],
    x: str,
    *,
    title: str = "",
    span: int = 3,
) -> Panel:
    """Horizontal bars: a row per name, a bar for each group (name, colour, values)."""
    places = list(range(len(names)))
    traces = tuple(
        _bars(group, colour, names, values, 0.8)
        | {"orientation": "h", "x": list(values), "y": places}
        for group, colour, values in groups
    )
    y = axis(margin="width", autorange="reversed") | row_labels(names)
    across = axis(x, zeroline=True, zerolinecolor="@line")
    height = 60 + len(names) * (14 + 16 * len(groups))
    return Panel(traces, layout(across, y, barmode="group", bargap=0.35), height, title, span)


def histogram_panel(
    x: Sequence[float],
    groups: Sequence[tuple[str, str, Sequence[float]]],
    across: str,
    up: str,
    *,
    title: str = "",
) -> Panel:
    """Upright bars over numbers from -1 to 1: a histogram that was counted before."""
    traces = tuple(
        _bars(group, colour, [number(at) for at in x], values, 0.75)
        | {"x": list(x), "y": list(values)}
        for group, colour, values in groups
    )
    axes = (axis(across, range=[-1.02, 1.02]), axis(up, "width", nticks=5))
    return Panel(traces, layout(*axes, bargap=0.06), 230, title, span=3)


def _bars(
    group: str, colour: str, names: Sequence[str], values: Sequence[float | None], opacity: float
) -> Json:
    hover = [
        hover_box(group, f"{text(name)}: {number(value)}")
        for name, value in zip(names, values, strict=True)
    ]
    return {
        "type": "bar",
        "meta": group,
        "marker": {"color": f"@{colour}/{opacity}"},
        "hovertext": hover,
        "hoverinfo": "text",
    }
