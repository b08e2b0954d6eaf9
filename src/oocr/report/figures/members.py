"""Members by facets: where the score comes from, and what was answered instead."""

from __future__ import annotations

from collections import Counter

import polars as pl

from oocr.charts.arms import ADAPTER, BASE, CEILING, VECTOR, Arm, arms_in, rows_of
from oocr.charts.dots import Dot, Rows, dot_panel
from oocr.charts.figure import Figure, Json, Panel, View, number, text
from oocr.charts.traces import axis, layout
from oocr.report.figures.scores import row_name
from oocr.report.measure import Measure, measure_of, scored
from oocr.report.runs import Run, as_float, has
from oocr.report.score_table import ALL, facet_order, final_rows

_MOST = 6  # different answers in a hover box


def members_figure(run: Run) -> Figure | None:
    """Heat maps of the share right for trained arms, their controls and the untouched model."""
    measure = measure_of(run)
    if measure is None or measure.kind != "accuracy" or not has(run.rows, "chosen", "right"):
        return None
    assert run.rows is not None
    final = final_rows(run.rows)
    trained = final.filter(pl.col("arm").is_in([VECTOR.name, ADAPTER.name]))
    members = trained["member"].unique(maintain_order=True).to_list()
    if len(members) < 2:
        return None
    wanted = (VECTOR, ADAPTER, Arm("vector", "shuffled"), Arm("vector", "decorrelated"), BASE)
    arms = [arm for arm in (*wanted, CEILING) if arm in arms_in(final)]
    order = facet_order(trained)
    tables = {arm: _table(rows_of(final, arm), members) for arm in arms}
    shown = {arm: table for arm, table in tables.items() if not table.is_empty()}
    if not shown:
        return None
    panels = tuple(
        _heat(arm, table, members, order, span=3 if len(order) <= 6 else 6)
        for arm, table in list(shown.items())[:4]
    )
    data = pl.concat(
        [
            table.with_columns(arm=pl.lit(arm.name), control=pl.lit(arm.control))
            for arm, table in shown.items()
        ]
    )
    caption = (
        "Share right per member and facet, mean over seeds and wordings. Point at a cell for the "
        f"answers given and how often. n = {len(members)} members."
    )
    return Figure("members", caption, (View("", panels),), data, scale=("0", "1"))


def _table(rows: pl.DataFrame, members: list[str]) -> pl.DataFrame:
    found = []
    some = rows.filter(pl.col("member").is_in(members))
    for (member, part, facet), cell in some.group_by(
        "member", "part", "facet", maintain_order=True
    ):
        counts = Counter(cell["chosen"].to_list()).most_common(_MOST)
        found.append(
            {
                "member": str(member),
                "part": str(part),
                "facet": str(facet),
                "right": as_float(cell["right"].cast(pl.Float64).mean()),
                "items": cell.height,
                "answer": str(cell["answer"][0]).strip(),
                "answers": "; ".join(f"{str(name).strip()} {n}×" for name, n in counts),
            }
        )
    return pl.DataFrame(found)


def _heat(
    arm: Arm, table: pl.DataFrame, members: list[str], order: list[tuple[str, str]], span: int
) -> Panel:
    names = [row_name(*one) for one in order]
    cells = {
        (line["member"], row_name(line["part"], line["facet"])): line
        for line in table.iter_rows(named=True)
    }
    names = [name for name in names if any((member, name) in cells for member in members)]
    z: list[list[float | None]] = []
    hover: list[list[str]] = []
    for member in members:
        lines = [cells.get((member, name)) for name in names]
        z.append([None if line is None else line["right"] for line in lines])
        hover.append(["" if line is None else _hover(line) for line in lines])
    trace: Json = {
        "type": "heatmap",
        "meta": arm.key,
        "x": list(range(len(names))),
        "y": list(range(len(members))),
        "z": z,
        "zmin": 0,
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
        "colorscale": HEAT,
        "hovertext": hover,
        "hoverinfo": "text",
    }
    slanted = len(names) > 4
    x = axis(
        margin="height+right",
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=[text(_short(name, 26)) for name in names],
        side="top",
        showgrid=False,
        tickangle=-35 if slanted else 0,
        ticklabeloverflow="allow",
    )
    y = axis(
        margin="width",
        tickmode="array",
        tickvals=list(range(len(members))),
        ticktext=[text(_short(name, 20)) for name in members],
        autorange="reversed",
        showgrid=False,
    )
    room = {
        "l": 8,
        "r": 84 if slanted else 12,
        "t": 8,
        "b": 8,
    }  # the last label leans over the edge
    whole = layout(x, y, margin=room)
    return Panel((trace,), whole, 84 + 25 * len(members), arm.label, span)


HEAT = [[0, "@heat-0"], [0.33, "@heat-1"], [0.67, "@heat-2"], [1, "@heat-3"]]


def _hover(line: Json) -> str:
    return (
        f"<b>{text(line['member'])}</b>, {text(line['facet'])}<br>"
        f"right {number(line['right'])} of {line['items']} items; wanted: {text(line['answer'])}"
        f"<br>given: {'<br>'.join(text(one) for one in line['answers'].split('; '))}"
    )


def _short(name: str, size: int) -> str:
    return name if len(name) <= size else name[: size - 1] + "…"


def planted_figure(run: Run) -> Figure | None:
    """With a false fact planted: answers that follow the intended and the planted member."""
    measure = measure_of(run)
    if measure is None or measure.kind != "accuracy" or not has(run.rows, "tag_against"):
        return None
    assert run.rows is not None
    rows = run.rows.filter(
        pl.col("final"), pl.col("control") == "planted", pl.col("part") == "probes"
    )
    names = ["intended", "planted"]
    lines = []
    dots = []
    for arm in arms_in(rows):
        mine = rows_of(rows, arm)
        for facet in (ALL, *mine["facet"].unique(maintain_order=True)):
            some = mine if facet == ALL else mine.filter(pl.col("facet") == facet)
            for side in names:
                line = _side(measure, some.filter(pl.col("tag_against") == side))
                if line is None:
                    continue
                follows = Arm(arm.name, "" if side == "intended" else "follows the planted one")
                dots.append(Dot(facet, follows, *line))
                lines.append(
                    {"arm": arm.name, "facet": facet, "against": side}
                    | dict(zip(("value", "low", "high"), line, strict=True))
                )
    if not lines:
        return None
    facets = list(dict.fromkeys(dot.row for dot in dots))
    panel = dot_panel(
        Rows(facets, strong=(ALL,), title="share of answers", limits=(-0.02, 1.02)), dots
    )
    arms = sorted({dot.arm for dot in dots}, key=lambda arm: arm.order)
    keys = tuple(
        arm.entry(f"{arm.label}" if arm.control else f"{arm.label} · follows the intended one")
        for arm in arms
    )
    caption = (
        "Trained with one further fact that belongs to another member. Share of answers that "
        "follow the member most of the training is about, and of answers that follow the planted "
        f"one. Bars: {measure.bars}."
    )
    return Figure("planted", caption, (View("", (panel,)),), pl.DataFrame(lines), keys)


def _side(measure: Measure, rows: pl.DataFrame) -> tuple[float, float, float] | None:
    found = scored(measure, rows)
    return None if found is None else (found.value, found.low, found.high)
