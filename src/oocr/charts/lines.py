"""Panels of lines over numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from oocr.charts import pieces
from oocr.charts.figure import LegendEntry, Panel
from oocr.charts.pieces import Json

COLOURS = ("vector", "adapter", "swap-span", "swap-all", "ceiling", "other", "base", "random")
"""The theme's colours for things that are no arms, in the order in which they are taken."""

_FEW_POINTS = 20  # lines with more have no markers


@dataclass(frozen=True, slots=True)
class Line:
    """A named line of points, perhaps with the ends `low` and `high` of their intervals.

    Its legend entry is `name`, unless `key` names another; `dash` is "solid", "dot" or "dash";
    `symbols` are one for all points, or one per point; `ribbon` shows intervals as a ribbon, not as
    bars; `notes` are a further line of each point's hover box; `faint` is thin, without markers;
    `dots` is without the line.
    """

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dash: str = "solid"
    key: str = ""
    symbols: str | Sequence[str] = "circle"
    ribbon: bool = False
    notes: Sequence[str] = ()
    faint: bool = False
    dots: bool = False


def line_of(
    table: pl.DataFrame,
    name: str,
    colour: str,
    x: str,
    y: str = "value",
    *,
    intervals: bool = False,
    **look: Any,
) -> Line:
    """A line from a table, sorted by `x`; `look` are further fields of `Line`.

    Without intervals, `y` is averaged over the rows of each `x`; with intervals, the table has one
    row per `x` and the columns low and high, and perhaps note.
    """
    if not intervals:
        table = table.group_by(x).agg(pl.col(y).mean())
    table = table.sort(x)
    low, high = (table[end].to_list() if intervals else () for end in ("low", "high"))
    notes = table["note"].to_list() if "note" in table.columns else ()
    xs, ys = table[x].to_list(), table[y].to_list()
    return Line(name, colour, xs, ys, low, high, notes=notes, **look)


Look = tuple[str, str, str]
"""A value of a column, the words for it, and its colour."""


