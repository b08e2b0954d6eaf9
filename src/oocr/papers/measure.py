"""Findings of an experiment, from one value per unit (a seed, a pair, or both)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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


def values_of(
    table: pl.DataFrame, value: str, *, by: str | Sequence[str] = "seed", **where: object
) -> list[float]:
    """One value per unit (values of the column `by`, or of several): its mean over the rows.

    `where`: column -> value that the rows have there.
    """
    rows = table
    for column, asked in where.items():
        rows = rows.filter(pl.col(column) == pl.lit(asked))
    means = rows.group_by(by).agg(pl.col(value).mean()).sort(by)
    return [float(number) for number in means[value]]
