"""Scores by facet and arm, raw and answer-balanced."""

from __future__ import annotations

import polars as pl

from oocr.charts.arms import NULLS, RANDOM, RANDOM_SPAN, Arm, arms_in, dot_keys
from oocr.charts.dots import Dot, Rows, dot_panel
from oocr.charts.figure import Figure, Key, View, counted
from oocr.report.measure import Measure, measure_of
from oocr.report.paper import PAPER, SUFFIX
from oocr.report.runs import Run, as_float
from oocr.report.score_table import (
    ALL,
    BOTH,
    FREE,
    OWN,
    facet_order,
    final_rows,
    score_table,
    whole_name,
)

BALANCED = "each answer weighs the same"
RAW = "each member weighs the same"

_MARKS = {
    "in_context": " (trained)",
    "free_in_context": " (trained, own words)",
    "free": " (own words)",
    PAPER: SUFFIX,
}


def scores_figure(run: Run) -> Figure | None:
    """Dots with intervals per facet; None where nothing can be scored."""
    measure = measure_of(run)
    if measure is None or run.rows is None:
        return None
    modes = (True, False) if measure.kind == "accuracy" else (False,)
    tables = {
        mode: score_table(measure, run.rows, run.info.chance, balanced=mode) for mode in modes
    }
    tables = {mode: table for mode, table in tables.items() if not table.is_empty()}
    if not tables:
        return None
    data = pl.concat(list(tables.values()))
    if RANDOM in arms_in(data):  # the swaps' own are much alike, and stand beside the swaps
        tables = {mode: t.filter(pl.col("arm") != RANDOM_SPAN.name) for mode, t in tables.items()}
    order = facet_order(final_rows(run.rows))
    whole = whole_name(run.rows)
    views = tuple(
        View(
            (BALANCED if mode else RAW) if len(tables) > 1 else "",
            (dot_panel(_rows(measure, table, order, whole), _dots(table)),),
        )
        for mode, table in tables.items()
    )
    keys = _keys(pl.concat(list(tables.values())))
    return Figure("scores", _caption(measure, data), views, data, keys)


def row_name(part: str, facet: str) -> str:
    """Everything but our own choices out of context is marked as what it is."""
    name = facet.removeprefix("paper: ") if part == PAPER else facet
    return name + _MARKS.get(part, "")


def _rows(measure: Measure, table: pl.DataFrame, order: list[tuple[str, str]], whole: str) -> Rows:
    present = set(table.select("part", "facet").unique().iter_rows())
    names = [row_name(*one) for one in order if one in present]
    names.insert(sum("in_context" in part for part, _ in order if (part, _) in present), whole)
    chance = {
        row_name(part, facet): value
        for part, facet, value in set(table.select("part", "facet", "chance").iter_rows())
        if value is not None
    }
    accuracy = measure.kind == "accuracy"
    return Rows(
        names,
        strong=(whole,),
        chance=chance if accuracy else {},
        title=measure.axis,
        limits=(-0.02, 1.02) if accuracy else None,
        zero=not accuracy,
    )


def _dots(table: pl.DataFrame) -> list[Dot]:
    nulls = {arm.name for arm in NULLS}
    return [
        Dot(
            row_name(line["part"], line["facet"]),
            Arm(line["arm"], line["control"]),
            line["value"],
            line["low"],
            line["high"],
            f"median, 5th to 95th centile of {line['items']} directions"
            if line["arm"] in nulls
            else f"{line['items']} items, {counted(line['members'], 'member')} × "
            f"{counted(line['seeds'], 'seed')}",
        )
        for line in table.iter_rows(named=True)
    ]


def _keys(data: pl.DataFrame) -> tuple[Key, ...]:
    keys = dot_keys(arms_in(data))
    if data["chance"].drop_nulls().len():
        keys += (Key("chance", "chance", "muted", "dots"),)
    return keys


def _caption(measure: Measure, data: pl.DataFrame) -> str:
    trained = data.filter(pl.col("arm").is_in(["vector", "adapter"]), pl.col("control") == "")
    size = ""
    if not trained.is_empty():
        members = counted(as_float(trained["members"].max()), "member")
        size = f" n = {members} × {counted(as_float(trained['seeds'].max()), 'seed')}."
    what = {
        "accuracy": "Share of items whose best-scored option is the right one.",
        "contrast": "Log-odds of the positive pole on the same probes: trained towards it, minus "
        "trained away from it.",
        "log-odds": "Log-odds of the trained pole, minus those of the untouched model.",
    }[measure.kind]
    parts = [what, f"Bars: {measure.bars}."]
    if not data.filter(pl.col("arm").is_in([arm.name for arm in NULLS])).is_empty():
        parts.append("Grey: 5th to 95th centile of random directions of the same norm.")
    if not data.filter(pl.col("control") != "").is_empty():
        parts.append("Hollow marks were trained on control data.")
    if BOTH in data["facet"]:
        parts.append(
            f"“{BOTH}” is the mean of the two on the trained question; giving one answer always "
            "scores one half there."
        )
    else:
        name, which = (OWN, "its") if OWN in data["facet"] else (ALL, "the")
        parts.append(f"“{name}” is the mean over {which} out-of-context facets.")
    if not data.filter(pl.col("part").is_in(FREE)).is_empty():
        parts.append("“Own words”: generated greedily and judged; random directions aren't asked.")
    if not data.filter(pl.col("part") == PAPER).is_empty():
        parts.append(
            f"“{SUFFIX.strip(' ()')}”: the paper's own questions, told apart by the logit of each "
            "option's last token; each item weighs the same there, and none counts elsewhere."
        )
    if measure.kind == "accuracy":
        parts.append(
            "Answer-balanced: within a facet every distinct right answer weighs the same, so that "
            "giving one common answer everywhere cannot win."
        )
    return " ".join(parts) + size
