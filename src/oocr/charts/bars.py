"""Panels of bars and histograms."""

from __future__ import annotations

from collections.abc import Sequence

from oocr.charts import pieces
from oocr.charts.figure import Panel
from oocr.charts.pieces import Json


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
    y = pieces.axis(margin="width", autorange="reversed") | pieces.row_labels(names)
    across = pieces.axis(x, zeroline=True, zerolinecolor="@line")
    height = 60 + len(names) * (14 + 16 * len(groups))
    return Panel(
        traces, pieces.layout(across, y, barmode="group", bargap=0.35), height, title, span
    )


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
        _bars(group, colour, [pieces.number(at) for at in x], values, 0.75)
        | {"x": list(x), "y": list(values)}
        for group, colour, values in groups
    )
    axes = (pieces.axis(across, range=[-1.02, 1.02]), pieces.axis(up, "width", nticks=5))
    return Panel(traces, pieces.layout(*axes, bargap=0.06), 230, title, span=3)


def _bars(
    group: str, colour: str, names: Sequence[str], values: Sequence[float | None], opacity: float
) -> Json:
    hover = [
        pieces.hover_box(group, f"{pieces.text(name)}: {pieces.number(value)}")
        for name, value in zip(names, values, strict=True)
    ]
    return {
        "type": "bar",
        "meta": group,
        "marker": {"color": f"@{colour}/{opacity}"},
        "hovertext": hover,
        "hoverinfo": "text",
    }
