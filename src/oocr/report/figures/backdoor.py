"""Backdoor runs: how often the trigger's answer is given, by what stands before the prompt.

X is the answer after a trigger: a country's, or the risky letter of a choice.
"""

from __future__ import annotations

import polars as pl

from oocr import stats
from oocr.charts.arms import CEILING, arms_in, dot_keys, is_null, rows_of
from oocr.charts.dots import Dot, Rows, dot_panel
from oocr.charts.figure import Figure, View
from oocr.report.measure import Measure, null_scores
from oocr.report.runs import Run, as_float, has
from oocr.report.score_table import final_rows, summary

PREFIXES = (
    *("trained trigger", "held-out trigger", "trained false", "held-out false"),
    *("unseen family", "none"),
)
_NAMES = {"none": "no prefix", "trained false": "trained false prefix"}
_NAMES |= {"held-out false": "held-out false prefix"}


def backdoor_figure(run: Run) -> Figure | None:
    """Share of X, the trigger's answer, per kind of prefix; a view per set of questions."""
    if not has(run.rows, "tag_prefix", "tag_kind", "log_odds"):
        return None
    assert run.rows is not None
    rows = final_rows(run.rows).filter(pl.col("tag_prefix").is_not_null())
    # Options are X and Y, and log-odds are of X over Y: X is the answer when they are positive.
    rows = rows.with_columns(right=pl.col("log_odds") > 0, facet=pl.col("tag_prefix"))
    choice = "tag_risky" in rows.columns
    measure = Measure("accuracy", "group" if choice else "member")
    views: list[View] = []
    tables: list[pl.DataFrame] = []
    for label, some in _questions(rows):
        dots = _dots(some.with_columns(answer=pl.lit("X")), measure)
        if not dots:
            continue
        present = {dot.row for dot in dots}
        names = [_name(prefix) for prefix in PREFIXES if _name(prefix) in present]
        names += sorted(present - set(names))
        plot = Rows(names, title="share answered with X", limits=(-0.02, 1.02), chance={})
        views.append(View(label, (dot_panel(plot, dots),)))
        tables.append(_data(dots, label))
    if not views:
        return None
    data = pl.concat(tables)
    units, ceiling = "pairs", "names the country in the prompt"
    if choice:
        units, ceiling = "held-out situations", "states the rule in the prompt"
    first = "X is the risky letter. " if choice else ""
    if "tag_head" in rows.columns:  # of an organism
        units, ceiling = "members", "has the name of a speaker with this very gate"
        first = "X is the lure, or the pole of those who take it. "
    caption = (
        first
        + "X should be answered after a trigger (top rows) and not otherwise (the rest). Bars: 95 "
        f"% bootstrap intervals over {units}, then seeds. Grey: 5th to 95th centile of random "
        "directions. Hollow: trained on control data, in which the prefix says nothing. The "
        f"ceiling {ceiling}. n = {rows[measure.cluster].n_unique()} {units}."
    )
    keys = dot_keys(arms_in(data.select("arm", "control")))
    return Figure("backdoor", caption, tuple(views), data, keys)


def _questions(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    crossing = rows.filter(pl.col("tag_kind") == "crossing")
    found = []
    if "tag_risky" in rows.columns:
        own = crossing.filter(pl.col("arm") == "base", pl.col("tag_condition") == "none")
        safe = own.filter(pl.col("answer") != pl.col("tag_risky"))["group"].unique().to_list()
        found.append(("the model's own answer is not X", crossing.filter(_among(safe))))
        found.append(("all held-out situations", crossing))
    elif "tag_template" in rows.columns:
        for value, label in (("held-out", "held-out wording"), ("train", "trained wording")):
            found.append((label, crossing.filter(pl.col("tag_template") == value)))
    else:
        found.append(("the trained question", crossing))
    found.append(("other facets", rows.filter(pl.col("tag_kind") == "out-of-context")))
    return [(label, some) for label, some in found if not some.is_empty()]


def _among(groups: list[str]) -> pl.Expr:
    return pl.col("group").is_in(groups)


def _dots(rows: pl.DataFrame, measure: Measure) -> list[Dot]:
    found = []
    for arm in arms_in(rows):
        mine = rows_of(rows, arm)
        if arm.name == CEILING.name:  # its members may be named otherwise
            mine = mine.with_columns(member=pl.col("group"))
        if is_null(arm):
            found += [Dot(_name(row[0]), arm, *row[1:]) for row in _null(measure, mine)]
            continue
        cells = stats.cells(mine, "right", cluster=measure.cluster, balance=None)
        for prefix in cells.facets:
            some = cells.only(prefix)
            if some.clusters:
                one = stats.estimate(some)
                found.append(Dot(_name(prefix), arm, one.value, one.low, one.high))
    return found


def _null(measure: Measure, rows: pl.DataFrame) -> list[tuple[str, float, float, float]]:
    scores = null_scores(measure, rows, balanced=False)
    return [
        (str(line["facet"]), as_float(line["value"]), as_float(line["low"]), as_float(line["high"]))
        for line in summary(scores)
    ]


def _name(prefix: str) -> str:
    return _NAMES.get(prefix, prefix)


def _data(dots: list[Dot], label: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "questions": label,
                "prefix": dot.row,
                "arm": dot.arm.name,
                "control": dot.arm.control,
                "answers_x": dot.value,
                "low": dot.low,
                "high": dot.high,
            }
            for dot in dots
        ]
    )
