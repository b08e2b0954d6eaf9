"""What an analysis is: finished runs go in; findings, a table and its figure come out.

Its result is kept beside the first of the runs, and made again when one of them changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from oocr.charts.figure import Figure
from oocr.claims.analysis_result import AnalysisResult as AnalysisResult
from oocr.claims.analysis_result import NotMeasuredError
from oocr.claims.page_claims import KeptAnalysis
from oocr.io import keep_record, key_of
from oocr.reproduce.claims import PaperClaim
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.runs.folder import read_table, write_table


@dataclass(frozen=True, slots=True)
class Analysis:
    """One analysis of finished runs.

    Attributes:
        name: claims refer to it; also the name of its files.
        measure: does it; raises `NotMeasuredError` where it cannot.
        section: the page's section that shows its figure.
        figure: makes the figure from its tables by task; None: it has none.
        more_tables: other analyses whose tables `figure` gets after its own.
        claims: rows of the table of claims that come with it (an analysis from outside).
        asks_judge: it asks the judge model, where one was named.
        always: measured anew each time, as what it reads is not part of its key.
        version: bump when a change of an analysis from outside changes its numbers.
    """

    name: str
    measure: Callable[[FinishedRuns], AnalysisResult]
    section: str = ""
    figure: Callable[..., Figure | None] | None = None
    more_tables: tuple[str, ...] = ()
    claims: tuple[PaperClaim, ...] = ()
    asks_judge: bool = False
    always: bool = False
    version: str = ""

    def __call__(self, finished: FinishedRuns) -> AnalysisResult:
        """The analysis; where it cannot be done, a result that says why."""
        try:
            return self.measure(finished)
        except NotMeasuredError as reason:
            return AnalysisResult(reasons=[str(reason)])


def analyse(finished: FinishedRuns, analysis: Analysis) -> tuple[KeptAnalysis, pl.DataFrame | None]:
    """One analysis of finished runs with its table, from their folder if it is there unchanged."""
    folder = finished.runs[0].folder / "analyses"
    path, table_path = (folder / f"{analysis.name}.{end}" for end in ("json", "parquet"))
    key = _key(finished, analysis)

    def measured() -> KeptAnalysis:
        began = time.perf_counter()
        result = analysis(finished)
        findings = result.sound()
        if (table := result.table) is not None:
            write_table(table_path, table)
        return KeptAnalysis(
            name=analysis.name,
            key=key,
            model=finished.model.name,
            findings=findings,
            missing=result.missing,
            seconds=round(time.perf_counter() - began, 1),
            table=table is not None,
        )

    if analysis.always:
        path.unlink(missing_ok=True)
    kept = keep_record(path, key, KeptAnalysis, measured)
    if kept.table and not table_path.is_file():
        path.unlink()
        kept = keep_record(path, key, KeptAnalysis, measured)
    return kept, read_table(table_path) if kept.table else None


def _key(finished: FinishedRuns, analysis: Analysis) -> str:
    """Hash of everything the numbers depend on."""
    others = [group for _, group in sorted(finished.compare_with.items())]
    runs = [run for group in (finished, *others) for run in group.runs]
    judge = finished.judge.model if finished.judge is not None and analysis.asks_judge else None
    return key_of(
        *(analysis.name, analysis.version, judge, finished.quick, finished.model.fingerprint),
        [[arm.key for arm in run.arms] for run in runs],
        [run.rows_hash for run in runs],
        # Numbers are the same with any number of workers.
        [run.config.anywhere.yaml() for run in runs],
    )
