"""Numbers that the runs have judged themselves: constancy, swaps, backdoors, self-reports."""

from __future__ import annotations

import re

from oocr.claims.records import Finding
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.runs.folder_reader import RunFolder


def judged(subject: FinishedRuns) -> AnalysisResult:
    """The claims of the subject's runs as findings, verdicts and rules included."""
    found: dict[str, Finding] = {}
    for run in subject.runs:
        for one in RunFolder(run.folder).claims:
            found[one.id] = Finding(
                id=one.id,
                measure=one.measure,
                found=one.found,
                base=one.base,
                nulls=one.nulls,
                ceiling=one.ceiling,
                units=units_of(one.found.n),
                verdict=one.verdict,
                rule=one.rule,
            )
    return AnalysisResult(tuple(found.values()))


def units_of(n: str) -> int | None:
    """What an interval draws from, by its words: "8 members × 3 seeds"; of one member its seeds.

    None: the words do not tell.
    """
    told = re.fullmatch(r"(\d+) .+ × (\d+) seeds?", n)
    if told is None:
        return None
    units, seeds = int(told[1]), int(told[2])
    return units if units > 1 else seeds
