"""What each member answers."""

from __future__ import annotations

from collections import Counter

import polars as pl

from oocr.charts import pieces
from oocr.charts.arms import ADAPTER, BASE, CEILING, VECTOR, Arm, arms_in, rows_of_arm
from oocr.charts.figure import Figure, Panel, figure_of
from oocr.charts.heat import heat_panel
from oocr.charts.pieces import Json
from oocr.evals.score_table import facet_order, shown_rows
from oocr.report.figures.scores import row_name
from oocr.runs.folder import RunFolder, as_float, has

_ANSWERS = 6  # different answers in a hover box

_PANELS = 4


def members_figure(run: RunFolder) -> Figure | None:
    """Heat maps of the share right for trained arms, their controls and the untouched model."""
    if run.info.score != "accuracy" or not has(run.rows, "chosen", "right"):
        return None
    final = shown_rows(run.rows)
    trained = final.filter(pl.col("arm").is_in([VECTOR.name, ADAPTER.name]))
    members = trained["member"].unique(maintain_order=True).to_list()
    if len(members) < 2:
        return None
    wanted = (VECTOR, ADAPTER, Arm("vector", "shuffled"), Arm("vector", "decorrelated"), BASE)
    present = arms_in(final)
    tables = {
        arm: _member_table(rows_of_arm(final, arm), members)
        for arm in (*wanted, CEILING)
        if arm in present
    }
    tables = {arm: table for arm, table in tables.items() if not table.is_empty()}
    order = [row_name(*pair) for pair in facet_order(trained)]
    panels = [
        _member_heat(arm, table, members, order) for arm, table in list(tables.items())[:_PANELS]
    ]
    if not panels:
        return None
    data = pl.concat(
        table.with_columns(arm=pl.lit(arm.name), control=pl.lit(arm.control))
        for arm, table in tables.items()
    )
    caption = (
        "Share right per member and facet, mean over seeds and wordings. Point at a cell for the "
        f"answers given and how often. n = {len(members)} members."
    )
    return figure_of("members", caption, panels, data, scale=("0", "1"))


def _member_table(rows: pl.DataFrame, members: list[str]) -> pl.DataFrame:
    lines = []
    rows = rows.filter(pl.col("member").is_in(members))
    keys = ("member", "part", "facet")
    for names, cell in rows.group_by(keys, maintain_order=True):
        counts = Counter(cell["chosen"].to_list()).most_common(_ANSWERS)
        lines.append(
            dict(zip(keys, map(str, names), strict=True))
            | {
                "right": as_float(cell["right"].cast(pl.Float64).mean()),
                "items": cell.height,
                "answer": str(cell["answer"][0]).strip(),
                "answers": "; ".join(f"{str(name).strip()} {n}×" for name, n in counts),
            }
        )
    return pl.DataFrame(lines)


def _member_heat(arm: Arm, table: pl.DataFrame, members: list[str], order: list[str]) -> Panel:
    cells = {
        (line["member"], row_name(line["part"], line["facet"])): line
        for line in table.iter_rows(named=True)
    }
    names = [name for name in order if any((member, name) in cells for member in members)]
    grid = [[cells.get((member, name)) for name in names] for member in members]
    shares = [[cell["right"] if cell else None for cell in line] for line in grid]
    hover = [[_member_hover(cell) if cell else "" for cell in line] for line in grid]
    span = 3 if len(order) <= 6 else 6
    return heat_panel(members, names, shares, hover=hover, title=arm.label, span=span)


def _member_hover(cell: Json) -> str:
    return pieces.hover_box(
        f"{cell['member']}, {cell['facet']}",
        f"right {pieces.number(cell['right'])} of {cell['items']} items; "
        f"right answer: {pieces.text(cell['answer'])}",
        "answered: " + "<br>".join(pieces.text(answer) for answer in cell["answers"].split("; ")),
    )
