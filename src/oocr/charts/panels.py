"""Panels that the page of the paper's claims is made of: lines, bars, heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from oocr.charts.figure import Figure, Json, Key, Panel, View, axis, layout, number, text

Tables = Mapping[str, pl.DataFrame]
"""An analysis's tables, by what they are about."""

COLOURS = ("vector", "adapter", "swap-span", "swap-all", "ceiling", "other", "base", "random")
"""The theme's colours for things that are no arms, in the order in which they are taken."""

DIVERGING = [[0, "@minus"], [0.5, "@middle"], [1, "@plus"]]


@dataclass(frozen=True, slots=True)
class Line:
    """A named line of points, with intervals or without (then `low` and `high` are empty)."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dash: str = "solid"


def lines_panel(
    lines: Sequence[Line],
    x: str,
    y: str,
    *,
    title: str = "",
    span: int = 3,
    height: int = 260,
    log: bool = False,
    level: float | None = None,
    ticks: Sequence[float] = (),
) -> Panel:
    """Lines over numbers; `level` is a grey level line, `log` makes the numbers doublings."""
    traces = [_line(one, x) for one in lines]
    across = axis(x)
    if ticks:
        across |= {"tickmode": "array", "tickvals": list(ticks)}
    if log:
        across |= {"type": "log"}
        if ticks:
            across["ticktext"] = [number(one, 0) for one in ticks]
    shapes: list[Json] = []
    if level is not None:
        shapes.append(
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
            | {"layer": "below", "line": {"color": "@line", "width": 1.5}}
        )
    return Panel(
        tuple(traces),
        layout(across, axis(y, "width", nticks=6), shapes=shapes),
        height,
        title,
        span,
    )


def _line(one: Line, x: str) -> Json:
    trace: Json = {
        "type": "scatter",
        "mode": "lines+markers",
        "meta": one.name,
        "x": list(one.x),
        "y": list(one.y),
        "line": {"color": f"@{one.colour}/0.7", "width": 1.8, "dash": one.dash},
        "marker": {"color": f"@{one.colour}", "size": 7},
        "hovertext": [
            f"<b>{text(one.name)}</b><br>{text(x)} {number(at)}: {number(value)}"
            for at, value in zip(one.x, one.y, strict=True)
        ],
        "hoverinfo": "text",
    }
    if one.low:
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, h - v) for h, v in zip(one.high, one.y, strict=True)],
            "arrayminus": [max(0.0, v - low) for low, v in zip(one.low, one.y, strict=True)],
            "color": f"@{one.colour}/0.55",
            "thickness": 2,
            "width": 0,
        }
    return trace


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
    traces: list[Json] = [
        {
            "type": "bar",
            "orientation": "h",
            "meta": group,
            "x": list(values),
            "y": places,
            "marker": {"color": f"@{colour}/0.8"},
            "hovertext": [
                f"<b>{text(group)}</b><br>{text(name)}: {number(value)}"
                for name, value in zip(names, values, strict=True)
            ],
            "hoverinfo": "text",
        }
        for group, colour, values in groups
    ]
    y = axis(
        margin="width",
        tickmode="array",
        tickvals=places,
        ticktext=[text(one) for one in names],
        autorange="reversed",
        showgrid=False,
    )
    y["tickfont"] = {"color": "@ink", "size": 13}
    across = axis(x, zeroline=True, zerolinecolor="@line")
    height = 60 + len(names) * (14 + 16 * len(groups))
    return Panel(
        tuple(traces), layout(across, y, barmode="group", bargap=0.35), height, title, span
    )


def heat_panel(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    most: float,
    title: str = "",
    span: int = 6,
    printed: bool = True,
) -> Panel:
    """A heat map from -most (orange) over 0 to most (blue), its numbers where there is room."""
    hover = [
        [
            f"<b>{text(row)}</b><br>{text(column)}: {number(value)}"
            for column, value in zip(columns, line, strict=True)
        ]
        for row, line in zip(rows, values, strict=True)
    ]
    trace: Json = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "z": [list(line) for line in values],
        "zmin": -most,
        "zmax": most,
        "xgap": 1 if len(rows) > 12 else 2,
        "ygap": 1 if len(rows) > 12 else 2,
        "showscale": False,
        "colorscale": DIVERGING,
        "hovertext": hover,
        "hoverinfo": "text",
    }
    if printed and len(columns) <= 10:
        trace["text"] = [
            ["" if one is None else f"{one:.2f}".replace("-", "−") for one in line]
            for line in values
        ]
        trace["texttemplate"] = "%{text}"
        trace["textfont"] = {"color": "@ink", "size": 12}
    small = 11 if len(rows) > 12 else 13

    def labelled(names: Sequence[str], **more: object) -> Json:
        return {
            "tickmode": "array",
            "tickvals": list(range(len(names))),
            "ticktext": [text(one) for one in names],
            "showgrid": False,
            "tickfont": {"color": "@ink", "size": small},
            **more,
        }

    x = axis(margin="height+right", side="top") | labelled(columns, tickangle=-35)
    y = axis(margin="width") | labelled(rows, autorange="reversed")
    height = 130 + len(rows) * (17 if len(rows) > 12 else 30)
    room = {"l": 8, "r": 70, "t": 8, "b": 8}  # for the last of the slanted labels
    return Panel((trace,), layout(x, y, margin=room), height, title, span)


def bar_chart(
    x: Sequence[float],
    groups: Sequence[tuple[str, str, Sequence[float]]],
    across: str,
    up: str,
    *,
    title: str = "",
    span: int = 3,
) -> Panel:
    """Upright bars over numbers: a histogram that was counted before."""
    traces: list[Json] = [
        {
            "type": "bar",
            "meta": name,
            "x": list(x),
            "y": list(values),
            "marker": {"color": f"@{colour}/0.75"},
            "hovertext": [
                f"<b>{text(name)}</b><br>{number(at)}: {number(value)}"
                for at, value in zip(x, values, strict=True)
            ],
            "hoverinfo": "text",
        }
        for name, colour, values in groups
    ]
    axes = (axis(across, range=[-1.02, 1.02]), axis(up, "width", nticks=5))
    return Panel(tuple(traces), layout(*axes, bargap=0.06), 230, title, span)


def joined(tables: Tables) -> pl.DataFrame:
    """The tables under each other, with what each is about."""
    some = [table.with_columns(about=pl.lit(name)) for name, table in tables.items()]
    return pl.concat(some, how="diagonal_relaxed")


def figure_of(
    name: str,
    caption: str,
    panels: Sequence[Panel],
    tables: Tables,
    keys: Sequence[Key] = (),
) -> Figure | None:
    """A figure of one view; None without panels."""
    if not panels:
        return None
    return Figure(name, caption, (View("", tuple(panels)),), joined(tables), tuple(keys))
