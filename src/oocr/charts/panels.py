"""The six builders of panels: dots and strips per named row, lines, bars, histograms, heat maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from oocr.charts.arms import REFERENCES, Arm, arms_in, is_null, rows_of
from oocr.charts.figure import (
    DIVERGING,
    HEAT,
    Figure,
    Json,
    LegendEntry,
    Panel,
    axis,
    hover_box,
    interval_bars,
    interval_text,
    layout,
    marker,
    number,
    points,
    row_axis,
    shortened,
    straight_line,
    text,
)

Tables = Mapping[str, pl.DataFrame]
"""An analysis's tables, by the runs that they are about."""

COLOURS = ("vector", "adapter", "swap-span", "swap-all", "ceiling", "other", "base", "random")
"""The theme's colours for things that are no arms, in the order in which they are taken."""

_FEW_POINTS = 20  # lines with more have no markers


@dataclass(frozen=True, slots=True)
class Line:
    """A named line of points, perhaps with the ends `low` and `high` of their intervals.

    Its legend entry is `name`, unless `key` names another; `dash` is "solid", "dot" or "dash";
    `symbols` are one for all points, or one per point; `ribbon` shows intervals as a ribbon, not as
    bars; `notes` are a further line of each point's hover box; `faint` is thin, without markers.
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
    """Names that have no colour of their own: each gets the next."""
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
    level: float | Sequence[float] | None = None,
    base: tuple[str, float] | None = None,
    verticals: Mapping[float, float] | None = None,
    ticks: Sequence[float] = (),
    limits: tuple[float, float] | None = None,
    from_zero: bool = False,
) -> Panel:
    """Lines over numbers; `x` and `y` are the axes' titles.

    `log` and `ticks` are of the horizontal axis, `limits` of the vertical one; with `from_zero`
    both hold zero. Grey level lines stand at `level`, upright ones at `verticals` (place ->
    opacity); `base` is a dark level line that the legend can hide: (its key, value).
    """
    traces: list[Json] = []
    ends = [at for line in lines for at in line.x]
    if base is not None and ends:
        label = f"untouched model {number(base[1])}"
        start, style = 0 if from_zero else min(ends), {"color": "@base", "width": 1.5}
        where = [start, max(ends)]
        traces.append(points(where, [base[1]] * 2, [label] * 2, key=base[0], mode="lines"))
        traces[-1]["line"] = style
    for line in lines:
        traces += _line(line, x)
    across = axis(x, nticks=7)
    if ticks:
        across |= {"tickmode": "array", "tickvals": list(ticks)}
    if log:
        across |= {"type": "log"}
        if ticks:
            across["ticktext"] = [f"{tick:g}" for tick in ticks]
    up = axis(y, "width", nticks=6)
    if from_zero:
        across["rangemode"] = up["rangemode"] = "tozero"
    if limits is not None:
        up["range"] = list(limits)
    levels = [level] if isinstance(level, (int, float)) else level or ()
    shapes = [straight_line("random/0.8", y=value) for value in levels]
    shapes += [
        straight_line(f"ink/{opacity:.2f}", 1.4, x=place)
        for place, opacity in (verticals or {}).items()
    ]
    return Panel(tuple(traces), layout(across, up, shapes=shapes), height, title, span)


def _line(line: Line, x: str) -> list[Json]:
    key, colour = line.key or line.name, line.colour
    if line.faint:
        style: Json = {"color": f"@{colour}/0.22", "width": 1}
        hover = [text(line.name)] * len(line.x)
        return [points(line.x, line.y, hover, key=key, mode="lines", line=style)]
    missing: list[float | None] = [None] * len(line.x)
    low, high = line.low or missing, line.high or missing
    notes = line.notes or [""] * len(line.x)
    hover = [
        hover_box(line.name, f"{text(x)} {at:g}: {interval_text(*ends)}", text(note))
        for at, note, ends in zip(line.x, notes, zip(line.y, low, high, strict=True), strict=True)
    ]
    symbols = [line.symbols] if isinstance(line.symbols, str) else line.symbols
    outline = 1.6 if any("-open" in symbol for symbol in symbols) else 0
    outline = 3 if "line-ew" in symbols else outline
    trace = points(
        line.x,
        line.y,
        hover,
        key=key,
        mode="lines+markers" if len(line.x) < _FEW_POINTS else "lines",
        line={"color": f"@{colour}/0.75", "width": 2, "dash": line.dash},
        marker=marker(colour, line.symbols, 6 if line.ribbon else 8, outline),
    )
    if not line.low:
        return [trace]
    if not line.ribbon:
        return [trace | {"error_y": interval_bars(line.y, low, high, f"{colour}/0.55")}]
    ribbon = points(
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
    y = axis(margin="width", autorange="reversed") | _labels(names)
    across = axis(x, zeroline=True, zerolinecolor="@line")
    height = 60 + len(names) * (14 + 16 * len(groups))
    return Panel(traces, layout(across, y, barmode="group", bargap=0.35), height, title, span)


def histogram_panel(
    x: Sequence[float],
    groups: Sequence[tuple[str, str, Sequence[float]]],
    across: str,
    up: str,
    *,
    limits: tuple[float, float] = (-1.02, 1.02),
    title: str = "",
    span: int = 3,
) -> Panel:
    """Upright bars over numbers: a histogram that was counted before."""
    traces = tuple(
        _bars(group, colour, [number(at) for at in x], values, 0.75)
        | {"x": list(x), "y": list(values)}
        for group, colour, values in groups
    )
    axes = (axis(across, range=list(limits)), axis(up, "width", nticks=5))
    return Panel(traces, layout(*axes, bargap=0.06), 230, title, span)


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


def heat_panel(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    most: float | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    hover: Sequence[Sequence[str]] | None = None,
    chosen: Sequence[tuple[int, int]] = (),
    x: str = "",
    printed: bool = True,
    title: str = "",
    span: int = 6,
) -> Panel:
    """A heat map, one list of `values` per row; with `printed`, its numbers where there is room.

    Colours run from -most (orange) over 0 to most (blue); without `most` from the palest to the
    deepest for `limits`. `hover` is markup (default: names and value); `chosen` are the cells (row,
    column) with a square around, whose legend entry is "chosen"; `x` is the title of the columns.
    """
    small = len(rows) > 12
    trace: Json = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "z": [list(cells) for cells in values],
        "zmin": limits[0] if most is None else -most,
        "zmax": max(limits[1], limits[0] + 1e-9) if most is None else most,
        "xgap": 1 if small else 2,
        "ygap": 1 if small else 2,
        "showscale": False,
        "colorscale": HEAT if most is None else DIVERGING,
        "hovertext": hover or _heat_hover(rows, columns, values),
        "hoverinfo": "text",
    }
    if printed and most is not None and len(columns) <= 10:
        trace["text"] = [
            ["" if value is None else f"{value:.2f}".replace("-", "−") for value in cells]
            for cells in values
        ]
        trace["texttemplate"] = "%{text}"
        trace["textfont"] = {"color": "@ink", "size": 12}
    traces = [trace]
    if chosen:
        down, across = ([cell[side] for cell in chosen] for side in (0, 1))
        for colour, size, width in (("paper", 20, 7), ("ink", 20, 2.5)):  # seen on pale and deep
            square = marker(colour, "square-open", size, width)
            traces.append(points(across, down, (), key="chosen", marker=square))
    slanted = len(columns) > 4 and max((len(name) for name in columns), default=0) > 4
    size = 11 if small else 13
    top = axis(x, "height+right", side="top", tickangle=-35 if slanted else 0)
    top |= _labels([shortened(name, 26) for name in columns], size)
    top["ticklabeloverflow"] = "allow"
    y = axis(margin="width", autorange="reversed")
    y |= _labels([shortened(name, 28) for name in rows], size)
    margins = {"l": 8, "r": 84 if slanted else 12, "t": 8, "b": 8}  # for the last slanted label
    height = (118 if slanted else 64) + len(rows) * (17 if small else 26)
    return Panel(tuple(traces), layout(top, y, margin=margins), height, title, span)


def _heat_hover(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]]
) -> list[list[str]]:
    return [
        [
            hover_box(row, f"{text(column)}: {number(value)}")
            for column, value in zip(columns, cells, strict=True)
        ]
        for row, cells in zip(rows, values, strict=True)
    ]


def _labels(names: Sequence[str], size: int = 13) -> Json:
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [text(name) for name in names],
        "showgrid": False,
        "tickfont": {"color": "@ink", "size": size},
    }


def names_in(table: pl.DataFrame, column: str) -> list[str]:
    """A column's values, each once, in the table's order."""
    return table[column].unique(maintain_order=True).to_list()


def grid_of(
    table: pl.DataFrame, row: str, column: str, value: str
) -> tuple[list[str], list[str], list[list[float | None]]]:
    """Rows, columns and cells for `heat_panel`, in the order in which the table names them."""
    cells = {(a, b): number for a, b, number in table.select(row, column, value).iter_rows()}
    rows, columns = names_in(table, row), names_in(table, column)
    values = [[cells.get((a, b)) for b in columns] for a in rows]
    return [str(name) for name in rows], [str(name) for name in columns], values


_SPREAD = 0.39  # half the height of a row that arms use; the rest keeps rows apart
_TICK = 0.44  # half the height of a reference's tick


def dot_panel(
    table: pl.DataFrame,
    rows: Sequence[str],
    score: str,
    *,
    strong: Sequence[str] = (),
    chance: Mapping[str, float] | None = None,
    limits: tuple[float, float] | None = None,
    zero: bool = False,
    one_lane: bool = False,
    link: tuple[Arm, Arm] | None = None,
    title: str = "",
    span: int = 6,
) -> Panel:
    """Scores with intervals: rows down the page, the arms of a row beside each other.

    References (base, ceiling) are upright ticks, random directions with an interval grey bands.
    The table has the columns row, arm, control, value; low and high (null: no interval); note (a
    further line of the hover box). Only `rows` are shown, from top to bottom, the `strong` ones in
    bold; `score` and `limits` are of the score's axis, `zero` draws a line there; `chance` is the
    score of guessing per row. With `one_lane`, all arms are in the middle of their row; `link`
    draws a line in each row from the first arm's value (or 0) to the second's.
    """
    place = {name: -index for index, name in enumerate(rows)}
    table = table.filter(pl.col("row").is_in(list(rows)))
    table = table.with_columns(
        pl.lit(missing).alias(name)
        for name, missing in (("low", None), ("high", None), ("note", ""))
        if name not in table.columns
    )
    marks = {arm: rows_of(table, arm).to_dicts() for arm in arms_in(table)}
    bands = [arm for arm in marks if is_null(arm) and marks[arm][0]["low"] is not None]
    lanes = [arm for arm in marks if arm not in REFERENCES and arm not in bands]
    traces = [_band(arm, marks[arm], place, outlined=arm != bands[0]) for arm in bands]
    if chance:
        traces.append(_chance(chance, place))
    if link:
        traces.append(_links(marks.get(link[0], []), marks.get(link[1], []), place))
    for arm, cells in marks.items():
        if arm in REFERENCES:
            traces.append(_ticks(arm, cells, place))
        elif arm in lanes:
            shift = 0.0 if one_lane else _lane(lanes.index(arm), len(lanes))
            traces.append(_dots(arm, cells, place, shift))
    x = axis(score)
    x["range"] = list(limits or _limits(table))
    if zero:
        x |= {"zeroline": True, "zerolinecolor": "@line", "zerolinewidth": 1.5}
    y = row_axis(rows, strong=strong)
    between = [straight_line("grid", 1, y=-index - 0.5) for index in range(len(rows) - 1)]
    per_row = 27 if one_lane else 18 + 12.5 * max(2, len(lanes))
    shown = layout(x, y, shapes=between, barmode="overlay")
    return Panel(tuple(traces), shown, 60 + round(len(rows) * per_row), title, span)


def _limits(table: pl.DataFrame) -> tuple[float, float]:
    """All values and intervals, with padding at both ends."""
    ends = pl.concat([table[name].cast(pl.Float64) for name in ("value", "low", "high")])
    finite = ends.filter(ends.is_finite())
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    padding = 0.04 * (high - low) or 1.0
    return low - padding, high + padding


def _lane(index: int, count: int) -> float:
    return 0.0 if count < 2 else _SPREAD * (1 - 2 * index / (count - 1)) * min(1, count / 3)


def _hover(arm: Arm, cell: Json) -> str:
    span = interval_text(cell["value"], cell["low"], cell["high"])
    return hover_box(arm.label, text(cell["row"]), span, text(cell["note"]))


def _dots(arm: Arm, cells: Sequence[Json], place: Mapping[str, int], shift: float) -> Json:
    values, low, high = ([cell[name] for cell in cells] for name in ("value", "low", "high"))
    return points(
        values,
        [place[cell["row"]] + shift for cell in cells],
        [_hover(arm, cell) for cell in cells],
        key=arm.key,
        error_x=interval_bars(values, low, high, f"{arm.colour}/0.55"),
        marker=marker(arm.colour, arm.symbol, 7 if is_null(arm) else 9, 1.6 if arm.control else 0),
    )


def _ticks(arm: Arm, cells: Sequence[Json], place: Mapping[str, int]) -> Json:
    places = [(cell["value"], place[cell["row"]], _hover(arm, cell)) for cell in cells]
    return _upright(places, _TICK, arm.key, {"color": f"@{arm.colour}", "width": 2.5})


def _upright(
    places: Sequence[tuple[float, float, str]], half: float, key: str, style: Json
) -> Json:
    """Upright ticks at (value, height, hover text), `half` above and below."""
    x = [at for value, _, _ in places for at in (value, value, value, None)]
    y = [at for _, middle, _ in places for at in (middle - half, middle, middle + half, None)]
    hover = [shown for *_, note in places for shown in (note, note, note, None)]
    return points(x, y, hover, key=key, mode="lines", line=style)


def _links(start: Sequence[Json], end: Sequence[Json], place: Mapping[str, int]) -> Json:
    begin = {cell["row"]: cell["value"] for cell in start}
    x = [value for c in end for value in (begin.get(c["row"], 0.0), c["value"], None)]
    y = [value for c in end for value in (place[c["row"]], place[c["row"]], None)]
    return points(x, y, (), mode="lines", line={"color": "@line", "width": 3})


def _band(arm: Arm, cells: Sequence[Json], place: Mapping[str, int], *, outlined: bool) -> Json:
    """Horizontal bars from the 5th to the 95th centile."""
    return {
        "type": "bar",
        "orientation": "h",
        "meta": arm.key,
        "base": [cell["low"] for cell in cells],
        "x": [max(cell["high"] - cell["low"], 1e-6) for cell in cells],
        "y": [place[cell["row"]] for cell in cells],
        "width": 0.72 if outlined else 0.9,
        "marker": {
            "color": "@none" if outlined else f"@{arm.colour}/0.24",
            "line": {"width": 1 if outlined else 0, "color": f"@{arm.colour}"},
        },
        "hovertext": [_hover(arm, cell) for cell in cells],
        "hoverinfo": "text",
    }


def _chance(chance: Mapping[str, float], place: Mapping[str, int]) -> Json:
    rows = [(name, value) for name, value in chance.items() if name in place]
    places = [(value, place[name], f"chance {number(value)}") for name, value in rows]
    return _upright(places, _TICK, "chance", {"color": "@muted", "width": 1.5, "dash": "dot"})


def strip_panel(
    cloud: pl.DataFrame,
    centres: pl.DataFrame,
    rows: Sequence[str],
    keys: Sequence[LegendEntry],
    *,
    x: Json | None = None,
    vertical: float | None = None,
    title: str = "",
    span: int = 3,
) -> Panel:
    """Clouds of points in named rows, the series of a row above each other, each with its centre.

    `cloud` has the columns row, series (the key of one of `keys`), value, note (markup for
    hovering); `centres` also low and high (null: a tick, not a dot). `keys` give colours and
    symbols, `x` is the axis of values, `vertical` a dark line at a value.
    """
    place = {name: -index for index, name in enumerate(rows)}
    counts = cloud.group_by("row").agg(pl.col("series").n_unique())["series"].to_list()
    most = max(counts, default=1)
    lane = 0.68 / max(1, most)
    traces: list[Json] = []
    for index, key in enumerate(keys):
        shift = 0.17 * (len(keys) - 1 - 2 * index) if most > 1 else 0.0
        series = cloud.filter(pl.col("series") == key.key)
        moves = np.random.default_rng(0).uniform(-0.41 * lane, 0.41 * lane, size=series.height)
        middles = [place[row] + shift for row in series["row"]]
        traces.append(
            points(
                series["value"].to_list(),
                [at + float(move) for at, move in zip(middles, moves, strict=True)],
                series["note"].to_list(),
                key=key.key,
                marker=marker(f"{key.colour}/0.45", size=5),
            )
        )
        middles_of_key = centres.filter(pl.col("series") == key.key).to_dicts()
        traces += _centres(key, middles_of_key, place, shift, 0.47 * lane)
    shapes = [] if vertical is None else [straight_line("base", 2, x=vertical)]
    shown = layout(x or axis(nticks=6), row_axis(rows), shapes=shapes)
    return Panel(tuple(traces), shown, 60 + 46 * len(rows), title, span)


def _centres(
    key: LegendEntry, middles: Sequence[Json], place: Mapping[str, int], shift: float, half: float
) -> list[Json]:
    dots = [middle for middle in middles if middle.get("low") is not None]
    ticks = [middle for middle in middles if middle.get("low") is None]
    traces = []
    if ticks:
        places = [(tick["value"], place[tick["row"]] + shift, tick["note"]) for tick in ticks]
        style = {"color": f"@{key.colour}", "width": 3}
        traces.append(_upright(places, half, key.key, style))
    if dots:
        values, low, high = ([dot[name] for dot in dots] for name in ("value", "low", "high"))
        traces.append(
            points(
                values,
                [place[dot["row"]] + shift for dot in dots],
                [dot["note"] for dot in dots],
                key=key.key,
                error_x=interval_bars(values, low, high, key.colour, 2.5),
                marker=marker(key.colour, key.symbol, 11),
            )
        )
    return traces


def log_axis(values: Sequence[float | None]) -> Json:
    """Logarithmic over a decade or more, with ticks at 1, 2 and 5 or at powers of ten."""
    kept = [value for value in values if value and math.isfinite(value) and value > 0]
    if not kept:
        return axis(type="log")
    if max(kept) < 10 * min(kept):
        return axis(nticks=6)
    low, high = math.floor(math.log10(min(kept))), math.ceil(math.log10(max(kept)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    labels = [f"{tick:g}" for tick in ticks]
    return axis(type="log", tickmode="array", tickvals=ticks, ticktext=labels)


def joined(tables: Tables) -> pl.DataFrame:
    """The tables under each other, with what each is about."""
    named = [table.with_columns(about=pl.lit(name)) for name, table in tables.items()]
    return pl.concat(named, how="diagonal_relaxed")


def figure_of(
    name: str,
    caption: str,
    panels: Sequence[Panel] | Mapping[str, Sequence[Panel]],
    tables: Tables | pl.DataFrame,
    keys: Sequence[LegendEntry] = (),
    *,
    scale: tuple[str, str] | None = None,
    stats: Sequence[tuple[str, str]] = (),
) -> Figure | None:
    """A figure of one view, or of several with their labels; None without panels."""
    if not panels:
        return None
    data = tables if isinstance(tables, pl.DataFrame) else joined(tables)
    views = panels if isinstance(panels, Mapping) else {"": panels}
    return Figure(name, caption, views, data, keys, scale, stats)