def in_turn(names: Iterable[str]) -> list[Look]:
    """Names without a fixed colour get the next colour in turn."""
    return [(name, name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(names)]


def lines_by(
    table: pl.DataFrame,
    column: str,
    looks: Iterable[Look],
    x: str,
    y: str = "value",
    *,
    intervals: bool = False,
) -> list[Line]:
    """A line (see `line_of`) for each of these values of a column that has rows."""
    return [
        line_of(rows, words, colour, x, y, intervals=intervals)
        for value, words, colour in looks
        if len(rows := table.filter(pl.col(column) == value))
    ]


def line_keys(looks: Iterable[Look]) -> list[LegendEntry]:
    """Legend entries of lines, each once."""
    entries = dict.fromkeys((words, colour) for _, words, colour in looks)
    return [LegendEntry(words, words, colour, "line") for words, colour in entries]


def lines_panel(
    lines: Sequence[Line],
    x: str,
    y: str,
    *,
    title: str = "",
    span: int = 3,
    height: int = 260,
    log: bool = False,
    log_up: bool = False,
    level: float | Sequence[float] | None = None,
    base: tuple[str, float] | None = None,
    verticals: Mapping[float, float] | None = None,
    ticks: Sequence[float] = (),
    limits: tuple[float, float] | None = None,
    from_zero: bool = False,
) -> Panel:
    """Lines over numbers; `x` and `y` are the axes' titles.

    `log` and `ticks` are of the horizontal axis, `log_up` and `limits` of the vertical one; with
    `from_zero` both hold zero. Grey level lines stand at `level`, upright ones at `verticals`
    (place -> opacity); `base` is a dark level line that the legend can hide: (its key, value).
    """
    traces: list[Json] = []
    ends = [at for line in lines for at in line.x]
    if base is not None and ends:
        label = f"untouched model {pieces.number(base[1])}"
        start, style = 0 if from_zero else min(ends), {"color": "@base", "width": 1.5}
        where = [start, max(ends)]
        traces.append(pieces.points(where, [base[1]] * 2, [label] * 2, key=base[0], mode="lines"))
        traces[-1]["line"] = style
    for line in lines:
        traces += _line(line, x)
    across = pieces.axis(x, nticks=7)
    if ticks:
        across |= {"tickmode": "array", "tickvals": list(ticks)}
    if log:
        across |= {"type": "log"}
        if ticks:
            across["ticktext"] = [f"{tick:g}" for tick in ticks]
    up = pieces.axis(y, "width", nticks=6)
    if from_zero:
        across["rangemode"] = up["rangemode"] = "tozero"
    if log_up:
        logarithmic = log_axis([value for line in lines for value in line.y])
        kept = ("type", "tickmode", "tickvals", "ticktext")
        up |= {name: logarithmic[name] for name in kept if name in logarithmic}
    if limits is not None:
        up["range"] = list(limits)
    levels = [level] if isinstance(level, (int, float)) else level or ()
    shapes = [pieces.straight_line("random/0.8", y=value) for value in levels]
    shapes += [
        pieces.straight_line(f"ink/{opacity:.2f}", 1.4, x=place)
        for place, opacity in (verticals or {}).items()
    ]
    return Panel(tuple(traces), pieces.layout(across, up, shapes=shapes), height, title, span)


def _line(line: Line, x: str) -> list[Json]:
    key, colour = line.key or line.name, line.colour
    if line.faint:
        style: Json = {"color": f"@{colour}/0.22", "width": 1}
        hover = [pieces.text(line.name)] * len(line.x)
        return [pieces.points(line.x, line.y, hover, key=key, mode="lines", line=style)]
    missing: list[float | None] = [None] * len(line.x)
    low, high = line.low or missing, line.high or missing
    notes = line.notes or [""] * len(line.x)
    hover = [
        pieces.hover_box(
            line.name, f"{pieces.text(x)} {at:g}: {pieces.interval_text(*ends)}", pieces.text(note)
        )
        for at, note, ends in zip(line.x, notes, zip(line.y, low, high, strict=True), strict=True)
    ]
    symbols = [line.symbols] if isinstance(line.symbols, str) else line.symbols
    outline = 1.6 if any("-open" in symbol for symbol in symbols) else 0
    outline = 3 if "line-ew" in symbols else outline
    trace = pieces.points(
        line.x,
        line.y,
        hover,
        key=key,
        mode=_mode(line),
        line={"color": f"@{colour}/0.75", "width": 2, "dash": line.dash},
        marker=pieces.marker(colour, line.symbols, 6 if line.ribbon else 8, outline),
    )
    if not line.low:
        return [trace]
    if not line.ribbon:
        return [trace | {"error_y": pieces.interval_bars(line.y, low, high, f"{colour}/0.55")}]
    ribbon = pieces.points(
        [*line.x, *reversed(line.x)],
        [*line.high, *reversed(line.low)],
        (),
        key=key,
        mode="lines",
        fill="toself",
        fillcolor=f"@{colour}/0.15",
        line={"color": "@none", "width": 0},
    )
    return [ribbon, trace]


def _mode(line: Line) -> str:
    if line.dots:
        return "markers"
    return "lines+markers" if len(line.x) < _FEW_POINTS else "lines"


def log_axis(values: Sequence[float | None]) -> Json:
    """Logarithmic over a decade or more, with ticks at 1, 2 and 5 or at powers of ten."""
    kept = [value for value in values if value and math.isfinite(value) and value > 0]
    if not kept:
        return pieces.axis(type="log")
    if max(kept) < 10 * min(kept):
        return pieces.axis(nticks=6)
    low, high = math.floor(math.log10(min(kept))), math.ceil(math.log10(max(kept)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    labels = [f"{tick:g}" for tick in ticks]
    return pieces.axis(type="log", tickmode="array", tickvals=ticks, ticktext=labels)
