"""What an analysis finds and what a claim of the paper comes to, as typed records.

In the folder of the first run that an analysis reads:
    analyses/<name>.json      `Analysis`
    analyses/<name>.parquet   its table, for figures (only where it has one)
"""

from __future__ import annotations

from oocr.claims.records import Estimate, Null, Verdict
from oocr.io import Record


class Finding(Record):
    """One number with its interval, beside what it is held against.

    `units` is how many members, probes or pairs the interval draws from; of one there is none.
    `verdict` and `rule` are set where the run itself has judged that number already.
    """

    id: str
    measure: str
    found: Estimate
    base: float | None = None
    nulls: tuple[Null, ...] = ()
    ceiling: float | None = None
    units: int | None = None
    verdict: Verdict | None = None
    rule: str = ""


class Analysis(Record):
    """What one analysis found on one task's runs; `missing` says why something was not found."""

    name: str
    key: str
    model: str
    findings: tuple[Finding, ...] = ()
    missing: str = ""
    seconds: float = 0.0
    table: bool = False

    def of(self, id: str) -> Finding | None:
        """The finding of that name, if there is one."""
        return next((one for one in self.findings if one.id == id), None)


class Judged(Record):
    """A claim of the paper on one subject.

    `found` is None where nothing could be measured; `why` says why, or is empty.
    """

    id: str
    place: str
    says: str
    paper: str
    subject: str
    about: str
    model: str
    measure: str = ""
    found: Estimate | None = None
    base: float | None = None
    nulls: tuple[Null, ...] = ()
    ceiling: float | None = None
    verdict: Verdict
    why: str = ""
    rule: str
    command: str
    analysis: str
