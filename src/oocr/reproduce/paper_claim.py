"""What a claim on the page of `oocr reproduce` is, what it is judged by, and the verdict on it.

In the folder of the first run that an analysis reads:
    analyses/<name>.json      `KeptAnalysis`
    analyses/<name>.parquet   its table, for figures (only where it has one)
"""

from __future__ import annotations

from dataclasses import dataclass

from oocr.claims.judge import verdict_on
from oocr.claims.records import Finding, Judged
from oocr.claims.rules import Rule
from oocr.io import Record

LATER = "after the paper"
OURS = "our own question"
TRAINED = ("countries", "borders", "risk", "functions", "locations")
GATED = ("backdoor", "risk backdoor")


class KeptAnalysis(Record):
    """The findings of one analysis on one task's runs; `missing` says why others are missing."""

    name: str
    key: str
    model: str
    findings: tuple[Finding, ...] = ()
    missing: str = ""
    seconds: float = 0.0
    table: bool = False

    def of(self, id: str) -> Finding | None:
        """The finding of that name; None if there is none."""
        return next((finding for finding in self.findings if finding.id == id), None)


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
        id: names it.
        place: the paper's figure or section.
        section: the page's section that shows it.
        says: the claim.
        paper: the paper's own number, or how it shows the claim.
        analysis: which analysis answers.
        finding: which of its numbers.
        rule: how it is judged.
        subjects: the kinds of tasks on which it is asked.
        slow: it trains arms of its own, so that `--quick` leaves it out.
        needs_judge: it is asked only where a judge model was named.
    """

    id: str
    place: str
    section: str
    says: str
    paper: str
    analysis: str
    finding: str
    rule: Rule
    subjects: tuple[str, ...] = TRAINED
    slow: bool = False
    needs_judge: bool = False

    @property
    def of_paper(self) -> bool:
        """Whether the paper makes it."""
        return self.place not in (LATER, OURS)

    @property
    def source(self) -> str:
        """What introduces `paper` on the page."""
        return {LATER: "There", OURS: "Why it is asked"}.get(self.place, "In the paper")

    def judge(self, analysis: KeptAnalysis, kind: str, about: str, command: str) -> PaperVerdict:
        """The verdict on one kind of task, whose runs are `about` this.

        `analysis` has the number, or why there is none; `command` asks for it again.
        """
        findings = {finding.id: finding for finding in analysis.findings}
        finding = analysis.of(self.finding)
        verdict, why = verdict_on(self.rule, finding, findings, analysis.missing)
        words, number = self.rule.words, {}
        if finding is not None:
            words = self.rule.words_for(finding, findings)
            words += f": {finding.rule}" if finding.rule else ""
            names = ("measure", "found", "base", "nulls", "ceiling")
            number = {name: getattr(finding, name) for name in names}
        return PaperVerdict(
            id=self.id,
            place=self.place,
            says=self.says,
            paper=self.paper,
            subject=kind,
            about=about,
            model=analysis.model,
            verdict=verdict,
            why=why,
            rule=words,
            command=command,
            analysis=self.analysis,
            **number,
        )
