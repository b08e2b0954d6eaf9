"""From findings to verdicts: for runs and for `oocr reproduce` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oocr.claims.records import Claim, Finding, Verdict
from oocr.claims.results import RunResults
from oocr.claims.rules import Findings, Rule
from oocr.stats import FEWEST

NOT_MEASURED = "this task does not measure it"


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A row of a table of claims.

    Attributes:
        id: names the claim; also the id of its finding.
        words: the claim.
        finding: makes its number from a run's results; None where the run cannot speak to it.
        rule: when it holds.
    """

    id: str
    words: str
    finding: Callable[[RunResults], Finding | None]
    rule: Rule


def verdict_on(
    rule: Rule, finding: Finding | None, findings: Findings, missing: str = ""
) -> tuple[Verdict, str]:
    """The verdict on a finding, and why if it cannot be tested.

    Args:
        rule: when the claim holds.
        finding: the number; None if there is none.
        findings: all findings by id, for rules that look at others.
        missing: why there is no number.
    """
    if finding is None:
        return "cannot be tested", missing or NOT_MEASURED
    if finding.units is not None and finding.units < FEWEST:
        return "cannot be tested", too_few(finding.found.n)
    verdict = rule.judge(finding, findings)
    return verdict, rule.why(finding, findings) if verdict == "cannot be tested" else ""


def too_few(n: str) -> str:
    """Why an interval over so few units judges nothing."""
    return f"measured on {n}: no interval of fewer than {FEWEST} can judge"


def judge_run(rows: Iterable[ClaimRow], results: RunResults, command: str) -> list[Claim]:
    """All claims that a run can speak to, in the order of the rows."""
    pairs = [(row, row.finding(results)) for row in rows]
    findings = {finding.id: finding for _, finding in pairs if finding is not None}
    return [judge(row, finding, findings, command) for row, finding in pairs if finding is not None]


def judge(row: ClaimRow, finding: Finding, findings: Findings, command: str) -> Claim:
    """One claim of a run."""
    verdict, _ = verdict_on(row.rule, finding, findings)
    words = row.rule.words_for(finding, findings)
    if finding.units is not None and finding.units < FEWEST:
        words += f" Here it cannot be tested: {too_few(finding.found.n)}."
    return Claim(
        id=row.id,
        claim=row.words,
        measure=finding.measure,
        found=finding.found,
        base=finding.base,
        nulls=finding.nulls,
        ceiling=finding.ceiling,
        verdict=verdict,
        rule=words,
        command=command,
    )
