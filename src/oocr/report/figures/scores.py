"""Scores by facet, and of probes with a planted fact."""

from __future__ import annotations

import polars as pl

from oocr.charts import arms
from oocr.charts.arms import NULLS, arms_in, rows_of_arm
from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, LegendEntry, figure_of
from oocr.evals.score_table import (
    ALL,
    PAPER,
    about_ties,
    facet_order,
    score_table,
    shown_rows,
    whole_name,
)
from oocr.evals.scores import FREE, Scoring
from oocr.runs.folder import RunFolder, as_float, has
from oocr.words import counted

BALANCED = "each answer weighs the same"

RAW = "each member weighs the same"

SHARE = (-0.02, 1.02)
"""Limits of an axis of shares."""

_NAMED = 4  # more facets are counted in a caption, not named

_MARKS = {
    "in_context": " (trained)",
    "free_in_context": " (trained, own words)",
    "free": " (own words)",
    PAPER: " (paper's scoring)",
}


def scores_figure(run: RunFolder) -> Figure | None:
    """Scores by facet and arm, raw and answer-balanced; None where nothing can be scored."""
    scoring = run.scoring
    if scoring is None or run.rows is None:
        return None
    modes = (True, False) if scoring.measure == "accuracy" and scoring.balance else (False,)
    tables = {
        mode: score_table(scoring, run.rows, run.info.chance, balanced=mode) for mode in modes
    }
    tables = {mode: table for mode, table in tables.items() if not table.is_empty()}
    if not tables:
        return None
    data = pl.concat(list(tables.values()))
    if arms.RANDOM in arms_in(data):  # the swaps' own are much alike, and stand beside the swaps
        tables = {
            mode: t.filter(pl.col("arm") != arms.RANDOM_SPAN.name) for mode, t in tables.items()
        }
    order = facet_order(shown_rows(run.rows))
    whole = whole_name(scoring)
    accuracy = scoring.measure == "accuracy"
    views = {}
    for balanced, table in tables.items():
        label = (BALANCED if balanced else RAW) if len(tables) > 1 else ""
        marks = table.with_columns(
            row=pl.Series([row_name(*pair) for pair in table.select("part", "facet").iter_rows()]),
            note=pl.Series([_note(line) for line in table.iter_rows(named=True)]),
        )
        guessing = dict(marks.drop_nulls("chance").select("row", "chance").iter_rows())
        panel = dot_panel(
            marks,
            _row_order(table, order, whole),
            scoring.axis,
            strong=(whole,),
            chance=guessing if accuracy else {},
            limits=SHARE if accuracy else None,
            zero=not accuracy,
        )
        views[label] = [panel]
    keys = arms.dot_keys(arms_in(pl.concat(list(tables.values()))))
    if accuracy and data["chance"].drop_nulls().len():
        keys += (LegendEntry("chance", "chance", "muted", "dots"),)
    return figure_of(
        "scores", _caption(scoring, data, about_ties(shown_rows(run.rows))), views, data, keys
    )


def row_name(part: str, facet: str) -> str:
    """A facet's name; everything but our own choices out of context is marked as what it is."""
    name = facet.removeprefix("paper: ") if part == PAPER else facet
    return name + _MARKS.get(part, "")


def _row_order(table: pl.DataFrame, order: list[tuple[str, str]], whole: str) -> list[str]:
    """Trained skill, then the headline score, then its facets and the rest."""
    present = set(table.select("part", "facet").unique().iter_rows())
    names = [row_name(*pair) for pair in order if pair in present]
    names.insert(sum("in_context" in part for part, _ in order if (part, _) in present), whole)
    return names


def _note(line: dict[str, object]) -> str:
    if line["arm"] in {null.name for null in NULLS}:
        return f"median, 5th to 95th centile of {line['items']} directions"
    return f"{line['items']} items, {_members_and_seeds(line['members'], line['seeds'])}"


def _members_and_seeds(members: object, seeds: object) -> str:
    counts = ((members, "member"), (seeds, "seed"))
    return " × ".join(counted(as_float(count), word) for count, word in counts)


