"""Panels of dots and of strips of points in named rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from oocr.charts import pieces
from oocr.charts.arms import REFERENCES, Arm, arms_in, is_null, rows_of_arm
from oocr.charts.figure import LegendEntry, Panel
from oocr.charts.pieces import Json

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
    marks = {arm: rows_of_arm(table, arm).to_dicts() for arm in arms_in(table)}
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
    x = pieces.axis(score)
    x["range"] = list(limits or _limits(table))
    if zero:
        x |= {"zeroline": True, "zerolinecolor": "@line", "zerolinewidth": 1.5}
    y = pieces.row_axis(rows, strong=strong)
    between = [pieces.straight_line("grid", 1, y=-index - 0.5) for index in range(len(rows) - 1)]
    per_row = 27 if one_lane else 18 + 12.5 * max(2, len(lanes))
    shown = pieces.layout(x, y, shapes=between, barmode="overlay")
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
    span = pieces.interval_text(cell["value"], cell["low"], cell["high"])
    return pieces.hover_box(arm.label, pieces.text(cell["row"]), span, pieces.text(cell["note"]))


def _dots(arm: Arm, cells: Sequence[Json], place: Mapping[str, int], shift: float) -> Json:
    values, low, high = ([cell[name] for cell in cells] for name in ("value", "low", "high"))
    return pieces.points(
        values,
        [place[cell["row"]] + shift for cell in cells],
        [_hover(arm, cell) for cell in cells],
        key=arm.key,
        error_x=pieces.interval_bars(values, low, high, f"{arm.colour}/0.55"),
        marker=pieces.marker(
            arm.colour, arm.symbol, 7 if is_null(arm) else 9, 1.6 if arm.control else 0
        ),
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
    return pieces.points(x, y, hover, key=key, mode="lines", line=style)


def _links(start: Sequence[Json], end: Sequence[Json], place: Mapping[str, int]) -> Json:
    begin = {cell["row"]: cell["value"] for cell in start}
    x = [value for c in end for value in (begin.get(c["row"], 0.0), c["value"], None)]
    y = [value for c in end for value in (place[c["row"]], place[c["row"]], None)]
    return pieces.points(x, y, (), mode="lines", line={"color": "@line", "width": 3})


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
    places = [(value, place[name], f"chance {pieces.number(value)}") for name, value in rows]
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
            pieces.points(
                series["value"].to_list(),
                [at + float(move) for at, move in zip(middles, moves, strict=True)],
                series["note"].to_list(),
                key=key.key,
                marker=pieces.marker(f"{key.colour}/0.45", size=5),
            )
        )
        middles_of_key = centres.filter(pl.col("series") == key.key).to_dicts()
        traces += _centres(key, middles_of_key, place, shift, 0.47 * lane)
    shapes = [] if vertical is None else [pieces.straight_line("base", 2, x=vertical)]
    shown = pieces.layout(x or pieces.axis(nticks=6), pieces.row_axis(rows), shapes=shapes)
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
            pieces.points(
                values,
                [place[dot["row"]] + shift for dot in dots],
                [dot["note"] for dot in dots],
                key=key.key,
                error_x=pieces.interval_bars(values, low, high, key.colour, 2.5),
                marker=pieces.marker(key.colour, key.symbol, 11),
            )
        )
    return traces
