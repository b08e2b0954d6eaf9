"""Claims of a page: the rows of its table, and their verdicts from analyses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oocr.claims import rules
from oocr.claims.judge import verdict_on
from oocr.claims.records import Finding, Judged
from oocr.io import Record

LATER = "after the paper"
OURS = "our own question"


class KeptAnalysis(Record):
    """The findings of one analysis on one subject; `missing` says why others are missing."""

    name: str
    key: str
    model: str
    findings: tuple[Finding, ...] = ()
    missing: str = ""
    seconds: float = 0.0
    table: bool = False


class PaperVerdict(Judged):
    """The verdict on a claim of the page for one subject; `why` says why it has none."""

    place: str
    says: str
    paper: str
    subject: str
    about: str
    model: str
    why: str = ""
    analysis: str


@dataclass(frozen=True, slots=True)
class PageClaim:
    """A row of a page's table of claims.

    Attributes:
        place: the paper's figure or section; or `LATER` or `OURS`.
        section: the page's section that shows it.
        says: the claim.
        paper: the paper's own number, or how it shows the claim.
        analysis, finding: which number of which analysis answers.
        rule: how it is judged.
    """

    id: str
    place: str
    section: str
    says: str
    paper: str
    analysis: str
    finding: str
    rule: rules.Rule

    @property
    def of_paper(self) -> bool:
        """Whether the paper makes it."""
        return self.place not in (LATER, OURS)

    @property
    def source(self) -> str:
        """What introduces `paper` on the page."""
        return {LATER: "There", OURS: "Why it is asked"}.get(self.place, "In the paper")

    def judge(self, analysis: KeptAnalysis, subject: str, about: str, command: str) -> PaperVerdict:
        """The verdict on one subject (`about`: in words); `command` asks for it again."""
        findings = {finding.id: finding for finding in analysis.findings}
        finding = findings.get(self.finding)
        verdict, why = verdict_on(self.rule, finding, findings, analysis.missing)
        words, number = self.rule.words, {}
        if finding is not None:
            words = self.rule.words_for(finding, findings)
            words += f": {finding.rule}" if finding.rule else ""
            number = finding.number
        return PaperVerdict(
            **{name: getattr(self, name) for name in ("id", "place", "says", "paper", "analysis")},
            **{"subject": subject, "about": about, "model": analysis.model, "command": command},
            **{"verdict": verdict, "why": why, "rule": words},
            **number,
        )


def with_rules(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a claims.yaml, with `rule: [name, *arguments]` made one of `oocr.claims.rules`."""
    return [{**row, "rule": _rule(*row["rule"])} for row in rows]


def _rule(name: str, *arguments: Any) -> rules.Rule:
    rule: rules.Rule = getattr(rules, name)(*arguments)
    return rule
