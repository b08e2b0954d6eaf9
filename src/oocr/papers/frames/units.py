"""Values of units: seeds (or houses) where there are enough of them, else held-out objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from oocr.claims.analysis_result import NotMeasuredError
from oocr.claims.records import Finding
from oocr.intervals import FEWEST, POSITIVE
from oocr.papers.measure import mean_finding

RECALLED = 0.95
"""Share of what was trained that has to be right before anything is said of the rest."""

Values = Mapping[str, float]
"""Unit -> its value."""


def unit_of(table: pl.DataFrame, by: str) -> tuple[list[str], str]:
    """The columns that tell units apart, and what a unit is.

    By seed or by scene; where these are fewer than an interval needs, by object too: then the
    interval says nothing of other houses.
    """
    if table[by].n_unique() >= FEWEST:
        return [by], by
    return [by, "object"], "object"


def shares(table: pl.DataFrame, columns: Sequence[str], right: str = "exact") -> Values:
    """Share right of each unit (`sign`: among lines whose offset is not 0)."""
    count = "signed" if right == "sign" else "count"
    sums = table.group_by(list(columns)).agg(pl.col(right, count).sum()).sort(list(columns))
    keys = ("/".join(map(str, row)) for row in sums.select(list(columns)).iter_rows())
    values = (sums[right] / sums[count]).to_list()
    return {key: float(value) for key, value in zip(keys, values, strict=True) if value is not None}


def share(table: pl.DataFrame, right: str = "exact") -> float:
    """Share right of all."""
    count = "signed" if right == "sign" else "count"
    return float(table[right].sum()) / max(1.0, float(table[count].sum()))


def differences(first: Values, second: Values) -> list[float]:
    """Unit by unit, of the units that both have."""
    return [first[unit] - second[unit] for unit in first if unit in second]


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
    found = finding.found
    ends = {"value": 1 - found.value, "low": 1 - found.high, "high": 1 - found.low}
    return finding.model_copy(update={"found": found.model_copy(update=ends)})
