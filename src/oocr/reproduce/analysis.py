"""What an analysis is: finished runs go in; findings, a table and its figure come out.

Done once: the result is kept beside the first of the runs that it reads, and made again when one
of them changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from oocr.charts.figure import Figure
from oocr.claims.records import Finding
from oocr.io import keep_record, key_of
from oocr.reproduce.claims import KeptAnalysis, PaperClaim
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.reproduce.scoring import NotMeasuredError
from oocr.runs.folder import read_table, write_table


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisResult:
    """What an analysis hands back: findings by id, which claims name, and the figure's table.

    `table` has one row per mark of the figure; `missing` says why findings are missing.
    """

    findings: tuple[Finding, ...] = ()
    table: pl.DataFrame | None = None
    missing: str = ""

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        rows: Sequence[Mapping[str, Any]] = (),
        missing: Iterable[str] = (),
    ) -> AnalysisResult:
        """A result from findings, rows of the figure's table and reasons."""
        table = pl.DataFrame(rows, infer_schema_length=None) if rows else None
        return cls(tuple(findings), table, "; ".join(missing))


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
            return AnalysisResult(missing=str(reason))


def analyse(finished: FinishedRuns, analysis: Analysis) -> tuple[KeptAnalysis, pl.DataFrame | None]:
    """One analysis of finished runs, from their folder if it is there unchanged.

    Raises:
        RunError: a file of the runs cannot be read, or the result cannot be written.
    """
    folder = finished.runs[0].folder / "analyses"
    path, table_path = (folder / f"{analysis.name}.{end}" for end in ("json", "parquet"))
    key = _key(finished, analysis)

    def measured() -> KeptAnalysis:
        began = time.perf_counter()
        result = analysis(finished)
        findings, broken = _sound(result.findings)
        if result.table is not None:
            write_table(table_path, result.table)
        return KeptAnalysis(
            name=analysis.name,
            key=key,
            model=finished.model.name,
            findings=findings,
            missing="; ".join(part for part in (result.missing, broken) if part),
            seconds=round(time.perf_counter() - began, 1),
            table=result.table is not None,
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
        [run.config.model_copy(update={"workers": None}).yaml() for run in runs],
    )


def _sound(findings: tuple[Finding, ...]) -> tuple[tuple[Finding, ...], str]:
    """Findings that are numbers, and a sentence on those that are not."""
    sound: list[Finding] = []
    broken: list[str] = []
    for finding in findings:
        number = finding.found
        if all(math.isfinite(value) for value in (number.value, number.low, number.high)):
            nulls = tuple(null for null in finding.nulls if math.isfinite(null.value))
            sound.append(finding.model_copy(update={"nulls": nulls}))
        else:
            broken.append(finding.id)
    words = "no interval, as the effect that it is a share of is not clearly above 0"
    return tuple(sound), f"{words}: {', '.join(broken)}" if broken else ""
