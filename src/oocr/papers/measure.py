"""Findings of an experiment from one value per unit; a unit is a seed, a pair, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from oocr import intervals
from oocr.claims.judge import estimate_of
from oocr.claims.records import Finding, Null
from oocr.intervals import Bounds


def mean_finding(
    id: str,
    measure: str,
    values: Iterable[float],
    *,
    unit: str = "seed",
    bounds: Bounds | None = None,
    items: float | None = None,
    nulls: Mapping[str, float] | None = None,
    base: float | None = None,
    ceiling: float | None = None,
) -> Finding:
    """The mean of one value per unit, with its interval over units.

    Args:
        id: its name in claims.
        measure: description of the quantity.
        values: one value for each unit.
        unit: name of a unit: "seed", "pair", "seed and pair".
        bounds: least and largest possible value; see `oocr.intervals`.
        items: number of items in each value's mean, if each item is right or wrong.
        nulls: name -> value of a control, or of chance.
        base: the untouched model's value.
        ceiling: the value with all evidence in the prompt, or the highest possible.
    """
    values = list(values)
    interval = intervals.mean_interval(values, bounds=bounds, items=items)
    return Finding(
        id=id,
        measure=measure,
        found=estimate_of(interval, _units(len(values), unit)),
        base=base,
        nulls=tuple(Null(name=name, value=value) for name, value in (nulls or {}).items()),
        ceiling=ceiling,
        units=len(values),
    )


def _units(count: int, unit: str) -> str:
    """The number of units as text: "5 seeds", "60 seeds × pairs"."""
    return f"{count} {unit}" if count == 1 else f"{count} {unit.replace(' and ', 's × ')}s"


Unit = tuple[Any, ...]
"""Key of a unit: its seed, or seed and pair."""


def by_unit(
    table: pl.DataFrame, value: str, *, by: str | Sequence[str] = "seed", **where: object
) -> dict[Unit, float]:
    """Unit -> mean of the column `value`; a unit is a combination of values of the columns `by`.

    `where`: column -> value; only rows with these values count.
    """
    columns = [by] if isinstance(by, str) else list(by)
    rows = table.filter(*(pl.col(column) == pl.lit(wanted) for column, wanted in where.items()))
    means = rows.group_by(columns).agg(pl.col(value).mean()).sort(columns)
    return {tuple(unit): float(number) for *unit, number in means.select(*columns, value).rows()}


def values_of(
    table: pl.DataFrame, value: str, *, by: str | Sequence[str] = "seed", **where: object
) -> list[float]:
    """The values of `by_unit`, in the order of the units."""
    return list(by_unit(table, value, by=by, **where).values())


def differences(first: Mapping[Unit, float], second: Mapping[Unit, float]) -> list[float]:
    """First minus second for each unit that both have."""
    return [first[unit] - second[unit] for unit in first if unit in second]


def interval_columns(finding: Finding) -> dict[str, float]:
    """The columns value, low and high for a row of a figure's table."""
    number = finding.found
    return {"value": number.value, "low": number.low, "high": number.high}
