"""What a claim on the page of `oocr reproduce` is, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass

from oocr.claims.judge import verdict_on
from oocr.claims.rules import Rule
from oocr.reproduce.records import KeptAnalysis, PaperVerdict

LATER = "after the paper"
OURS = "our own question"
TRAINED = ("countries", "borders", "risk", "functions", "locations")
GATED = ("backdoor", "risk backdoor")


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
        """The verdict on one kind of task.

        Args:
            analysis: with the number, or why there is none.
            kind: the kind of task.
            about: what its runs are, in words.
            command: how it is asked for again.
        """
        finding = analysis.of(self.finding)
        findings = {other.id: other for other in analysis.findings}
        verdict, why = verdict_on(self.rule, finding, findings, analysis.missing)
        words = self.rule.words
        number = {}
        if finding is not None:
            words = self.rule.words_for(finding, findings)
            words += f": {finding.rule}" if finding.rule else ""
            number = {
                name: getattr(finding, name)
                for name in ("measure", "found", "base", "nulls", "ceiling")
            }
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
