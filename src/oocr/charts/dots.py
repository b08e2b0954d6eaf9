"""Dot plots: rows down the page, arms beside each other in every row, scores to the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from oocr.charts.arms import REFERENCES, Arm, is_null
from oocr.charts.figure import Json, Panel, number, text
from oocr.charts.traces import axis, layout

_SPREAD = 0.39  # half the height of a row that arms use; the rest keeps rows apart


@dataclass(frozen=True, slots=True)
class Dot:
    """A value with its interval, in a row, of an arm."""

    row: str
    arm: Arm
    value: float
    low: float
    high: float
    note: str = ""

    @property
    def hover(self) -> str:
        """What the mouse sees."""
        span = f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"
        note = f"<br>{text(self.note)}" if self.note else ""
        return f"<b>{text(self.arm.label)}</b><br>{text(self.row)}<br>{span}{note}"


@dataclass(frozen=True, slots=True)
class Rows:
    """What a dot plot shows besides dots.

    Attributes:
        names: rows from top to bottom.
        strong: rows set in bold.
        chance: a tick per row.
        title: of the score's axis.
        limits: of the score's axis; None: from the data.
        zero: draw a line at zero.
    """

    names: Sequence[str]
    strong: Sequence[str] = ()
    chance: Mapping[str, float] = field(default_factory=dict[str, float])
    title: str = ""
    limits: tuple[float, float] | None = None
    zero: bool = False


def dot_panel(rows: Rows, dots: Sequence[Dot], *, title: str = "", span: int = 6) -> Panel:
    """The panel: dots for arms, upright ticks for references, grey bands for random directions."""
    arms = sorted({dot.arm for dot in dots}, key=lambda arm: arm.order)
    lanes = [arm for arm in arms if arm not in REFERENCES and not is_null(arm)]
    nulls = [arm for arm in arms if is_null(arm)]
    place = {name: -index for index, name in enumerate(rows.names)}
    traces = [_band(arm, [dot for dot in dots if dot.arm == arm], place, nulls) for arm in nulls]
    if rows.chance:
        traces.append(_chance(rows, place))
    for arm in arms:
        some = [dot for dot in dots if dot.arm == arm and dot.row in place]
        if arm in REFERENCES:
            traces.append(_ticks(arm, some, place))
        elif arm in lanes:
            traces.append(_dots(arm, some, place, _offset(lanes.index(arm), len(lanes))))
    height = 56 + round(len(rows.names) * (18 + 12.5 * max(2, len(lanes))))
    return Panel(tuple(traces), _layout(rows), height, title, span)


def _offset(index: int, count: int) -> float:
    return 0.0 if count < 2 else _SPREAD * (1 - 2 * index / (count - 1)) * min(1, count / 3)


def _dots(arm: Arm, dots: Sequence[Dot], place: Mapping[str, int], shift: float) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "meta": arm.key,
        "x": [dot.value for dot in dots],
        "y": [place[dot.row] + shift for dot in dots],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, dot.high - dot.value) for dot in dots],
            "arrayminus": [max(0.0, dot.value - dot.low) for dot in dots],
            "color": f"@{arm.colour}/0.55",
            "thickness": 2,
            "width": 0,
        },
        "marker": {
            "color": f"@{arm.colour}",
            "symbol": arm.symbol,
            "size": 9,
            "line": {"width": 1.6 if arm.control else 0, "color": f"@{arm.colour}"},
        },
        "hovertext": [dot.hover for dot in dots],
        "hoverinfo": "text",
    }


def _ticks(arm: Arm, dots: Sequence[Dot], place: Mapping[str, int]) -> Json:
    x: list[float | None] = []
    y: list[float | None] = []
    hover: list[str | None] = []
    for dot in dots:
        for shift in (-0.44, 0.0, 0.44):
            x.append(dot.value)
            y.append(place[dot.row] + shift)
            hover.append(dot.hover)
        x.append(None)
        y.append(None)
        hover.append(None)
    return {
        "type": "scatter",
        "mode": "lines",
        "meta": arm.key,
        "x": x,
        "y": y,
        "line": {"color": f"@{arm.colour}", "width": 2.5},
        "hovertext": hover,
        "hoverinfo": "text",
    }


def _band(arm: Arm, dots: Sequence[Dot], place: Mapping[str, int], nulls: Sequence[Arm]) -> Json:
    """Horizontal bars from the 5th to the 95th centile; a second null is only outlined."""
    first = arm == nulls[0]
    dots = [dot for dot in dots if dot.row in place]
    return {
        "type": "bar",
        "orientation": "h",
        "meta": arm.key,
        "base": [dot.low for dot in dots],
        "x": [max(dot.high - dot.low, 1e-6) for dot in dots],
        "y": [place[dot.row] for dot in dots],
        "width": 0.9 if first else 0.72,
        "marker": {
            "color": f"@{arm.colour}/0.24" if first else "@none",
            "line": {"width": 0 if first else 1, "color": f"@{arm.colour}"},
        },
        "hovertext": [dot.hover for dot in dots],
        "hoverinfo": "text",
    }


def _chance(rows: Rows, place: Mapping[str, int]) -> Json:
    x: list[float | None] = []
    y: list[float | None] = []
    for name, value in rows.chance.items():
        if name in place:
            x += [value, value, None]
            y += [place[name] - 0.44, place[name] + 0.44, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "meta": "chance",
        "x": x,
        "y": y,
        "line": {"color": "@muted", "width": 1.5, "dash": "dot"},
        "hovertext": [None if one is None else f"chance {number(one)}" for one in x],
        "hoverinfo": "text",
    }


def _layout(rows: Rows) -> Json:
    count = len(rows.names)
    x = axis(rows.title, side="bottom")
    if rows.limits is not None:
        x["range"] = list(rows.limits)
    if rows.zero:
        x |= {"zeroline": True, "zerolinecolor": "@line", "zerolinewidth": 1.5}
    names = [
        f"<b>{_wrapped(name)}</b>" if name in rows.strong else _wrapped(name) for name in rows.names
    ]
    y = axis(
        margin="width",
        tickmode="array",
        tickvals=[-index for index in range(count)],
        ticktext=names,
        range=[-count + 0.48, 0.52],
        showgrid=False,
    )
    y["tickfont"] = {"color": "@ink", "size": 13}
    lines = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": -index - 0.5,
            "y1": -index - 0.5,
            "layer": "below",
            "line": {"color": "@grid", "width": 1},
        }
        for index in range(count - 1)
    ]
    return layout(x, y, shapes=lines, barmode="overlay")


def _wrapped(name: str) -> str:
    """Long labels break before a bracket or after a third of their words, to leave room."""
    if len(name) <= 14:
        return text(name)
    if " (" in name:
        head, tail = name.split(" (", 1)
        return f"{text(head)}<br>({text(tail)}"
    words = name.split(" ")
    if len(words) < 2:
        return text(name if len(name) <= 24 else name[:23] + "…")
    half = (len(words) + 1) // 2
    return f"{text(' '.join(words[:half]))}<br>{text(' '.join(words[half:]))}"
