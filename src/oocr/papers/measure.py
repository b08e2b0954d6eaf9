"""Findings of an experiment, from one value per unit (a seed, a pair, or both)."""

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
    """The mean of one value per unit with its interval over units.

    Args:
        id: by which claims name it.
        measure: what it is, in words.
        values: one for each unit.
        unit: what a unit is, as a noun: "seed", "pair", "seed and pair".
        bounds: the least and the largest value that there can be; see `oocr.intervals`.
        items: how many items each value is a mean of, if each is right or wrong.
        nulls: values of controls, or chance, by their names.
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
    """So many units in words: "5 seeds", "60 seeds × pairs"."""
    return f"{count} {unit}" if count == 1 else f"{count} {unit.replace(' and ', 's × ')}s"


Unit = tuple[Any, ...]
"""What tells a unit from others: its seed, or seed and pair."""


def by_unit(
    table: pl.DataFrame, value: str, *, by: str | Sequence[str] = "seed", **where: object
) -> dict[Unit, float]:
    """The mean of the column `value` of each unit: each combination of values of the columns `by`.

    `where`: column -> value that the rows have there.
    """
    columns = [by] if isinstance(by, str) else list(by)
    rows = table.filter(*(pl.col(column) == pl.lit(asked) for column, asked in where.items()))
    means = rows.group_by(columns).agg(pl.col(value).mean()).sort(columns)
    return {tuple(unit): float(number) for *unit, number in means.select(*columns, value).rows()}


def values_of(
    table: pl.DataFrame, value: str, *, by: str | Sequence[str] = "seed", **where: object
) -> list[float]:
    """The values of `by_unit`, in the order of the units."""
    return list(by_unit(table, value, by=by, **where).values())


def differences(first: Mapping[Unit, float], second: Mapping[Unit, float]) -> list[float]:
    """First less second, unit by unit, of the units that both have."""
    return [first[unit] - second[unit] for unit in first if unit in second]


def interval_columns(finding: Finding) -> dict[str, float]:
    """The columns value, low and high of a figure's row."""
    number = finding.found
    return {"value": number.value, "low": number.low, "high": number.high}
