"""Verdict rules: the same for every task and model, and shown with the claim they judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oocr.claims.judging import at_least, over, verdict_of
from oocr.claims.records import Verdict
from oocr.reproduce.records import Finding

Found = Mapping[str, Finding]
"""An analysis's findings by id."""


UNTESTED = "the run could not test it; see its rule"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a claim holds, in words and in code."""

    words: str
    judge: Callable[[Finding, Found], Verdict]
    why: Callable[[Finding, Found], str] = lambda *_: UNTESTED
    """What is said where `judge` finds that it cannot be tested."""


def reaches(full: float, part: float = 0.0) -> Rule:
    """The interval's lower end is high enough, and above the nulls."""

    def judge(found: Finding, _: Found) -> Verdict:
        above = all(over(found.found.low, null.value) for null in found.nulls)
        enough = at_least(found.found.low, part) if part else over(found.found.low, 0)
        return verdict_of(above and at_least(found.found.low, full), above and enough)

    words = (
        f"holds: the interval's lower end is at least {full:g} and above every null; in part: at "
        f"least {part:g}, or above it where that is 0, and above every null."
    )
    return Rule(words, judge)


def stays_below(full: float, part: float) -> Rule:
    """The interval's upper end is low enough."""

    def judge(found: Finding, _: Found) -> Verdict:
        return verdict_of(at_least(full, found.found.high), at_least(part, found.found.high))

    words = f"holds: the interval's upper end is at most {full:g}; in part: at most {part:g}."
    return Rule(words, judge)


def keeps(full: float, part: float) -> Rule:
    """The interval's lower end is high enough, whatever chance gives."""

    def judge(found: Finding, _: Found) -> Verdict:
        return verdict_of(at_least(found.found.low, full), at_least(found.found.low, part))

    words = f"holds: the interval's lower end is at least {full:g}; in part: at least {part:g}."
    return Rule(words, judge)


def gone(full: float, part: float) -> Rule:
    """The interval's upper end is low enough, and a random direction leaves more."""

    def judge(found: Finding, _: Found) -> Verdict:
        more = all(over(null.value, found.found.high) for null in found.nulls)
        return verdict_of(
            more and at_least(full, found.found.high), more and at_least(part, found.found.high)
        )

    words = (
        f"holds: the interval's upper end is at most {full:g}, and below what is left when a "
        f"random direction is taken out; in part: at most {part:g}, and below that."
    )
    return Rule(words, judge)


def partly_alike(most: float) -> Rule:
    """Above chance by both nulls, but not the same direction."""

    def judge(found: Finding, _: Found) -> Verdict:
        nulls = sorted(null.value for null in found.nulls)
        apart = at_least(most, found.found.high)
        above = all(over(found.found.low, one) for one in nulls)
        some = bool(nulls) and over(found.found.low, nulls[0])
        return verdict_of(apart and above, apart and some)

    words = (
        f"holds: the interval lies above every null and below {most:g}; in part: below {most:g} "
        "and above the lowest null."
    )
    return Rule(words, judge)


def above_zero() -> Rule:
    """A difference whose interval is above zero (and above the nulls, where there are some)."""

    def judge(found: Finding, _: Found) -> Verdict:
        above = all(over(found.found.low, null.value) for null in found.nulls)
        return verdict_of(over(found.found.low, 0) and above, over(found.found.value, 0) and above)

    words = (
        "holds: the interval is above 0 and above every null; in part: only the mean is above 0, "
        "the interval being above every null."
    )
    return Rule(words, judge)


def read_by_patterns(least: float) -> Rule:
    """Most of the effect is lost with patterns held, and more than with values held."""

    def judge(found: Finding, every: Found) -> Verdict:
        gap = every.get("pattern-minus-values")
        more = gap is not None and over(gap.found.low, 0)
        return verdict_of(more and at_least(found.found.low, least), over(found.found.low, 0.25))

    words = (
        f"holds: the interval's lower end is at least {least:g}, and (paired) more is lost than "
        "with values held; in part: the lower end is above 0.25."
    )
    return Rule(words, judge)


