"""What a claim of the paper is, and the kinds of tasks that it may be asked of."""

from __future__ import annotations

from dataclasses import dataclass

from oocr.reproduce.rules import Rule

LATER = "after the paper"
OURS = "our own question"


@dataclass(frozen=True, slots=True)
class PaperClaim:
    """One claim.

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
        needs_judge: it is asked only where a judge model was named.
        slow: it trains arms of its own, so that `--quick` leaves it out.
    """

    id: str
    place: str
    section: str
    says: str
    paper: str
    analysis: str
    finding: str
    rule: Rule
    subjects: tuple[str, ...]
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


TRAINED = ("countries", "borders", "risk", "functions", "locations")
GATED = ("backdoor", "risk backdoor")
