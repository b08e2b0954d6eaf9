"""Scores by part, facet, arm and control, with intervals and the null of random directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.arms import Arm, arms_in, is_null, without_sweeps
from oocr.evals.scores import FREE, Scoring, select_rows

ALL = "all probes"
COUNTED = "all probes that count"

PAPER = "paper"
PARTS = ("in_context", "free_in_context", "probes", "free", PAPER)
"""The parts that are shown: trained skill first."""


def whole_name(scoring: Scoring) -> str:
    """What the row of the score itself is called."""
    return COUNTED if scoring.counted else ALL


def final_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of reported arms at their stopping points; of planted controls the intended answers."""
    final = without_sweeps(rows).filter(pl.col("final"))
    if "tag_against" in final.columns:
        final = final.filter(pl.col("tag_against").fill_null("intended") == "intended")
    return final


def facet_order(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """(part, facet): trained skill first, then probes as they come."""
    return [
        (part, facet)
        for part in PARTS
        for facet in rows.filter(pl.col("part") == part)["facet"].unique(maintain_order=True)
    ]


def score_table(
    scoring: Scoring, rows: pl.DataFrame, chance: Mapping[str, float], *, balanced: bool = True
) -> pl.DataFrame:
    """One row per part, facet and arm, and one for the score, which is the mean over names.

    Columns: part, arm, control, balanced, members, seeds, chance, facet, counted (whether the facet
    counts in the score), value, low, high, items. For random directions `value` is their median,
    `low` and `high` their 5th and 95th centile, `items` their number.
    """
    final = final_rows(rows)
    scoring = scoring if balanced else scoring.unbalanced
    theirs = paper_chance(final) if scoring.measure == "accuracy" else {}
    chances = {"in_context": chance, "probes": chance, PAPER: theirs}
    lines: list[dict[str, object]] = []
    for arm in arms_in(final):
        for part in PARTS:
            rows_of_part = select_rows(final, arm.name, arm.control, part)
            if rows_of_part.is_empty() or (part in FREE and scoring.measure != "accuracy"):
                continue
            # The paper counts items; answers of unlike weight would not be its scoring.
            used = scoring.unbalanced if part == PAPER else scoring
            base = select_rows(final, "base", part=part)
            lines += [
                {
                    "part": part,
                    "arm": arm.name,
                    "control": arm.control,
                    "balanced": balanced,
                    "members": rows_of_part["member"].n_unique(),
                    "seeds": max(1, rows_of_part["seed"].n_unique()),
                    "chance": chances.get(part, {}).get(str(line["facet"])),
                    **line,
                }
                for line in _lines(used, rows_of_part, base, arm, part)
            ]
    return pl.DataFrame(lines, infer_schema_length=None)


def _lines(
    scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, arm: Arm, part: str
) -> Iterator[dict[str, object]]:
    """One row for the score (of probes), then one per facet."""
    if is_null(arm):
        yield from _null_lines(scoring, rows, base, part)
        return
    if part == "probes" and (cells := scoring.score(rows, base)) is not None:
        interval = stats.estimate(cells)
        yield _line(whole_name(scoring), interval, scoring.kept(rows).height, counted=True)
    cells = scoring.by_facet.score(rows, base)
    if cells is None:
        return
    counts = dict(rows.group_by("facet").len().iter_rows())
    for facet in cells.facets:
        facet_cells = cells.only(facet)
        if facet_cells.clusters:
            counted = part != "probes" or scoring.counts(facet)
            interval = stats.estimate(facet_cells)
            yield _line(facet, interval, counts.get(facet, 0), counted=counted)


def _line(facet: str, interval: stats.Interval, items: int, *, counted: bool) -> dict[str, object]:
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {"facet": facet, "counted": counted, **ends, "items": items}


def _null_lines(
    scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, part: str
) -> Iterator[dict[str, object]]:
    scores = null_scores(scoring, rows, base)
    if part == "probes":
        yield from null_summary(scores.filter(pl.col("whole")), whole_name(scoring))
    for line in null_summary(scores.filter(~pl.col("whole"))):
        yield {**line, "counted": part != "probes" or scoring.counts(str(line["facet"]))}


def null_scores(scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame | None) -> pl.DataFrame:
    """The score of each random direction: columns facet, whole, number, score.

    Rows with `whole` are the score itself, the others a facet's. Empty where twins share their
    directions: those make no null.
    """
    lines = []
    for (number,), direction in rows.group_by("seed", maintain_order=True):
        cells = scoring.score(direction, base)
        if cells is not None:
            lines.append({"facet": "", "whole": True, "number": number, "score": stats.mean(cells)})
        cells = scoring.by_facet.score(direction, base)
        for facet in () if cells is None else cells.facets:
            score = stats.mean(cells.only(facet)) if cells is not None else np.nan
            lines.append({"facet": facet, "whole": False, "number": number, "score": score})
    schema = {"facet": pl.String, "whole": pl.Boolean, "number": pl.Int64, "score": pl.Float64}
    table = pl.DataFrame(lines, schema=schema)
    if scoring.measure == "contrast" and not (table["score"] != 0).any():
        return table.clear()
    return table


def null_summary(scores: pl.DataFrame, name: str = "") -> list[dict[str, object]]:
    """Median and 5th and 95th centile over random directions, by facet or under one name."""
    if name:
        scores = scores.with_columns(facet=pl.lit(name))
    return (
        scores.drop_nans("score")
        .group_by("facet", maintain_order=True)
        .agg(
            counted=pl.lit(value=True),
            value=pl.col("score").median(),
            low=pl.col("score").quantile(0.05, "linear"),
            high=pl.col("score").quantile(0.95, "linear"),
            items=pl.len(),
        )
        .to_dicts()
    )


def paper_chance(rows: pl.DataFrame) -> dict[str, float]:
    """Chance by facet of the paper's questions."""
    rows = rows.filter(pl.col("part") == PAPER)
    if rows.is_empty() or "options" not in rows.columns:
        return {}
    means = rows.group_by("facet", maintain_order=True).agg((1 / pl.col("options")).mean())
    return {str(facet): float(value) for facet, value in means.iter_rows()}
