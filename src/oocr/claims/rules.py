"""Verdict rules. A rule is a list of conditions; each makes its words and its test together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from oocr.claims.records import Estimate, Finding, Verdict

Findings = Mapping[str, Finding]
"""All findings of a run or an analysis, by id."""

ROUNDING = 1e-9
DOUBLED = 0.69
"""ln 2, nats: a change of log-odds up to which odds are at most doubled."""

UNTESTED = "the run could not test it; see its rule"


def over(value: float, bar: float) -> bool:
    """Whether a value is above a bar by more than the rounding of sums."""
    return value > bar + ROUNDING


def at_least(value: float, bar: float) -> bool:
    """Whether a value reaches a bar, but for the rounding of sums."""
    return value >= bar - ROUNDING


@dataclass(frozen=True, slots=True)
class Condition:
    """A statement on a finding, to stand after "holds:"; `otherwise` is said where it is untrue."""

    words: str
    test: Callable[[Finding, Findings], bool]
    otherwise: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a claim holds, in words and in code.

    `judge`: the verdict on a finding, also given all findings; `why`: the reason where the claim
    cannot be tested; `notes`: whose `otherwise` is added to the words where they are untrue.
    """

    words: str
    judge: Callable[[Finding, Findings], Verdict]
    why: Callable[[Finding, Findings], str] = lambda *_: UNTESTED
    notes: tuple[Condition, ...] = ()

    def words_for(self, finding: Finding, findings: Findings) -> str:
        """The words, with what applies to this finding."""
        notes = [note.otherwise for note in self.notes if not note.test(finding, findings)]
        return " ".join([self.words, *notes])


def rule(
    holds: Sequence[Condition],
    part: Sequence[Condition],
    tested: Sequence[Condition] = (),
    note: str = "",
    able: Condition | None = None,
) -> Rule:
    """A rule: all of `holds` for "holds", of `part` for "in part", of `tested` for any verdict.

    Without `able` (the model can do it where it is told how) a failure shows nothing: "cannot be
    tested". What holds, or holds in part, needs no excuse.
    """

    def judge(finding: Finding, findings: Findings) -> Verdict:
        def true(conditions: Sequence[Condition]) -> bool:
            return all(condition.test(finding, findings) for condition in conditions)

        if not true(tested):
            return "cannot be tested"
        if true(holds):
            return "holds"
        if true(part):
            return "holds in part"
        return "does not hold" if able is None or true([able]) else "cannot be tested"

    left = [condition for condition in holds if condition not in part]
    subset = len(left) == len(holds) - len(part) and len(part) > 1
    in_part = f"all but: {_joined(left)}" if subset else _joined(part)
    words = f"holds: {_joined(holds)}; in part: {in_part}"
    if tested:
        words += f"; cannot be tested unless {_joined(tested)}"
    if able is not None:
        words += f"; what does not hold cannot be tested unless {able.words}"
    notes = tuple(condition for condition in (*holds, *part) if condition.otherwise)
    return Rule(f"{words}. {note}".rstrip(), judge, notes=notes)


def _joined(conditions: Sequence[Condition]) -> str:
    words = [condition.words for condition in conditions]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, and {words[-1]}"


# -- conditions ----------------------------------------------------------------------------------


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
mean_above = partial(_bar, "value", "above")
mean_reaches = partial(_bar, "value", "at least")


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
    """The whole interval is above one null at least."""
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


def way_to_ceiling(share: float) -> Condition:
    """The mean is a share of the way from the untouched model to the ceiling, if there is one."""

    def test(finding: Finding, _: Findings) -> bool:
        base = finding.base or 0.0
        top = finding.ceiling
        return top is None or at_least(finding.found.value - base, share * (top - base))

    return Condition(f"the mean is at least {share:.0%} of the way from base to ceiling", test)


def parts_above(bar: float, *names: str, words: str = "") -> Condition:
    """The interval of each of some parts is above a bar; parts that were not measured count not."""
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


def was_measured(*ids: str) -> Condition:
    """Other findings were made."""
    return Condition(
        f"{' and '.join(ids)} was measured", lambda _, findings: all(id in findings for id in ids)
    )


# -- rules ---------------------------------------------------------------------------------------


def reaches(full: float, part: float = 0.0) -> Rule:
    """The interval's lower end is high enough, and above the nulls."""
    least = low_reaches(part) if part else low_above(0)
    return rule([low_reaches(full), above_nulls()], [least, above_nulls()])


def keeps(full: float, part: float) -> Rule:
    """The interval's lower end is high enough, whatever chance gives."""
    return rule([low_reaches(full)], [low_reaches(part)])


def stays_below(full: float, part: float) -> Rule:
    """The interval's upper end is low enough."""
    return rule([high_within(full)], [high_within(part)])


def at_level(level: float, reach: float) -> Rule:
    """The number is what chance gives, or another level: its interval holds that, and is near."""
    inside = Condition(
        f"the interval holds {level:g}",
        lambda finding, _: (
            at_least(level, finding.found.low) and at_least(finding.found.high, level)
        ),
    )
    near = Condition(
        f"the mean is within {reach:g} of {level:g}",
        lambda finding, _: at_least(reach, abs(finding.found.value - level)),
    )
    return rule([inside, near], [inside])


