"""Claims on the page of `oocr reproduce`: the table (`claims.yaml`), and the verdict on each.

In the folder of the first run that an analysis reads:
    analyses/<name>.json      `KeptAnalysis`
    analyses/<name>.parquet   its table, for figures (only where it has one)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from oocr.claims import rules
from oocr.claims.judge import verdict_on
from oocr.claims.records import Finding, Judged
from oocr.io import Record
from oocr.tasks.package_files import package_yaml

LATER = "after the paper"
OURS = "our own question"

Need = Literal["seeds", "layers", "a LoRA", "all layers", "training", "a judge"]
"""Several seeds of a member; several layers; a LoRA in one layer, in all; arms trained by the
analysis itself, which `--quick` leaves out; a judge model."""

TRAINED = ("countries", "borders", "risk", "functions", "locations")


class KeptAnalysis(Record):
    """The findings of one analysis on one task's runs; `missing` says why others are missing."""

    name: str
    key: str
    model: str
    findings: tuple[Finding, ...] = ()
    missing: str = ""
    seconds: float = 0.0
    table: bool = False


class PaperVerdict(Judged):
    """The verdict on a claim of the page for one kind of task; `why` says why it has none."""

    place: str
    says: str
    paper: str
    subject: str
    about: str
    model: str
    why: str = ""
    analysis: str


@dataclass(frozen=True, slots=True)
class PaperClaim:
    """A row of the table of claims.

    Attributes:
        place: the paper's figure or section; or `LATER` or `OURS`.
        section: the page's section that shows it.
        says: the claim.
        paper: the paper's own number, or how it shows the claim.
        analysis, finding: which number of which analysis answers.
        rule: how it is judged.
        subjects: the kinds of tasks on which it is asked.
        needs: what it cannot be answered without.
    """

    id: str
    place: str
    section: str
    says: str
    paper: str
    analysis: str
    finding: str
    rule: rules.Rule
    subjects: tuple[str, ...] = TRAINED
    needs: tuple[Need, ...] = ()

    @property
    def of_paper(self) -> bool:
        """Whether the paper makes it."""
        return self.place not in (LATER, OURS)

    @property
    def source(self) -> str:
        """What introduces `paper` on the page."""
        return {LATER: "There", OURS: "Why it is asked"}.get(self.place, "In the paper")

    def judge(self, analysis: KeptAnalysis, kind: str, about: str, command: str) -> PaperVerdict:
        """The verdict on one kind of task (`about`: in words); `command` asks for it again."""
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
            **{"subject": kind, "about": about, "model": analysis.model, "command": command},
            **{"verdict": verdict, "why": why, "rule": words},
            **number,
        )


def _rule(name: str, *arguments: Any) -> rules.Rule:
    made: rules.Rule = getattr(rules, name)(*arguments)
    return made


CLAIMS = TypeAdapter(tuple[PaperClaim, ...]).validate_python(
    [{**row, "rule": _rule(*row["rule"])} for row in package_yaml(__package__, "claims.yaml")]
)
