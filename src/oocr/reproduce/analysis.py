"""An analysis: finished runs in; findings, a table and its figure out.

Its result is cached beside the first run, and computed again when a run changes.
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
        measure: computes the result; raises `NotMeasuredError` where it cannot.
        section: the page's section that shows its figure.
        figure: makes the figure from tables by task; None: no figure.
        more_tables: other analyses whose tables `figure` also gets.
        claims: claims that come with an analysis of a plug-in.
        asks_judge: it needs the judge model.
        always: computed each time, because its key does not cover what it reads.
        version: of a plug-in's analysis; bump when its numbers change.
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
        """Compute the result; if that is impossible, a result with the reason."""
        try:
            return self.measure(finished)
        except NotMeasuredError as reason:
            return AnalysisResult(reasons=[str(reason)])


def analyse(finished: FinishedRuns, analysis: Analysis) -> tuple[KeptAnalysis, pl.DataFrame | None]:
    """One analysis of finished runs with its table, from the cache if it is unchanged."""
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
        # Results do not depend on the number of workers.
        [run.config.anywhere.yaml() for run in runs],
    )
