"""The table behind the scores: by facet, arm and control, with intervals and the null."""

from __future__ import annotations

import polars as pl

from oocr import stats
from oocr.charts.arms import Arm, arms_in, is_null, rows_of, without_sweeps
from oocr.families.choices import OTHER
from oocr.report.measure import Measure, null_scores
from oocr.report.paper import PAPER, paper_chance

ALL = "all probes"
BOTH = "trigger and otherwise"
OWN = "all probes of the trained trait"

PARTS = ("in_context", "free_in_context", "probes", "free", PAPER)
"""The parts that are shown: trained skill first."""

FREE = ("free_in_context", "free")
"""The parts that are answered in the model's own words."""


def final_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that count; of a planted control those against the intended answer."""
    final = without_sweeps(rows).filter(pl.col("final"))
    if "tag_against" in final.columns:
        final = final.filter(pl.col("tag_against").is_null() | (pl.col("tag_against") != "planted"))
    return final


def headline(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that make the one number of an arm.

    Backdoor runs: the trained question, as the two facets "trigger" and "otherwise", so that
    always giving one answer scores one half. Persona runs: all rows but those of probes of other
    traits. Other runs: all rows.
    """
    if not _crossed(rows):
        own = rows.filter(~pl.col("facet").fill_null("").str.starts_with(OTHER))
        return rows if own.height == rows.height else own
    crossing = rows.filter(pl.col("tag_kind") == "crossing")
    return crossing.with_columns(
        facet=pl.when(pl.col("tag_condition") == "trigger")
        .then(pl.lit("trigger"))
        .otherwise(pl.lit("otherwise"))
    )


def _crossed(rows: pl.DataFrame) -> bool:
    return {"tag_kind", "tag_condition"} <= set(rows.columns)


def whole_name(rows: pl.DataFrame) -> str:
    """What the row of `headline` rows is called."""
    if headline(rows) is rows:
        return ALL
    return BOTH if _crossed(rows) else OWN


def facet_order(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """(part, facet): trained skill first, then probes as they come."""
    order: list[tuple[str, str]] = []
    for part in PARTS:
        some = rows.filter(pl.col("part") == part)
        order += [(part, facet) for facet in some["facet"].unique(maintain_order=True)]
    return order


def score_table(
    measure: Measure, rows: pl.DataFrame, chance: dict[str, float], *, balanced: bool
) -> pl.DataFrame:
    """One row per part, facet and arm.

    For random directions `value` is their median, `low` and `high` their 5th and 95th centile.
    """
    found = []
    final = final_rows(rows)
    whole = whole_name(final)
    theirs = paper_chance(final) if measure.kind == "accuracy" else {}
    chances = {"in_context": chance, "probes": chance, PAPER: theirs}
    for arm in arms_in(final):
        for part in PARTS:
            some = rows_of(final, arm).filter(pl.col("part") == part)
            if some.is_empty() or (part in FREE and measure.kind != "accuracy"):
                continue  # free answers are right or wrong: they have no log-odds
            one = _null_lines if is_null(arm) else _lines
            # The paper counts items; answers of unlike weight would not be its scoring.
            lines = one(measure, some, balanced and part != PAPER)
            if part == "probes":
                lines = [*_whole(measure, headline(some), arm, balanced, whole), *lines]
            found += [
                {
                    "part": part,
                    "arm": arm.name,
                    "control": arm.control,
                    "balanced": balanced,
                    "members": some["member"].n_unique(),
                    "seeds": max(1, some["seed"].n_unique()),
                    "chance": chances.get(part, {}).get(str(line["facet"])),
                    **line,
                }
                for line in lines
            ]
    return pl.DataFrame(found, infer_schema_length=None)


def _whole(
    measure: Measure, rows: pl.DataFrame, arm: Arm, balanced: bool, name: str
) -> list[dict[str, object]]:
    """The mean over facets, as one line or none."""
    if rows.is_empty():
        return []
    if is_null(arm):
        scores = null_scores(measure, rows, balanced=balanced)
        means = scores.group_by("number", maintain_order=True).agg(pl.col("score").mean())
        return summary(means.with_columns(facet=pl.lit(name)))
    cells = measure.cells(rows, balanced=balanced)
    if cells is None:
        return []
    one = stats.estimate(cells)
    return [
        {"facet": name, "value": one.value, "low": one.low, "high": one.high, "items": rows.height}
    ]


def _lines(measure: Measure, rows: pl.DataFrame, balanced: bool) -> list[dict[str, object]]:
    cells = measure.cells(rows, balanced=balanced)
    if cells is None:
        return []
    found: list[dict[str, object]] = []
    counts = dict(rows.group_by("facet").len().iter_rows())
    for facet in cells.facets:
        some = cells.only(facet)
        if some.clusters:
            one = stats.estimate(some)
            found.append(
                {"facet": facet, "value": one.value, "low": one.low, "high": one.high}
                | {"items": counts.get(facet, 0)}
            )
    return found


def _null_lines(measure: Measure, rows: pl.DataFrame, balanced: bool) -> list[dict[str, object]]:
    return summary(null_scores(measure, rows, balanced=balanced))


def summary(scores: pl.DataFrame) -> list[dict[str, object]]:
    """Median and 5th and 95th centile over random directions, by facet."""
    return (
        scores.drop_nans("score")
        .group_by("facet", maintain_order=True)
        .agg(
            value=pl.col("score").median(),
            low=pl.col("score").quantile(0.05, "linear"),
            high=pl.col("score").quantile(0.95, "linear"),
            items=pl.len(),
        )
        .to_dicts()
    )
