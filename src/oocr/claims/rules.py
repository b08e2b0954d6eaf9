"""Verdict rules. A rule is a list of conditions; its words are made of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from oocr.claims.conditions import (
    Condition,
    Findings,
    above_lowest_null,
    above_nulls,
    at_least,
    below_nulls,
    high_within,
    low_above,
    low_reaches,
    mean_reaches,
    mean_within,
    other,
    over,
    was_measured,
)
from oocr.claims.records import Finding, Verdict

DOUBLED = 0.69
"""ln 2, nats: a change of log-odds up to which odds are at most doubled."""

UNTESTED = "the run could not test it; see its rule"


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
    part: Sequence[Condition] = (),
    tested: Sequence[Condition] = (),
    note: str = "",
    able: Condition | None = None,
    said: Sequence[Condition] = (),
) -> Rule:
    """A rule: all of `holds` for "holds", of `part` for "in part", of `tested` for any verdict.

    Without `part` nothing holds in part. If the condition `able` (the model can do it when the
    prompt says how) is false, a failure shows nothing: "cannot be tested". It changes no verdict
    "holds" or "holds in part". `said`: conditions that change no verdict; where they are false,
    their `otherwise` is added to the words.
    """

    def judge(finding: Finding, findings: Findings) -> Verdict:
        def true(conditions: Sequence[Condition]) -> bool:
            return all(condition.test(finding, findings) for condition in conditions)

        if not true(tested):
            return "cannot be tested"
        if true(holds):
            return "holds"
        if part and true(part):
            return "holds in part"
        return "does not hold" if able is None or true([able]) else "cannot be tested"

    left = [condition for condition in holds if condition not in part]
    subset = len(left) == len(holds) - len(part) and len(part) > 1
    words = f"holds: {_joined(holds)}"
    if part:
        words += f"; in part: {f'all but: {_joined(left)}' if subset else _joined(part)}"
    if tested:
        words += f"; cannot be tested unless {_joined(tested)}"
    if able is not None:
        words += f"; what does not hold cannot be tested unless {able.words}"
    notes = tuple(condition for condition in (*holds, *part, *said) if condition.otherwise)
    return Rule(f"{words}. {note}".rstrip(), judge, notes=notes)


def _joined(conditions: Sequence[Condition]) -> str:
    words = [condition.words for condition in conditions]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, and {words[-1]}"


def reaches(full: float, part: float = 0.0) -> Rule:
    """The interval's lower end is high enough, and above the nulls."""
    least = low_reaches(part) if part else low_above(0)
    return rule([low_reaches(full), above_nulls()], [least, above_nulls()])


def keeps(full: float, part: float) -> Rule:
    """The interval's lower end is high enough; nulls are not compared."""
    return rule([low_reaches(full)], [low_reaches(part)])


def stays_below(full: float, part: float) -> Rule:
    """The interval's upper end is low enough."""
    return rule([high_within(full)], [high_within(part)])


def at_level(level: float, reach: float) -> Rule:
    """The number is at a level (such as chance): its interval contains it, and is short.

    A long interval contains many levels, so that it shows nothing.
    """
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
    short = Condition(
        f"no end of it is farther than {2 * reach:g} from there",
        lambda finding, _: at_least(
            2 * reach, max(finding.found.high - level, level - finding.found.low)
        ),
    )
    outside = Condition(
        f"the interval leaves {level:g} out",
        lambda finding, findings: not inside.test(finding, findings),
    )
    return rule([inside, near, short], [inside, near], able=outside)


def between(least: float, most: float) -> Rule:
    """The number is in a band, its whole interval too."""
    ends = [low_reaches(least), high_within(most)]
    return rule(ends, [mean_reaches(least), mean_within(most)])


def gone(full: float, part: float) -> Rule:
    """The interval's upper end is low enough, and a random direction leaves more."""
    return rule([high_within(full), below_nulls()], [high_within(part), below_nulls()])


def partly_alike(most: float) -> Rule:
    """Above chance by both nulls, but not the same direction."""
    return rule([high_within(most), above_nulls()], [high_within(most), above_lowest_null()])


def above_zero() -> Rule:
    """A difference whose interval is above zero (and above the nulls, where there are some)."""
    return rule([low_above(0), above_nulls()])


def read_by_patterns(least: float) -> Rule:
    """Most of the effect is lost with patterns held, and more than with values held."""
    more = other("pattern-minus-values", low_above(0))
    return rule([low_reaches(least), more], [low_above(0.25)])


def narrow_only(narrow: str, kept: float, left: float) -> Rule:
    """The narrow effect stays, and the broad effect is lost."""
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
    """More vectors add little to one vector, which must itself carry much of the effect."""
    much = other(single, low_reaches(least))
    return rule([high_within(full), much], [high_within(part), much], [was_measured(single)])


def as_in_the_run() -> Rule:
    """The run's own rule, which is shown in place of these words."""
    return Rule("as the run judges it", lambda finding, _: finding.verdict or "cannot be tested")


def not_in_the_run(learned: str) -> Rule:
    """For a claim of the paper that an effect is absent, where the run tests that it is present.

    Absence is shown only if the effect could have been found: the run's claim `learned` (the arm
    learned what it could report) must hold, and the interval must be short.
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
    """Another rule, by name and arguments, if enough is recalled (see `if_recalled`)."""
    return if_recalled(_PLAIN[name](*arguments), recall, least)


def if_recalled(other_rule: Rule, recall: str, least: float) -> Rule:
    """A rule that judges nothing unless the mean of the finding `recall` is high enough.

    Without recalled premises a missing conclusion shows nothing.
    """

    def short(findings: Findings) -> str:
        """Why nothing is judged; "" if it is."""
        recalled = findings.get(recall)
        if recalled is not None and at_least(recalled.found.value, least):
            return ""
        share = "not measured" if recalled is None else f"{recalled.found.value:.2f}"
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
