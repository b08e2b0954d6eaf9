"""The swap: the LoRA taken out, its mean difference put in."""

from __future__ import annotations

import math

import polars as pl

from oocr import stats
from oocr.charts.arms import (
    ADAPTER,
    BASE,
    NULLS,
    RANDOM_EVERYWHERE,
    RANDOM_SPAN,
    SWAP_EVERYWHERE,
    SWAP_SPAN,
    Arm,
    rows_of,
)
from oocr.charts.figure import Figure, Json, Key, Panel, View, number, percent, text
from oocr.charts.traces import axis, layout
from oocr.report.measure import Measure, measure_of, null_scores, scored
from oocr.report.runs import Run, as_float
from oocr.report.score_table import final_rows, headline, whole_name

_SHOWN = (BASE, RANDOM_SPAN, RANDOM_EVERYWHERE, SWAP_SPAN, SWAP_EVERYWHERE, ADAPTER)


def swap_figure(run: Run) -> Figure | None:
    """Dumbbells per member (or facet, for log-odds), and how much each swap recovers."""
    measure = measure_of(run)
    if measure is None or run.rows is None:
        return None
    final = final_rows(run.rows).filter(pl.col("part") == "probes", pl.col("control") == "")
    whole_label = whole_name(final)
    final = headline(final).sort("facet", maintain_order=True)  # arms are compared facet by facet
    swaps = [arm for arm in (SWAP_SPAN, SWAP_EVERYWHERE) if not rows_of(final, arm).is_empty()]
    if not swaps or rows_of(final, ADAPTER).is_empty():
        return None
    unit = "member" if measure.cluster == "member" else "facet"
    table = _table(measure, final, unit, whole_label)
    whole = _recovery(measure, final, swaps)
    shares = tuple(
        (
            f"of the LoRA’s effect kept, {arm.label}",
            f"{percent(one.value)} % [{percent(one.low)}, {percent(one.high)}]",
        )
        for arm, one in whole.items()
    )
    shares_right = measure.kind == "accuracy"
    nulls = any(arm.name in table["arm"] for arm in NULLS)
    caption = (
        f"Out-of-context score ({measure.axis}) per {unit}, mean over seeds: the LoRA, and its "
        "mean difference as a constant vector in its place"
        + (" (x and +: median over random directions of the same norm)" if nulls else "")
        + ". The line runs from the untouched model to the LoRA."
        + (f" For “{whole_label}”, each distinct answer weighs the same." if shares_right else "")
        + (f" Shares of effect: {measure.bars}." if whole else "")
    )
    shown = [arm for arm in _SHOWN if arm.name in table["arm"]]
    data = pl.concat([table, _recovery_rows(whole)], how="diagonal") if whole else table
    keys = tuple(
        Key(arm.key, arm.label, arm.colour, "tick" if arm == BASE else arm.symbol) for arm in shown
    )
    return Figure(
        "swap",
        caption,
        (View("", (_panel(measure, table, shown, whole_label),)),),
        data,
        keys,
        stats=shares,
    )


def _table(measure: Measure, final: pl.DataFrame, unit: str, whole: str) -> pl.DataFrame:
    names = rows_of(final, ADAPTER)[unit].unique(maintain_order=True).to_list()
    found = []
    for arm in _SHOWN:
        mine = rows_of(final, arm)
        for name in (whole, *names):
            rows = mine if name == whole else mine.filter(pl.col(unit) == name)
            value = _score(measure, rows, null=arm in NULLS)
            if value is not None and math.isfinite(value):
                found.append({"row": name, "arm": arm.name, "score": value})
    return pl.DataFrame(found)


def _score(measure: Measure, rows: pl.DataFrame, *, null: bool) -> float | None:
    if rows.is_empty():
        return None
    if null:
        scores = null_scores(measure, rows, balanced=True)
        if scores.is_empty():
            return None
        found = scores.group_by("number").agg(pl.col("score").mean())["score"].median()
        return as_float(found)
    cells = measure.cells(rows, balanced=True)
    return None if cells is None else stats.mean(cells)


def _recovery(measure: Measure, final: pl.DataFrame, swaps: list[Arm]) -> dict[Arm, stats.Interval]:
    """Each swap's share of the LoRA's effect; left out where the LoRA has no clear effect."""
    whole = measure.cells(rows_of(final, ADAPTER), balanced=True)
    effect = _effect(measure, final)
    if whole is None or effect is None or effect.low <= 0:
        return {}
    base = (
        measure.cells(rows_of(final, BASE), balanced=True)
        if measure.kind == "accuracy"
        else whole - whole
    )
    found = {}
    for arm in swaps:
        part = measure.cells(rows_of(final, arm), balanced=True)
        same = (
            part is not None
            and base is not None
            and part.clusters == whole.clusters == base.clusters
            and part.facets == whole.facets == base.facets
        )
        if same and part is not None and base is not None:
            found[arm] = stats.ratio(part, whole, base)
    return found


def _effect(measure: Measure, final: pl.DataFrame) -> stats.Interval | None:
    """The LoRA's score minus the untouched model's."""
    if measure.kind != "accuracy":
        return scored(measure, rows_of(final, ADAPTER))
    ours, base = (measure.cells(rows_of(final, arm), balanced=True) for arm in (ADAPTER, BASE))
    if ours is None or base is None:
        return None
    if ours.clusters != base.clusters or ours.facets != base.facets:
        return None
    return stats.estimate(ours - base)


def _recovery_rows(found: dict[Arm, stats.Interval]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "row": "recovery",
                "arm": arm.name,
                "score": one.value,
                "low": one.low,
                "high": one.high,
            }
            for arm, one in found.items()
        ]
    )


def _panel(measure: Measure, table: pl.DataFrame, shown: list[Arm], whole: str) -> Panel:
    lora = dict(table.filter(pl.col("arm") == ADAPTER.name).select("row", "score").iter_rows())
    members = sorted((name for name in lora if name != whole), key=lambda one: -lora[one])
    names = [whole, *members]
    place = {name: -index for index, name in enumerate(names)}
    start = dict(table.filter(pl.col("arm") == BASE.name).select("row", "score").iter_rows())
    traces: list[Json] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [one for name in names for one in (start.get(name, 0.0), lora[name], None)],
            "y": [one for name in names for one in (place[name], place[name], None)],
            "line": {"color": "@line", "width": 3},
            "hoverinfo": "skip",
        }
    ]
    for arm in shown:
        some = table.filter(pl.col("arm") == arm.name, pl.col("row").is_in(names))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "meta": arm.key,
                "x": some["score"].to_list(),
                "y": [place[name] for name in some["row"]],
                "marker": {
                    "color": f"@{arm.colour}",
                    "symbol": "line-ns" if arm == BASE else arm.symbol,
                    "size": 7 if arm in NULLS else 10,
                    "line": {"width": 2.5 if arm == BASE else 0, "color": f"@{arm.colour}"},
                },
                "hovertext": [
                    f"<b>{text(name)}</b><br>{text(arm.label)}: {number(score)}"
                    for name, score in some.select("row", "score").iter_rows()
                ],
                "hoverinfo": "text",
            }
        )
    labels = [f"<b>{name}</b>" if name == whole else text(name[:24]) for name in names]
    y = axis(
        margin="width",
        tickmode="array",
        tickvals=[-index for index in range(len(names))],
        ticktext=labels,
        range=[-len(names) + 0.4, 0.6],
        showgrid=False,
    )
    x = axis(measure.axis)
    if measure.kind == "accuracy":
        x["range"] = [-0.02, 1.02]
    return Panel(tuple(traces), layout(x, y), 70 + 27 * len(names))
