"""Numbers that the runs have judged themselves: constancy, swaps, backdoors, self-reports."""

from __future__ import annotations

from oocr.experiments.finish import read_claims
from oocr.experiments.reproduce.made import Made
from oocr.experiments.reproduce.records import Finding
from oocr.experiments.reproduce.subject import Subject


def judged(subject: Subject) -> Made:
    """The claims of the subject's runs as findings, verdicts and rules included."""
    found: dict[str, Finding] = {}
    for run in subject.runs:
        for one in read_claims(run.folder):
            found[one.id] = Finding(
                id=one.id,
                measure=one.measure,
                found=one.found,
                base=one.base,
                nulls=one.nulls,
                ceiling=one.ceiling,
                verdict=one.verdict,
                rule=one.rule,
            )
    return Made(tuple(found.values()))
