"""A backdoor's scores with each kind of prefix."""

from __future__ import annotations

import polars as pl

from oocr.charts import arms
from oocr.charts.arms import CEILING, arms_in
from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, Panel, figure_of
from oocr.evals.score_table import ALL, score_table, shown_rows
from oocr.evals.scores import Scoring
from oocr.report.figures.scores import SHARE
from oocr.runs.folder import RunFolder, has
from oocr.tasks.task import TriggerWords

PREFIXES = (
    *("trained trigger", "held-out trigger", "trained false", "held-out false"),
    *("unseen family", "none"),
)

_PREFIX_NAMES = {
    "none": "no prefix",
    "trained false": "trained false prefix",
    "held-out false": "held-out false prefix",
}


def backdoor_figure(run: RunFolder) -> Figure | None:
    """Share of X, the trigger's answer, by kind of prefix; a view per set of questions."""
    if not has(run.rows, "tag_prefix", "tag_kind", "log_odds"):
        return None
    rows = shown_rows(run.rows).filter(pl.col("tag_prefix").is_not_null())
    # Options are X and Y, and log-odds are of X over Y: X is the answer when they are positive.
    rows = rows.with_columns(
        right=pl.col("log_odds") > 0, facet=pl.col("tag_prefix").replace(_PREFIX_NAMES)
    )
    scoring = Scoring(measure="accuracy", cluster=run.info.scoring.cluster, balance=None)
    order = [_PREFIX_NAMES.get(prefix, prefix) for prefix in PREFIXES]
    views: dict[str, list[Panel]] = {}
    tables: list[pl.DataFrame] = []
    for label, asked in _questions(rows):
        table = _prefix_table(asked, scoring)
        if table.is_empty():
            continue
        table = table.with_columns(questions=pl.lit(label))
        present = set(table["prefix"])
        names = [name for name in order if name in present] + sorted(present - set(order))
        marks = table.rename({"prefix": "row", "answers_x": "value"})
        views[label] = [dot_panel(marks, names, "share answered with X", limits=SHARE)]
        tables.append(table)
    if not views:
        return None
    data = pl.concat(tables).select(
        *("questions", "prefix", "arm", "control", "answers_x", "low", "high")
    )
    words = run.info.trigger or TriggerWords(lead="")
    caption = (
        f"{words.answer} X should be answered after a trigger (top rows) and not otherwise (the "
        f"rest). Bars: 95 % intervals over {words.units}. Grey: 5th to 95th "
        "centile of random directions. Hollow: trained on control data, in which the prefix says "
        f"nothing. The ceiling {words.ceiling}. n = {rows[scoring.cluster].n_unique()} "
        f"{words.units}."
    ).strip()
    return figure_of("backdoor", caption, views, data, arms.dot_keys(arms_in(data)))


def _questions(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    crossing = rows.filter(pl.col("tag_kind") == "crossing")
    questions = []
    if "tag_risky" in rows.columns:
        base = crossing.filter(pl.col("arm") == "base", pl.col("tag_condition") == "none")
        safe = base.filter(pl.col("answer") != pl.col("tag_risky"))["group"].unique().to_list()
        not_x = crossing.filter(pl.col("group").is_in(safe))
        questions.append(("the model's own answer is not X", not_x))
        questions.append(("all held-out situations", crossing))
    elif "tag_template" in rows.columns:
        for value, label in (("held-out", "held-out wording"), ("train", "trained wording")):
            questions.append((label, crossing.filter(pl.col("tag_template") == value)))
    else:
        questions.append(("the trained question", crossing))
    questions.append(("other facets", rows.filter(pl.col("tag_kind") == "out-of-context")))
    return [(label, asked) for label, asked in questions if not asked.is_empty()]


def _prefix_table(rows: pl.DataFrame, scoring: Scoring) -> pl.DataFrame:
    ceiling = pl.col("arm") == CEILING.name  # its members may be named otherwise
    member = pl.when(ceiling).then("group").otherwise("member")
    table = score_table(scoring, rows.with_columns(part=pl.lit("probes"), member=member), {})
    if table.is_empty():
        return table
    columns = {"facet": "prefix", "arm": "arm", "control": "control", "value": "answers_x"}
    table = table.filter(pl.col("facet") != ALL).rename(columns)
    return table.select(*columns.values(), "low", "high")
