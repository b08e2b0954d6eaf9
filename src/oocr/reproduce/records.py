"""What an analysis finds and the verdicts on claims of the paper, as typed records.

In the folder of the first run that an analysis reads:
    analyses/<name>.json      `KeptAnalysis`
    analyses/<name>.parquet   its table, for figures (only where it has one)
"""

from __future__ import annotations

from oocr.claims.records import Finding, Judged
from oocr.io import Record


class KeptAnalysis(Record):
    """What one analysis found on one task's runs; `missing` says why something was not found."""

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
