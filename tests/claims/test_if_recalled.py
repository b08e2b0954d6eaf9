"""A rule that judges nothing where premises are not recalled."""

from __future__ import annotations

import pytest

from oocr.claims import rules
from oocr.claims.judge import verdict_on
from oocr.claims.records import Estimate, Finding


def finding(id: str, value: float) -> Finding:
    found = Estimate(value=value, low=value - 0.03, high=value + 0.03, n="5 seeds")
    return Finding(id=id, measure="", found=found, units=5)


@pytest.mark.parametrize(
    ("recall", "value", "verdict"),
    [
        (0.99, 0.05, "holds"),
        (0.99, 0.15, "holds in part"),
        (0.99, 0.5, "does not hold"),
        (0.9, 0.05, "cannot be tested"),
        (None, 0.05, "cannot be tested"),
    ],
)
def test_provided(recall: float | None, value: float, verdict: str) -> None:
    rule = rules.provided("told", 0.95, "stays_below", 0.1, 0.2)
    target = finding("target", value)
    findings = {"target": target}
    if recall is not None:
        findings["told"] = finding("told", recall)
    found, why = verdict_on(rule, target, findings)
    assert found == verdict
    if verdict == "cannot be tested":
        assert ("0.90" if recall else "not measured") in why
    assert "the mean of told is at least 0.95" in rule.words_for(target, findings)
