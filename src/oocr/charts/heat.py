"""Heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from oocr.charts import pieces
from oocr.charts.figure import Panel, names_in
from oocr.charts.pieces import Json


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
        "colorscale": pieces.HEAT if most is None else pieces.DIVERGING,
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
            square = pieces.marker(colour, "square-open", size, width)
            traces.append(pieces.points(across, down, (), key="chosen", marker=square))
    slanted = len(columns) > 4 and max((len(name) for name in columns), default=0) > 4
    size = 11 if small else 13
    top = pieces.axis(x, "height+right", side="top", tickangle=-35 if slanted else 0)
    top |= pieces.row_labels([pieces.shortened(name, 26) for name in columns], size)
    top["ticklabeloverflow"] = "allow"
    y = pieces.axis(margin="width", autorange="reversed")
    y |= pieces.row_labels([pieces.shortened(name, 28) for name in rows], size)
    margins = {"l": 8, "r": 84 if slanted else 12, "t": 8, "b": 8}  # for the last slanted label
    height = (118 if slanted else 64) + len(rows) * (17 if small else 26)
    return Panel(tuple(traces), pieces.layout(top, y, margin=margins), height, title, span)


def map_panel(
    values: Sequence[Sequence[float]],
    rows: Sequence[tuple[str, int]],
    columns: Sequence[tuple[str, int]],
    *,
    most: float,
    title: str = "",
    span: int = 3,
    height: int = 300,
) -> Panel:
    """A heat map of many cells, with rows and columns in blocks: (name, number of rows or columns).

    Colours run from -most (orange) over 0 to most (blue); lines part the blocks.
    """
    trace: Json = {
        "type": "heatmap",
        "z": [list(cells) for cells in values],
        "zmin": -most,
        "zmax": most,
        "showscale": False,
        "colorscale": pieces.DIVERGING,
        "hoverinfo": "x+y+z",
    }
    across, down = _block_axis(columns), _block_axis(rows)
    shapes = [
        *[pieces.straight_line("muted/0.6", 1, x=end) for end in across.pop("ends")],
        *[pieces.straight_line("muted/0.6", 1, y=end) for end in down.pop("ends")],
    ]
    shapes = [{**shape, "layer": "above"} for shape in shapes]
    top = pieces.axis(margin="height", side="top") | across
    left = pieces.axis(margin="width", autorange="reversed") | down
    layout = pieces.layout(top, left, shapes=shapes)
    return Panel((trace,), layout, height, title, span)


def _block_axis(blocks: Sequence[tuple[str, int]]) -> Json:
    """Each block's name at its middle; `ends`: where one block ends and another begins."""
    ends, middles, begin = [], [], 0
    for _, count in blocks:
        middles.append(begin + (count - 1) / 2)
        begin += count
        ends.append(begin - 0.5)
    names = [pieces.text(name) for name, _ in blocks]
    style = {"showgrid": False, "tickfont": {"color": "@ink", "size": 12}}
    return {"tickmode": "array", "tickvals": middles, "ticktext": names, "ends": ends[:-1], **style}


def _heat_hover(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]]
) -> list[list[str]]:
    return [
        [
            pieces.hover_box(row, f"{pieces.text(column)}: {pieces.number(value)}")
            for column, value in zip(columns, cells, strict=True)
        ]
        for row, cells in zip(rows, values, strict=True)
    ]


def grid_of(
    table: pl.DataFrame, row: str, column: str, value: str
) -> tuple[list[str], list[str], list[list[float | None]]]:
    """Rows, columns and cells for `heat_panel`, in the order in which the table names them."""
    cells = {(a, b): number for a, b, number in table.select(row, column, value).iter_rows()}
    rows, columns = names_in(table, row), names_in(table, column)
    values = [[cells.get((a, b)) for b in columns] for a in rows]
    return [str(name) for name in rows], [str(name) for name in columns], values
