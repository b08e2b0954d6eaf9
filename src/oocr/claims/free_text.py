"""The claim on answers in the model's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oocr import stats
from oocr.claims.judging import NAMES, at_least, over, several, testable
from oocr.claims.records import Claim, Estimate

if TYPE_CHECKING:
    from oocr.runs.write_results import Results

ENOUGH = 0.5
"""Share right from which on free answers hold, and not only in part."""


def free_claims(results: Results, command: str) -> list[Claim]:
    """One claim for each kind of arm whose own words were judged."""
    found = [_free(results, arm, command) for arm in ("vector", "adapter")]
    return [one for one in found if one is not None]


def _free(results: Results, arm: str, command: str) -> Claim | None:
    if not any(task.free for task in results.tasks.test):
        return None
    cells = results.scoring.cells(results.rows, arm, part="free")
    base = results.scoring.cells(results.rows, "base", part="free")
    if cells is None or base is None:
        return None
    interval = stats.estimate(cells)
    beats = over(stats.estimate(cells - base).low, 0)
    far = at_least(interval.value, ENOUGH)
    seeds = cells.values.shape[1]
    what = "members" if several(results) else "probe groups"
    judged = Claim(
        id=f"{arm}-free-answers",
        claim=f"With {NAMES[arm]} the model also says in its own words what it was never told",
        measure="share of greedy answers judged right, answer-balanced, out of context",
        found=Estimate(
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=f"{len(cells.clusters)} {what} × {seeds} seed" + ("" if seeds == 1 else "s"),
        ),
        base=stats.mean(base),
        verdict="holds" if beats and far else "holds in part" if beats else "does not hold",
        rule="holds: the interval of the paired difference to the untouched model is above 0, and "
        f"at least {ENOUGH:.0%} are right; in part: all but the last. Random directions, controls "
        "and ceiling are not asked.",
        command=command,
    )
    return testable(judged, len(cells.clusters))
