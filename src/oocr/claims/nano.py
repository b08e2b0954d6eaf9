"""A claim that only a known world allows: what training did not touch stays where it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Float

from oocr import stats
from oocr.claims.judging import NAMES, estimate_of, null_of, over, seeds_of, verdict_of
from oocr.claims.records import Claim
from oocr.evals.scores import select_rows
from oocr.families.choices import OTHER
from oocr.stats import Interval

if TYPE_CHECKING:
    from oocr.runs.write_results import Results

STILL = 0.1
"""Movement of a probability up to which a trait counts as untouched."""


def specific(results: Results, arm: str, command: str) -> Claim | None:
    """That traits which training says nothing of do not move, while the trained one does.

    The movement of a trait in one kind of statement is the mean change of the probability of its
    first pole, over the untouched model's; sizes are averaged over traits, kinds, twins and
    seeds, so that movements in opposite directions do not cancel. A random direction counts as
    one seed.
    """
    rows, base = (select_rows(results.rows, name) for name in (arm, "base"))
    if rows.is_empty() or base.is_empty():
        return None
    others, own = (_movements(rows, base, other=other) for other in (True, False))
    if not others or not own:
        return None
    interval, trained = _size(others), _size(own)
    random = select_rows(results.rows, "random direction")
    sizes = [
        _size(_movements(random.filter(pl.col("seed") == seed), base, other=True)).value
        for seed in random["seed"].unique().sort().to_list()
    ]
    moved = over(trained.low, STILL)
    return Claim(
        id=f"{arm}-specific",
        claim=f"Trained on one trait, {NAMES[arm]} leaves the other traits where they were",
        measure="size of the change of a pole's probability, mean over the other traits, kinds of "
        "statement, twins and seeds, less what the choice of probes adds to it; the ceiling is "
        "that of the trained trait",
        found=estimate_of(
            interval,
            f"{len(others)} of trait, kind and twin × {seeds_of(rows['seed'].n_unique())}",
        ),
        base=0.0,
        nulls=tuple(null for null in [null_of(sizes)] if null is not None),
        ceiling=trained.value,
        verdict=verdict_of(interval.high <= STILL, interval.high <= trained.low / 2)
        if moved
        else "cannot be tested",
        rule=f"holds: the interval's upper end is at most {STILL}; in part: at most half of the "
        "lower end for the trained trait; cannot be tested: the trained trait itself moves by no "
        f"more than {STILL}.",
        command=command,
    )


Movements = Mapping[tuple[str, str], Float[np.ndarray, "group seed"]]
"""Twin and facet -> how far the first pole's probability moves."""


def _movements(rows: pl.DataFrame, base: pl.DataFrame, *, other: bool) -> Movements:
    """Of the other traits or of the trained one."""
    found: dict[tuple[str, str], Float[np.ndarray, "group seed"]] = {}
    ours, theirs = (
        one.filter(pl.col("facet").str.starts_with(OTHER) == other).with_columns(
            p=(1 + pl.col("value")) / 2
        )
        for one in (rows, base)
    )
    for (member, facet), some in ours.group_by("member", "facet", maintain_order=True):
        before = theirs.filter(pl.col("member") == member, pl.col("facet") == facet)
        one, start = (
            stats.cells(each, "p", cluster="group", balance=None) for each in (some, before)
        )
        found[str(member), str(facet)] = (one - start).values[:, :, 0]
    return found


def _size(movements: Movements) -> Interval:
    """Mean size of each seed's movements, with a basic bootstrap interval.

    Noise makes sizes larger, and those of the draws larger once more: what the draws add is taken
    off the value, and they are reflected at it. Twins answer the same questions, so they are drawn
    together.
    """
    rng = np.random.default_rng(0)
    groups, seeds = (
        {
            key[at]: rng.integers(one.shape[axis], size=(stats.DRAWS, one.shape[axis]))
            for key, one in movements.items()
        }
        for at, axis in ((1, 0), (0, 1))
    )
    size = float(np.mean([np.abs(one.mean(axis=0)).mean() for one in movements.values()]))
    draws = np.zeros(stats.DRAWS)
    for (member, facet), one in movements.items():
        moved = np.abs(one[groups[facet]].mean(axis=1))
        draws += np.take_along_axis(moved, seeds[member], axis=1).mean(axis=1) / len(movements)
    tail = (1 - stats.LEVEL) / 2
    ends = (draws.mean(), *np.quantile(draws, [1 - tail, tail]))
    return Interval(*(max(0.0, float(2 * size - end)) for end in ends))