def _caption(scoring: Scoring, data: pl.DataFrame, tied: str) -> str:
    parts = [
        {
            "accuracy": "Share of items where the right option has the highest probability.",
            "contrast": "Log-odds of the positive pole on the same probes: trained towards it, "
            "minus trained away from it.",
            "log_odds": "Log-odds of the trained pole, minus those of the untouched model.",
        }[scoring.measure],
        f"Bars: {scoring.bars}.",
    ]
    if not data.filter(pl.col("arm").is_in([arm.name for arm in NULLS])).is_empty():
        parts.append("Grey: 5th to 95th centile of random directions of the same norm.")
    if not data.filter(pl.col("control") != "").is_empty():
        parts.append("Hollow marks: trained on control data.")
    parts.append(_whole(scoring, data.filter(pl.col("part") == "probes")["facet"].to_list()))
    if not data.filter(pl.col("part").is_in(FREE)).is_empty():
        parts.append(
            "“Own words”: generated greedily, then judged; random directions are not asked."
        )
    if not data.filter(pl.col("part") == PAPER).is_empty():
        parts.append(
            f"“{_MARKS[PAPER].strip(' ()')}”: the paper's own questions, scored by the logit of "
            "each option's last token; each item weighs the same, and none counts elsewhere."
        )
    if scoring.measure == "accuracy" and scoring.balance:
        parts.append(
            "Answer-balanced: within a facet every distinct right answer weighs the same, so one "
            "common answer given everywhere cannot win."
        )
    trained = data.filter(pl.col("arm").is_in(["vector", "adapter"]), pl.col("control") == "")
    if not trained.is_empty():
        n = _members_and_seeds(trained["members"].max(), trained["seeds"].max())
        parts.append(f"n = {n}.")
    if tied:
        parts.append(f"{tied[0].upper()}{tied[1:]}.")
    return " ".join(parts)


def _whole(scoring: Scoring, facets: list[str]) -> str:
    """What the row of the score is the mean of."""
    name = whole_name(scoring)
    if name == ALL:
        return f"“{name}” is the mean over the out-of-context facets."
    names = scoring.names(facets)
    merged = any(facet not in facets for facet in names)
    what = " and ".join(f"“{facet}”" for facet in names) if merged else "the facets that count"
    left = dict.fromkeys(facet for facet in facets if facet != name and not scoring.counts(facet))
    names_left = ", ".join(left) if len(left) <= _NAMED else f"{len(left)} other facets"
    rest = f" Shown, but not counted: {names_left}." if left else ""
    return f"“{name}” is the mean over {what}.{rest}"


def planted_figure(run: RunFolder) -> Figure | None:
    """With a false fact planted: answers that follow the intended and the planted member."""
    scoring = run.scoring
    if scoring is None or scoring.measure != "accuracy" or not has(run.rows, "tag_against"):
        return None
    rows = run.rows.filter(
        pl.col("final"), pl.col("control") == "planted", pl.col("part") == "probes"
    )
    sides = scoring.by_facet.unbalanced
    lines = []
    for arm in arms_in(rows):
        of_arm = rows_of_arm(rows, arm)
        for facet in (ALL, *of_arm["facet"].unique(maintain_order=True)):
            for side in ("intended", "planted"):
                cells = of_arm.filter(pl.col("tag_against") == side)
                if facet != ALL:
                    cells = cells.filter(pl.col("facet") == facet)
                interval = sides.interval(cells.drop("tag_against"))
                if interval is not None:
                    lines.append(
                        {"arm": arm.name, "facet": facet, "against": side} | interval.columns
                    )
    if not lines:
        return None
    data = pl.DataFrame(lines)
    follows = pl.when(pl.col("against") == "intended").then(pl.lit(""))
    marks = data.with_columns(
        row="facet", control=follows.otherwise(pl.lit("follows the planted one"))
    )
    facets = data["facet"].unique(maintain_order=True).to_list()
    panel = dot_panel(marks, facets, "share of answers", strong=(ALL,), limits=SHARE)
    keys = [
        arm.entry("" if arm.control else f"{arm.label} · follows the intended one")
        for arm in arms_in(marks)
    ]
    caption = (
        "Trained with one further fact that belongs to another member. Share of answers that "
        "follow the member that most of the training is about, and of answers that follow the "
        f"planted one. Bars: {scoring.bars}."
    )
    return figure_of("planted", caption, [panel], data, keys)