def narrow_only(narrow: str, kept: float, left: float) -> Rule:
    """The narrow effect stays, and the broad one goes."""

    def judge(found: Finding, every: Found) -> Verdict:
        inside = every.get(narrow)
        if inside is None:
            return "cannot be tested"
        stays, goes = at_least(inside.found.low, kept), at_least(left, found.found.high)
        return verdict_of(stays and goes, over(inside.found.low, found.found.high))

    words = (
        f"holds: at least {kept:g} of the in-context effect is left (lower end of its interval) "
        f"and at most {left:g} of this one (upper end); in part: the two intervals lie apart."
    )
    return Rule(words, judge)


def its_own_only(most: float) -> Rule:
    """More on the own task than on the others, beyond chance, and little on the others."""

    def judge(found: Finding, every: Found) -> Verdict:
        own, others = every.get("own"), every.get("others")
        if own is None or others is None:
            return "cannot be tested"
        moved = over(own.found.low, 0) and over(found.found.low, 0)
        above = moved and all(over(found.found.low, null.value) for null in found.nulls)
        return verdict_of(above and at_least(most * own.found.value, others.found.value), above)

    words = (
        "in part: the interval, and that of what it adds on its own task, are above 0, and this "
        "one is above every null; holds: besides, the mean size of what it adds on other tasks, "
        f"whichever way, is at most {most:.2g} of what it adds on its own."
    )
    return Rule(words, judge)


def one_for_all(full: float, part: float, one: str, least: float) -> Rule:
    """More vectors add little to one that carries much: of nothing, nothing more is carried."""

    def judge(found: Finding, every: Found) -> Verdict:
        first = every.get(one)
        if first is None:
            return "cannot be tested"
        much = at_least(first.found.low, least)
        little = [at_least(bar, found.found.high) for bar in (full, part)]
        return verdict_of(much and little[0], much and little[1])

    words = (
        f"holds: the interval's upper end is at most {full:g}, and one vector carries at least "
        f"{least:g} of the energy (lower end of its interval); in part: at most {part:g}, and that."
    )
    return Rule(words, judge)


def as_in_the_run() -> Rule:
    """The run's own rule, which is shown in place of these words."""

    def judge(found: Finding, _: Found) -> Verdict:
        return found.verdict or "cannot be tested"

    return Rule("as the run judges it", judge)


DOUBLED = 0.69
"""ln 2, nats: a change of log-odds up to which odds are at most doubled."""


def not_in_the_run(learned: str) -> Rule:
    """The paper says that what the run asks for is not there.

    That nothing was found shows this only where something could have been: `learned` is the run's
    claim that the arm learned what it is to tell of, and the interval has to be short.
    """

    def unshown(found: Finding, every: Found) -> str:
        """Why finding nothing shows nothing; "" if it does."""
        first = every.get(learned)
        if first is None or first.verdict not in ("holds", "holds in part"):
            told = "not asked" if first is None else first.verdict or "not judged"
            return f"the run does not show that it was learned ({learned}: {told})"
        if not at_least(DOUBLED, found.found.high):
            return f"not found, but the interval reaches above {DOUBLED:g}: it could be there"
        return ""

    def judge(found: Finding, every: Found) -> Verdict:
        if found.verdict == "does not hold":
            return "cannot be tested" if unshown(found, every) else "holds"
        return "does not hold" if found.verdict == "holds" else found.verdict or "cannot be tested"

    def why(found: Finding, every: Found) -> str:
        return unshown(found, every) if found.verdict == "does not hold" else UNTESTED

    words = (
        "holds: the run's own claim does not hold, the interval's upper end is at most "
        f"{DOUBLED:g} (ln 2: the odds are at most doubled), and the run's {learned} holds, at "
        "least in part; cannot be tested: only the first of these; does not hold: the run's claim "
        "holds; in part: the run's does, in part. The run's rule"
    )
    return Rule(words, judge, why)
