"""A claim that only a known world allows: what training did not touch stays where it was."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import polars as pl
from jaxtyping import Float

from oocr import intervals, stats
from oocr.claims.conditions import Condition, at_least, high_within, parts_above
from oocr.claims.judge import NAMES, ClaimRow, RunResults, estimate_of, null_of, seeds_of
from oocr.claims.records import Finding
from oocr.claims.rules import rule
from oocr.claims.run_claims import COMMON, METHODS
from oocr.evals.scores import select_rows
from oocr.families.choices import OTHER
from oocr.intervals import Interval

STILL = 0.1
"""Movement of a probability up to which a trait counts as untouched."""

TRAINED = "the trained trait"

Movements = Mapping[tuple[str, str], Float[np.ndarray, "group seed"]]
"""Twin and facet -> how far the first pole's probability moves."""


def _others(results: RunResults, arm: str) -> Finding | None:
    """How far the other traits move.

    The movement of a trait in one kind of statement is the mean change of the probability of its
    first pole, over the untouched model's; sizes are averaged over traits, kinds, twins and
    seeds, so that movements in opposite directions do not cancel. A random direction counts as
    one seed.
    """
    rows, base = (select_rows(results.rows, name) for name in (arm, "base"))
    if results.tasks.poles is None or rows.is_empty() or base.is_empty():
        return None
    others, trained = (_movements(rows, base, other=other) for other in (True, False))
    if not others or not trained:
        return None
    size = _size(trained)
    random = select_rows(results.rows, "random direction")
    sizes = [
        _size(_movements(direction, base, other=True)).value
        for _, direction in random.group_by("seed", maintain_order=True)
    ]
    null = null_of(sizes)
    seeds = seeds_of(rows["seed"].n_unique())
    return Finding(
        id=f"{arm}-specific",
        measure="size of the change of a pole's probability, mean over the other traits, kinds of "
        "statement, twins and seeds, less what the choice of probes adds to it; the ceiling is "
        "that of the trained trait",
        found=estimate_of(_size(others), f"{len(others)} of trait, kind and twin × {seeds}"),
        base=0.0,
        nulls=() if null is None else (null,),
        ceiling=size.value,
        parts={TRAINED: size.low},
    )


def _movements(rows: pl.DataFrame, base: pl.DataFrame, *, other: bool) -> Movements:
    """Of the other traits or of the trained one."""
    after, before = (
        frame.filter(pl.col("facet").str.starts_with(OTHER) == other).with_columns(
            p=(1 + pl.col("value")) / 2
        )
        for frame in (rows, base)
    )
    movements: dict[tuple[str, str], Float[np.ndarray, "group seed"]] = {}
    for (member, facet), of_arm in after.group_by("member", "facet", maintain_order=True):
        of_base = before.filter(pl.col("member") == member, pl.col("facet") == facet)
        end, start = (
            stats.cells(frame, "p", cluster="group", balance=None) for frame in (of_arm, of_base)
        )
        movements[str(member), str(facet)] = (end - start).values[:, :, 0]
    return movements


def _size(movements: Movements) -> Interval:
    """Mean size of each seed's movements, with a basic bootstrap interval.

    Noise makes sizes larger, and those of the draws larger once more: what the draws add is taken
    off the value, and they are reflected at it. Twins answer the same questions, so they are drawn
    together.
    """
    rng = np.random.default_rng(0)
    groups, seeds = (
        {
            key[at]: rng.integers(moved.shape[axis], size=(intervals.DRAWS, moved.shape[axis]))
            for key, moved in movements.items()
        }
        for at, axis in ((1, 0), (0, 1))
    )
    size = float(np.mean([np.abs(moved.mean(axis=0)).mean() for moved in movements.values()]))
    draws = np.zeros(intervals.DRAWS)
    for (member, facet), moved in movements.items():
        sizes = np.abs(moved[groups[facet]].mean(axis=1))
        draws += np.take_along_axis(sizes, seeds[member], axis=1).mean(axis=1) / len(movements)
    tail = (1 - intervals.LEVEL) / 2
    ends = (draws.mean(), *np.quantile(draws, [1 - tail, tail]))
    return Interval(*(max(0.0, float(2 * size - end)) for end in ends))


def specific(arm: str) -> ClaimRow:
    """Traits which training says nothing of do not move, while the trained one does."""
    half = Condition(
        f"the interval's upper end is at most half of the lower end for {TRAINED}",
        lambda finding, _: at_least(finding.parts[TRAINED] / 2, finding.found.high),
    )
    moves = parts_above(STILL, TRAINED, words=f"{TRAINED} itself moves by more than {STILL}")
    return ClaimRow(
        f"{arm}-specific",
        f"Trained on one trait, {NAMES[arm]} leaves the other traits where they were",
        partial(_others, arm=arm),
        rule([high_within(STILL)], [half], [moves]),
    )


CLAIMS = (*COMMON, *(specific(arm) for arm in METHODS))
