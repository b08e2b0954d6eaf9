"""The table behind the scores: by facet, arm and control, with intervals and the null."""

from __future__ import annotations

import polars as pl

from oocr import stats
from oocr.report.arms import Arm, arms_in, rows_of, without_sweeps
from oocr.report.measure import Measure, is_null, null_scores
from oocr.report.paper import PAPER, paper_chance

ALL = "all probes"
BOTH = "trigger and otherwise"


def final_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that count; of a planted control those against the intended answer."""
    final = without_sweeps(rows).filter(pl.col("final"))
    if "tag_against" in final.columns:
        final = final.filter(pl.col("tag_against").is_null() | (pl.col("tag_against") != "planted"))
    return final


def headline(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that make the one number of an arm.

    Backdoor runs: the trained question, as the two facets "trigger" and "otherwise", so that
    always giving one answer scores one half. Other runs: all rows.
    """
    if not {"tag_kind", "tag_condition"} <= set(rows.columns):
        return rows
    crossing = rows.filter(pl.col("tag_kind") == "crossing")
    return crossing.with_columns(
        facet=pl.when(pl.col("tag_condition") == "trigger")
        .then(pl.lit("trigger"))
        .otherwise(pl.lit("otherwise"))
    )


def whole_name(rows: pl.DataFrame) -> str:
    """What the row of `headline` rows is called."""
    return ALL if headline(rows) is rows else BOTH


def facet_order(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """(part, facet): trained skill first, then probes as they come."""
    order: list[tuple[str, str]] = []
    for part in ("in_context", "probes", PAPER):
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
        for part, by_chance in chances.items():
            some = rows_of(final, arm).filter(pl.col("part") == part)
            if some.is_empty():
                continue
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
                    "chance": by_chance.get(str(line["facet"])),
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
