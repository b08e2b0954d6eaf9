"""Rules of pages on papers: what an interval that may hold nothing shows."""

from __future__ import annotations

import pytest

from oocr.claims import rules
from oocr.claims.judge import verdict_on
from oocr.claims.records import Estimate, Finding


def judged(rule: rules.Rule, low: float, value: float, high: float) -> str:
    found = Estimate(value=value, low=low, high=high, n="5 seeds")
    finding = Finding(id="x", measure="", found=found, units=5)
    return verdict_on(rule, finding, {"x": finding})[0]


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (1.8, 2.1, 2.4, "holds"),
        (0.2, 2.1, 3.9, "holds in part"),  # near, but it could be almost anything
        (1.9, 2.8, 3.7, "cannot be tested"),  # neither near nor clear of the level
        (2.1, 2.8, 3.7, "does not hold"),
        (0.2, 0.4, 0.6, "does not hold"),
    ],
)
def test_a_long_interval_around_a_level_does_not_show_it(
    low: float, value: float, high: float, verdict: str
) -> None:
    assert judged(rules.at_level(2.0, 0.5), low, value, high) == verdict


@pytest.mark.parametrize(
    ("low", "verdict"), [(0.01, "holds"), (0.0, "does not hold"), (-0.1, "does not hold")]
)
def test_a_difference_that_may_be_none_does_not_hold_in_part(low: float, verdict: str) -> None:
    assert judged(rules.above_zero(), low, 0.2, 0.4) == verdict
    assert "in part" not in rules.above_zero().words
