"""Conditions of verdict rules: a statement on a finding, its words and its test together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from oocr.claims.records import Estimate, Finding

Findings = Mapping[str, Finding]
"""All findings of a run or an analysis, by id."""

ROUNDING = 1e-9


def over(value: float, bar: float) -> bool:
    """Whether a value is above a bar by more than the rounding of sums."""
    return value > bar + ROUNDING


def at_least(value: float, bar: float) -> bool:
    """Whether a value reaches a bar, up to the rounding of sums."""
    return value >= bar - ROUNDING


@dataclass(frozen=True, slots=True)
class Condition:
    """A statement on a finding, written after "holds:"; `otherwise`: a note where it is false."""

    words: str
    test: Callable[[Finding, Findings], bool]
    otherwise: str = ""


_ENDS = {"low": "the interval's lower end", "high": "the interval's upper end", "value": "the mean"}
_RELATIONS: Mapping[str, Callable[[float, float], bool]] = {
    "above": over,
    "at least": at_least,
    "at most": lambda value, bar: at_least(bar, value),
}


def _bar(end: str, relation: str, bar: float) -> Condition:
    """An end of the interval, or the mean, is beyond a bar."""
    return Condition(
        f"{_ENDS[end]} is {relation} {bar:g}",
        lambda finding, _: _RELATIONS[relation](getattr(finding.found, end), bar),
    )


low_above = partial(_bar, "low", "above")
low_reaches = partial(_bar, "low", "at least")
high_within = partial(_bar, "high", "at most")
mean_reaches = partial(_bar, "value", "at least")
mean_within = partial(_bar, "value", "at most")


def above_base() -> Condition:
    """The whole interval is above the untouched model's score."""
    return Condition(
        "the interval's lower end is above the untouched model's score",
        lambda finding, _: finding.base is not None and over(finding.found.low, finding.base),
    )


def _nulls(words: str, test: Callable[[Estimate, list[float]], bool], name: str = "") -> Condition:
    """On the nulls whose name has a text in it."""
    return Condition(
        words,
        lambda finding, _: test(
            finding.found, [null.value for null in finding.nulls if name in null.name]
        ),
    )


def above_nulls(name: str = "") -> Condition:
    """The whole interval is above every null (whose name has a text in it)."""
    which = f"the {name}' 95th centile" if name else "every null"
    words = f"the interval's lower end is above {which}"
    return _nulls(words, lambda found, nulls: all(over(found.low, null) for null in nulls), name)


def mean_above_nulls(name: str) -> Condition:
    """The mean is above the nulls whose name has a text in it."""
    words = f"the mean is above the {name}' 95th centile"
    return _nulls(words, lambda found, nulls: all(over(found.value, null) for null in nulls), name)


def above_lowest_null() -> Condition:
    """The whole interval is above at least one null."""
    words = "the interval's lower end is above the lowest null"
    return _nulls(words, lambda found, nulls: any(over(found.low, null) for null in nulls))


def below_nulls() -> Condition:
    """The whole interval is below every null."""
    words = "it is below what is left when a random direction is taken out"
    return _nulls(words, lambda found, nulls: all(over(null, found.high) for null in nulls))


def paired_above(what: str) -> Condition:
    """The interval of every paired difference is above 0."""
    return Condition(
        f"the paired difference to {what} is above 0",
        lambda finding, _: all(over(low, 0) for low in finding.paired.values()),
    )


def control_trained() -> Condition:
    """There is a trained control to compare with."""
    return Condition(
        "such a control was trained",
        lambda finding, _: any(name.endswith(" training") for name in finding.paired),
        "Here no such control was trained, so that the claim holds in part at most.",
    )


def random_asked() -> Condition:
    """There are random directions to compare with."""
    return Condition(
        "random directions were asked",
        lambda finding, _: any("random directions" in null.name for null in finding.nulls),
        "Here no random directions were asked.",
    )


def way_to_ceiling(share: float) -> Condition:
    """The mean of a share right is a share of the way from the untouched model to the ceiling.

    Where no ceiling is above the untouched model there is no such way; then it is that to 1.
    """

    def test(finding: Finding, _: Findings) -> bool:
        base, top = finding.base or 0.0, finding.ceiling
        if top is None or not over(top, base):
            top = 1.0
        return at_least(finding.found.value - base, share * (top - base))

    words = f"the mean is at least {share:.0%} of the way from base to ceiling"
    return Condition(f"{words} (to 1 where no ceiling is above the base)", test)


def parts_above(bar: float, *names: str, words: str = "") -> Condition:
    """The interval of each of these parts is above a bar; parts without a value are ignored."""
    return Condition(
        words or f"each of {', '.join(names)} alone is above {bar:g}",
        lambda finding, _: all(over(finding.parts.get(name, bar + 1), bar) for name in names),
    )


def other(id: str, condition: Condition) -> Condition:
    """A condition on another finding; not true without it."""
    return Condition(
        f"of {id}, {condition.words}",
        lambda _, findings: id in findings and condition.test(findings[id], findings),
    )


def both(first: Condition, second: Condition) -> Condition:
    """Two conditions as one."""
    return Condition(
        f"{first.words}, and {second.words}",
        lambda finding, findings: first.test(finding, findings) and second.test(finding, findings),
    )


def was_measured(*ids: str) -> Condition:
    """Other findings were made."""
    return Condition(
        f"{' and '.join(ids)} was measured", lambda _, findings: all(id in findings for id in ids)
    )
