"""What every claim is judged with: bars, nulls, intervals, and words for how many there were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from oocr import stats
from oocr.claims.records import Claim, Estimate, Null, Verdict
from oocr.stats import FEWEST, Cells

if TYPE_CHECKING:
    from oocr.runs.write_results import Results

NAMES = {"vector": "a steering vector", "adapter": "a one-layer LoRA"}
ROUNDING = 1e-9


def n_of(cells: Cells, what: str) -> str:
    """How many of what were drawn, and seeds."""
    return f"{len(cells.clusters)} {what} × {seeds_of(cells.values.shape[1])}"


def seeds_of(count: int) -> str:
    """So many seeds, in words."""
    return f"{count} seed" + ("" if count == 1 else "s")


def estimate_of(interval: stats.Interval, n: str) -> Estimate:
    """An interval as a claim's number."""
    return Estimate(value=interval.value, low=interval.low, high=interval.high, n=n)


def random_null(results: Results, arm: str = "random direction") -> Null | None:
    """What random directions reach on the headline score; None where there are none."""
    return null_of(results.scoring.random_scores(results.rows, arm))


def null_of(scores: Sequence[float]) -> Null | None:
    """The 95th centile of random directions' scores; None where there are none."""
    if not scores:
        return None
    name = f"{len(scores)} random directions, 95th centile"
    return Null(name=name, value=float(np.quantile(scores, 0.95)))


def control_nulls(results: Results, arm: str) -> list[tuple[Null, Cells]]:
    """The headline score after training on control data, as a number and as cells to pair."""
    out = []
    for name in ("shuffled", "decorrelated"):
        cells = results.scoring.cells(results.rows, arm, name)
        if cells is not None:
            out.append((Null(name=f"{name} training", value=stats.mean(cells)), cells))
    return out


def several(results: Results) -> bool:
    """Whether there are members to draw from, or only one."""
    return len(results.tasks.test) > 1


def over(value: float, bar: float) -> bool:
    """Whether a value is above a bar by more than the rounding of sums."""
    return value > bar + ROUNDING


def at_least(value: float, bar: float) -> bool:
    """Whether a value reaches a bar, but for the rounding of sums."""
    return value >= bar - ROUNDING


def verdict_of(full: bool, part: bool) -> Verdict:
    """Whether a claim holds, in full or in part."""
    return "holds" if full else "holds in part" if part else "does not hold"


def testable(claim: Claim, units: int) -> Claim:
    """The claim, with no verdict where its interval is over too few members, probes or LoRAs."""
    if units >= FEWEST:
        return claim
    rule = f"{claim.rule} Here it cannot be tested: no interval of fewer than {FEWEST} can judge."
    return claim.model_copy(update={"verdict": "cannot be tested", "rule": rule})


def rule_of(words: str, *, controlled: bool) -> str:
    """A rule that holds results against a trained control, where there may be none.

    Without one a claim holds in part at most: nothing says that it was what the data told.
    """
    if controlled:
        return words
    return f"{words} Here no such control was trained, so that the claim holds in part at most."
