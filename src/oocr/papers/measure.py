"""Findings of an experiment, from one value per unit (a seed, a pair, or both)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from oocr import intervals
from oocr.claims.judge import estimate_of
from oocr.claims.records import Finding, Null
from oocr.intervals import Bounds
from oocr.words import counted


def mean_finding(
    id: str,
    measure: str,
    values: Sequence[float],
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
    interval = intervals.mean_interval(values, bounds=bounds, items=items)
    return Finding(
        id=id,
        measure=measure,
        found=estimate_of(interval, counted(len(values), unit)),
        base=base,
        nulls=tuple(Null(name=name, value=value) for name, value in (nulls or {}).items()),
        ceiling=ceiling,
        units=len(values),
    )


def values_of(table: pl.DataFrame, value: str, *, by: str = "seed", **where: object) -> list[float]:
    """One value per unit (a value of the column `by`): its mean over the rows where this is so.

    `where`: column -> value that the rows have there.
    """
    rows = table
    for column, asked in where.items():
        rows = rows.filter(pl.col(column) == pl.lit(asked))
    means = rows.group_by(by).agg(pl.col(value).mean()).sort(by)
    return [float(number) for number in means[value]]
