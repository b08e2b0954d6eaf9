"""A claim that needs a known world: traits that were not trained do not change."""

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

MAX_MOVEMENT = 0.1
"""Largest change of a probability of a trait that counts as unchanged."""

TRAINED = "the trained trait"

Movements = Mapping[tuple[str, str], Float[np.ndarray, "group seed"]]
"""Twin and facet -> change of the first pole's probability."""


def _other_traits_finding(results: RunResults, arm: str) -> Finding | None:
    """The mean change of the traits that were not trained.

    The movement of a trait in one kind of statement is the mean change of its first pole's
    probability, relative to the untouched model. Absolute movements are averaged over traits,
    kinds, twins and seeds, so that opposite movements do not cancel. A random direction counts as
    one seed.
    """
    rows, base = (select_rows(results.rows, name) for name in (arm, "base"))
    if results.tasks.poles is None or rows.is_empty() or base.is_empty():
        return None
    others, trained = (_movements(rows, base, other=other) for other in (True, False))
    if not others or not trained:
        return None
    size = _mean_size(trained)
    random = select_rows(results.rows, "random direction")
    sizes = [
        _mean_size(_movements(direction, base, other=True)).value
        for _, direction in random.group_by("seed", maintain_order=True)
    ]
    null = null_of(sizes)
    seeds = seeds_of(rows["seed"].n_unique())
    return Finding(
        id=f"{arm}-specific",
        measure="size of the change of a pole's probability, mean over the other traits, kinds of "
        "statement, twins and seeds, less what the choice of probes adds to it; the ceiling is "
        "that of the trained trait",
        found=estimate_of(_mean_size(others), f"{len(others)} of trait, kind and twin × {seeds}"),
        base=0.0,
        nulls=() if null is None else (null,),
        ceiling=size.value,
        parts={TRAINED: size.low},
    )


def _movements(rows: pl.DataFrame, base: pl.DataFrame, *, other: bool) -> Movements:
    """The movements of the other traits (`other`), or of the trained trait."""
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


def _mean_size(movements: Movements) -> Interval:
    """Mean absolute movement over seeds, with a basic bootstrap interval.

    Noise increases absolute values, and resampling increases them again. So the value is corrected
    by the bias of the draws, and the interval is that of the draws reflected at the value. Twins
    have the same questions, so their groups are drawn together.
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


def specificity_claim(arm: str) -> ClaimRow:
    """The claim: other traits do not change, while the trained trait does."""
    half = Condition(
        f"the interval's upper end is at most half of the lower end for {TRAINED}",
        lambda finding, _: at_least(finding.parts[TRAINED] / 2, finding.found.high),
    )
    moves = parts_above(
        MAX_MOVEMENT, TRAINED, words=f"{TRAINED} itself moves by more than {MAX_MOVEMENT}"
    )
    return ClaimRow(
        f"{arm}-specific",
        f"Trained on one trait, {NAMES[arm]} leaves the other traits where they were",
        partial(_other_traits_finding, arm=arm),
        rule([high_within(MAX_MOVEMENT)], [half], [moves]),
    )


CLAIMS = (*COMMON, *(specificity_claim(arm) for arm in METHODS))
