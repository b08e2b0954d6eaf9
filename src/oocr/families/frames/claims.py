"""Claims of the frames family: those of every run; no failure is judged without ceiling and recall.

If the model cannot tell sides with all frames in its prompt, or has not learned the trained facts,
a failure across frames means nothing. What it does all the same is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from oocr import stats
from oocr.claims import conditions, rules
from oocr.claims.judge import ClaimRow, RunResults
from oocr.claims.records import Finding
from oocr.claims.run_claims import EFFECTS, GAP, METHODS, RANDOM, SHARED

CEILING_BAR = 0.65
"""Least accuracy with all frames in the prompt; chance is 0.5 for sides."""
RECALL_BAR = 0.9
"""Least accuracy on co-visible questions; their facts were trained."""
RECALL = "accuracy on co-visible questions"


def _with_recall(row: ClaimRow, arm: str) -> Callable[[RunResults], Finding | None]:
    """The row's finding, with the mean accuracy on co-visible questions among its parts."""

    def finding(results: RunResults) -> Finding | None:
        effect = row.finding(results)
        cells = results.cells(arm, part="in_context")
        if effect is None or cells is None:
            return effect
        return effect.model_copy(update={"parts": {**effect.parts, RECALL: stats.mean(cells)}})

    return finding


def _reached(
    words: str, value: Callable[[Finding], float | None], bar: float
) -> conditions.Condition:
    return conditions.Condition(
        f"{words} is at least {bar:g}",
        lambda finding, _: (
            (number := value(finding)) is not None and conditions.at_least(number, bar)
        ),
    )


_BETTER = [
    conditions.above_base(),
    conditions.above_nulls(RANDOM),
    conditions.paired_above("every trained control"),
]
_RULE = rules.rule(
    [*_BETTER, conditions.way_to_ceiling(GAP), conditions.control_trained()],
    _BETTER,
    able=conditions.both(
        _reached(
            "accuracy with all frames in the prompt", lambda finding: finding.ceiling, CEILING_BAR
        ),
        _reached(RECALL, lambda finding: finding.parts.get(RECALL), RECALL_BAR),
    ),
)

CLAIMS = (
    *(
        replace(row, finding=_with_recall(row, arm), rule=_RULE)
        for arm in METHODS
        for row in EFFECTS
        if row.id == f"{arm}-out-of-context" and not row.words
    ),
    *SHARED,
)
