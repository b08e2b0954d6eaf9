"""Values of units: seeds (or houses) where there are enough of them, else held-out objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from oocr.claims.analysis_result import NotMeasuredError
from oocr.claims.records import Finding
from oocr.intervals import FEWEST, POSITIVE
from oocr.papers.measure import Unit, mean_finding

RECALLED = 0.95
"""Share of what was trained that has to be right before anything is said of the rest."""


def unit_of(table: pl.DataFrame, by: str) -> tuple[list[str], str]:
    """The columns that tell units apart, and what a unit is.

    By seed or by scene; where these are fewer than an interval needs, by object too: then the
    interval says nothing of other houses.
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
    """Share right of all."""
    count = "signed" if right == "sign" else "count"
    return float(table[right].sum()) / max(1.0, float(table[count].sum()))


def check_recalled(table: pl.DataFrame, what: str) -> None:
    """NotMeasuredError: too little of what was trained is right."""
    if (right := share(table)) < RECALLED:
        raise NotMeasuredError(
            f"{what}: {right:.2f} of what was trained is recalled, {RECALLED:g} are needed"
        )


def r2_finding(
    id: str, measure: str, values: Sequence[float], *, unit: str, nulls: Mapping[str, float]
) -> Finding:
    """The mean of R², which has no least value and is 1 at most: the interval is of 1 - R²."""
    left = [1 - value for value in values]
    finding = mean_finding(id, measure, left, unit=unit, bounds=POSITIVE, nulls=nulls, ceiling=1.0)
    number = finding.found
    ends = {"value": 1 - number.value, "low": 1 - number.high, "high": 1 - number.low}
    return finding.model_copy(update={"found": number.model_copy(update=ends)})