def between(least: float, most: float) -> Rule:
    """The number is in a band, its whole interval too."""
    ends = [low_reaches(least), high_within(most)]
    return rule(ends, [mean_reaches(least), _bar("value", "at most", most)])


def gone(full: float, part: float) -> Rule:
    """The interval's upper end is low enough, and a random direction leaves more."""
    return rule([high_within(full), below_nulls()], [high_within(part), below_nulls()])


def partly_alike(most: float) -> Rule:
    """Above chance by both nulls, but not the same direction."""
    return rule([high_within(most), above_nulls()], [high_within(most), above_lowest_null()])


def above_zero() -> Rule:
    """A difference whose interval is above zero (and above the nulls, where there are some)."""
    return rule([low_above(0), above_nulls()], [mean_above(0), above_nulls()])


def read_by_patterns(least: float) -> Rule:
    """Most of the effect is lost with patterns held, and more than with values held."""
    more = other("pattern-minus-values", low_above(0))
    return rule([low_reaches(least), more], [low_above(0.25)])


def narrow_only(narrow: str, kept: float, left: float) -> Rule:
    """The narrow effect stays, and the broad one goes."""
    apart = Condition(
        f"the interval lies below that of {narrow}",
        lambda finding, findings: over(findings[narrow].found.low, finding.found.high),
    )
    stays = other(narrow, low_reaches(kept))
    return rule([stays, high_within(left)], [apart], [was_measured(narrow)])


def its_own_only(most: float) -> Rule:
    """More on the own task than on the others, beyond chance, and little on the others."""
    part = [low_above(0), other("own", low_above(0)), above_nulls()]
    little = Condition(
        "the mean size of what is added on other tasks, whichever way, is at most "
        f"{most:.2g} of what is added on its own",
        lambda _, findings: at_least(
            most * findings["own"].found.value, findings["others"].found.value
        ),
    )
    return rule([*part, little], part, [was_measured("own", "others")])


def one_for_all(full: float, part: float, single: str, least: float) -> Rule:
    """More vectors add little to one that carries much: of nothing, nothing more is carried."""
    much = other(single, low_reaches(least))
    return rule([high_within(full), much], [high_within(part), much], [was_measured(single)])


def as_in_the_run() -> Rule:
    """The run's own rule, which is shown in place of these words."""
    return Rule("as the run judges it", lambda finding, _: finding.verdict or "cannot be tested")


def not_in_the_run(learned: str) -> Rule:
    """The paper says that what the run asks for is not there.

    That nothing was found shows this only where something could have been: `learned` is the run's
    claim that the arm learned what it could report, and the interval has to be short.
    """

    def unshown(finding: Finding, findings: Findings) -> str:
        """Why finding nothing shows nothing; "" if it does."""
        first = findings.get(learned)
        if first is None or first.verdict not in ("holds", "holds in part"):
            verdict = "not asked" if first is None else first.verdict or "not judged"
            return f"the run does not show that it was learned ({learned}: {verdict})"
        if not at_least(DOUBLED, finding.found.high):
            return f"not found, but the interval reaches above {DOUBLED:g}: it could be there"
        return ""

    def judge(finding: Finding, findings: Findings) -> Verdict:
        if finding.verdict == "does not hold":
            return "cannot be tested" if unshown(finding, findings) else "holds"
        return (
            "does not hold" if finding.verdict == "holds" else finding.verdict or "cannot be tested"
        )

    def why(finding: Finding, findings: Findings) -> str:
        return unshown(finding, findings) if finding.verdict == "does not hold" else UNTESTED

    words = (
        "holds: the run's own claim does not hold, the interval's upper end is at most "
        f"{DOUBLED:g} (ln 2: the odds are at most doubled), and the run's {learned} holds, at "
        "least in part; cannot be tested: only the first of these; does not hold: the run's claim "
        "holds; in part: the run's does, in part. The run's rule"
    )
    return Rule(words, judge, why)


_PLAIN: Mapping[str, Callable[..., Rule]] = {
    "above_zero": above_zero,
    "keeps": keeps,
    "reaches": reaches,
    "stays_below": stays_below,
}


def provided(recall: str, least: float, name: str, *arguments: float) -> Rule:
    """Another rule, named with its arguments, where enough is recalled (see `if_recalled`)."""
    return if_recalled(_PLAIN[name](*arguments), recall, least)


def if_recalled(other_rule: Rule, recall: str, least: float) -> Rule:
    """A rule that judges nothing unless the mean of the finding `recall` is high enough.

    What does not follow from premises that are not recalled shows nothing.
    """

    def short(findings: Findings) -> str:
        """Why nothing is judged; "" if it is."""
        found = findings.get(recall)
        if found is not None and at_least(found.found.value, least):
            return ""
        share = "not measured" if found is None else f"{found.found.value:.2f}"
        return f"the premises are not recalled ({share}; needed: {least:g})"

    def judge(finding: Finding, findings: Findings) -> Verdict:
        return "cannot be tested" if short(findings) else other_rule.judge(finding, findings)

    def why(finding: Finding, findings: Findings) -> str:
        return short(findings) or other_rule.why(finding, findings)

    words = (
        f"{other_rule.words.rstrip('.')}. Cannot be tested unless the mean of {recall} is at least "
        f"{least:g}."
    )
    return Rule(words, judge, why, other_rule.notes)
