"""Scores by unit: seeds or houses if there are enough of them, else held-out objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from oocr.claims.analysis_result import NotMeasuredError
from oocr.claims.records import Finding
from oocr.intervals import FEWEST, POSITIVE
from oocr.papers.measure import Unit, mean_finding

RECALLED = 0.95
"""Other answers are analysed only if this share of the training rows is answered right."""


def unit_of(table: pl.DataFrame, by: str) -> tuple[list[str], str]:
    """The columns that identify a unit, and the name of a unit.

    A unit is a seed or a scene (`by`). If these are fewer than an interval needs, it is an object:
    then the interval does not cover other houses.
    """
    if table[by].n_unique() >= FEWEST:
        return [by], by
    return [by, "object"], "object"


def shares(table: pl.DataFrame, by: str, right: str = "exact") -> dict[Unit, float]:
    """Share right of each unit of `unit_of` (`sign`: among lines whose offset is not 0)."""
    columns = unit_of(table, by)[0]
    count = "signed" if right == "sign" else "count"
    sums = table.group_by(columns).agg(pl.col(right, count).sum()).sort(columns)
    return {
        tuple(unit): float(of_unit / of_count)
        for *unit, of_unit, of_count in sums.select(*columns, right, count).rows()
        if of_count
    }


def share(table: pl.DataFrame, right: str = "exact") -> float:
    """Share right over all rows (`sign`: among lines whose offset is not 0)."""
    count = "signed" if right == "sign" else "count"
    return float(table[right].sum()) / max(1.0, float(table[count].sum()))


def check_recalled(table: pl.DataFrame, what: str) -> None:
    """NotMeasuredError: too few training rows are answered right."""
    if (right := share(table)) < RECALLED:
        raise NotMeasuredError(
            f"{what}: {right:.2f} of what was trained is recalled, {RECALLED:g} are needed"
        )


def r2_finding(
    id: str, measure: str, values: Sequence[float], *, unit: str, nulls: Mapping[str, float]
) -> Finding:
    """The mean R²; it has no lower bound and is at most 1, so the interval is that of 1 - R²."""
    left = [1 - value for value in values]
    finding = mean_finding(id, measure, left, unit=unit, bounds=POSITIVE, nulls=nulls, ceiling=1.0)
    number = finding.found
    ends = {"value": 1 - number.value, "low": 1 - number.high, "high": 1 - number.low}
    return finding.model_copy(update={"found": number.model_copy(update=ends)})
