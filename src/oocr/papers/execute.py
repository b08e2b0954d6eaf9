"""Doing a paper: its cells in as many processes as there are cores, each kept; then the verdicts.

In the folder of all runs:
    papers/<experiment>/<key>/rows.parquet   the rows of one cell
    papers/<experiment>/<key>/cell.json      its settings, and how many seconds it took
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console

from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.page_claims import KeptAnalysis, PaperVerdict
from oocr.errors import InputError
from oocr.io import command_line, is_kept, key_of, lock_of, locked, write_json
from oocr.papers.paper import (
    AnyExperiment,
    Cell,
    Experiment,
    ModelExperiment,
    Paper,
    PaperSettings,
    Rows,
    Summary,
)
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.runs.estimates.memory_estimate import check_weights, memory_estimate, outline_for
from oocr.runs.executor import Executor, Worker
from oocr.runs.folder import kept_rows
from oocr.runs.memory_plan import (
    MOST_WORKERS,
    WorkerSpec,
    cores,
    device_parts,
    gpus_for,
    plan_workers,
    room_for,
)
from oocr.runs.progress import ProgressReport, progress_on
from oocr.runs.resolve import resolve
from oocr.words import some_of


@dataclass(frozen=True, slots=True)
class CellWork:
    """A cell with the folder and the key under which its rows are kept."""

    cell: Cell
    folder: Path
    key: str

    @classmethod
    def of(cls, experiment: AnyExperiment, cell: Cell, out: Path, *computed: object) -> CellWork:
        """The work of a cell; `computed`: what else its numbers depend on."""
        key = key_of(experiment.name, experiment.version, cell.model_dump(), *computed)
        return cls(cell, out / "papers" / experiment.name / key, key)

    def keep(self, compute: Callable[[], Rows]) -> str:
        """Compute and keep the rows, unless they are kept already; the reason if there are none.

        If another process computes them now, wait for it.
        """

        def make(part: Path) -> pl.DataFrame:
            began = time.perf_counter()
            rows = compute()
            seconds = round(time.perf_counter() - began, 2)
            write_json(part / "cell.json", {"cell": self.cell.model_dump(), "seconds": seconds})
            return pl.DataFrame(rows, infer_schema_length=None)

        try:
            with locked(lock_of(self.folder), when_busy=lambda: None):
                kept_rows(self.folder, self.key, make)
        except NotMeasuredError as reason:
            return str(reason)
        return ""

    def table(self) -> pl.DataFrame:
        """The kept rows, with the cell's settings as columns where they have none of that name."""
        table = kept_rows(self.folder, self.key, _not_kept)
        settings = self.cell.model_dump(exclude=set(table.columns))
        plain = {name: value for name, value in settings.items() if not isinstance(value, tuple)}
        return table.with_columns(pl.lit(value).alias(name) for name, value in plain.items())

    @property
    def seconds(self) -> float:
        """How long it took, whenever that was."""
        text = (self.folder / "cell.json").read_text(encoding="utf-8")
        return float(json.loads(text)["seconds"])


def _not_kept(folder: Path) -> pl.DataFrame:
    raise AssertionError(f"{folder} was kept and is gone")


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentResult:
    """An experiment on one subject: its findings, the figure's table, verdicts, and its cells."""

    experiment: AnyExperiment | Summary
    subject: str
    analysis: KeptAnalysis
    table: pl.DataFrame | None
    judged: tuple[PaperVerdict, ...]
    cells: tuple[CellWork, ...]


def do_paper(
    paper: Paper,
    settings: PaperSettings,
    out: Path,
    *,
    console: Console,
    again: Sequence[str],
    workers: int | None = None,
) -> list[ExperimentResult]:
    """Compute what is missing of a paper's cells in the folder `out`, and judge its claims.

    `again` are the words of the command that redoes it; progress is printed.

    InputError: a model that is not there or has no room; before anything is computed.
    """
    worker = Worker(lambda text: console.print(f"  {text}", highlight=False, markup=False))
    reasons: dict[str, list[str]] = {}
    works: dict[str, list[CellWork]] = {}
    plain = [item for item in paper.experiments if isinstance(item, Experiment)]
    asking_models = [item for item in paper.experiments if isinstance(item, ModelExperiment)]
    with Executor(worker) as executor, progress_on(console) as progress:
        for asking in asking_models:
            for name in dict.fromkeys(cell.model for cell in asking.cells(settings)):
                _check_model(asking.config(name), worker)
        for experiment in plain:
            cells = dict.fromkeys(experiment.cells(settings))
            works[experiment.name] = [CellWork.of(experiment, cell, out) for cell in cells]
        _do_plain(plain, works, reasons, executor, workers, progress)
        for asking in asking_models:
            _do_on_models(asking, settings, out, works, reasons, executor, workers, progress)
    results = [
        _judged(paper, experiment, subject, of_subject, reasons[experiment.name], again)
        for experiment in paper.experiments
        for subject, of_subject in _by_subject(experiment, works[experiment.name]).items()
    ]
    return results + [_summed_up(paper, summary, results, again) for summary in paper.summaries]


def _check_model(config: RunConfig, worker: Worker) -> None:
    """Refuse a model by its configuration file; one that is not here yet is loaded."""
    check_weights(config)
    try:
        outline_for(config, counted=False)
    except InputError:
        worker.model(config)
    resolve(config, Path())


def _do_plain(
    experiments: Sequence[Experiment[Cell]],
    works: dict[str, list[CellWork]],
    reasons: dict[str, list[str]],
    executor: Executor,
    workers: int | None,
    progress: ProgressReport,
) -> None:
    """All cells that need no model, side by side across experiments."""
    jobs = {
        experiment.name: [
            (work.cell.label, partial(work.keep, partial(experiment.compute, work.cell)))
            for work in works[experiment.name]
            if not is_kept(work.folder, work.key)
        ]
        for experiment in experiments
    }
    together = [job for of_experiment in jobs.values() for job in of_experiment]
    count = min(workers or min(cores(), MOST_WORKERS), max(1, len(together)))
    done = executor.do_plain(together, count)
    for name, of_experiment in jobs.items():
        reasons[name] = _each(name, len(of_experiment), done, progress)


def _do_on_models(
    experiment: ModelExperiment[Cell],
    settings: PaperSettings,
    out: Path,
    works: dict[str, list[CellWork]],
    reasons: dict[str, list[str]],
    executor: Executor,
    workers: int | None,
    progress: ProgressReport,
) -> None:
    """The cells of an experiment, one model after the other."""
    works[experiment.name], reasons[experiment.name] = [], []
    cells = list(dict.fromkeys(experiment.cells(settings)))
    for name in dict.fromkeys(cell.model for cell in cells):
        spec, computed = _on_model(experiment, name, executor.worker, workers)
        of_model = [
            CellWork.of(experiment, cell, out, computed) for cell in cells if cell.model == name
        ]
        works[experiment.name] += of_model
        jobs = [
            (work.cell.label, spec, partial(_keep_on_model, work, experiment.compute))
            for work in of_model
            if not is_kept(work.folder, work.key)
        ]
        label = f"{experiment.name} {name}"
        reasons[experiment.name] += _each(label, len(jobs), executor.do(jobs), progress)


def _keep_on_model(
    work: CellWork, compute: Callable[[Cell, RunContext], Rows], context: RunContext
) -> str:
    return work.keep(partial(compute, work.cell, context))


def _on_model(
    experiment: ModelExperiment[Cell], name: str, worker: Worker, workers: int | None
) -> tuple[WorkerSpec, dict[str, str]]:
    """Where cells of a model are done, and what of it their numbers depend on.

    InputError: not even one process has room for the run that the experiment names.
    """
    config = experiment.config(name)
    config = config if workers is None else config.model_copy(update={"workers": workers})
    run = resolve(config, Path())
    model = worker.model(run.config)
    needs = memory_estimate(run, model)
    devices = gpus_for(run.config, needs)
    room = min([room_for(device_parts(model, run.config.starts)), *map(room_for, devices)])
    computed = {"model": model.fingerprint, "dtype": str(model.dtype)}
    return plan_workers(run.config, needs, room, devices), computed


def _each(
    label: str, count: int, done: Iterator[tuple[str, str]], progress: ProgressReport
) -> list[str]:
    """Report the next `count` jobs as they finish; the reasons of those that gave no rows."""
    progress.stage(label, count)
    cells_of: dict[str, list[str]] = {}
    for _ in range(count):
        cell, reason = next(done)
        progress.advance(cell)
        if reason:
            cells_of.setdefault(reason, []).append(cell)
    return [
        reason if len(cells) == count else f"{reason} ({some_of(cells, most=3)})"
        for reason, cells in cells_of.items()
    ]


def _by_subject(experiment: AnyExperiment, works: Sequence[CellWork]) -> dict[str, list[CellWork]]:
    """The cells that are judged together: all of them, or those of each model."""
    if isinstance(experiment, Experiment):
        return {experiment.subject: list(works)}
    models = dict.fromkeys(work.cell.model for work in works)
    return {name: [work for work in works if work.cell.model == name] for name in models}


def _judged(
    paper: Paper,
    experiment: AnyExperiment,
    subject: str,
    works: Sequence[CellWork],
    reasons: Sequence[str],
    again: Sequence[str],
) -> ExperimentResult:
    """Findings and verdicts from the kept cells of one subject."""
    kept = [work for work in works if is_kept(work.folder, work.key)]
    result = AnalysisResult()
    if kept:
        with result.attempt():
            rows = pl.concat([work.table() for work in kept], how="diagonal_relaxed")
            result = experiment.analyse(rows)
    result.reasons += list(dict.fromkeys(reasons))
    analysis = KeptAnalysis(
        name=experiment.name,
        key=key_of([work.key for work in kept]),
        model="" if isinstance(experiment, Experiment) else subject,
        findings=result.sound(),
        missing=result.missing,
        seconds=round(sum(work.seconds for work in kept), 1),
        table=result.table is not None,
    )
    judged = _verdicts(paper, experiment, analysis, subject, again)
    return ExperimentResult(experiment, subject, analysis, result.table, judged, tuple(kept))


def _summed_up(
    paper: Paper, summary: Summary, results: Sequence[ExperimentResult], again: Sequence[str]
) -> ExperimentResult:
    """Findings and verdicts from those of other experiments."""
    known: dict[str, dict[str, KeptAnalysis]] = {name: {} for name in summary.reads}
    for done in results:
        if done.experiment.name in known:
            known[done.experiment.name][done.subject] = done.analysis
    result = AnalysisResult()
    with result.attempt():
        result = summary.analyse(known)
    analysis = KeptAnalysis(
        name=summary.name,
        key=key_of([kept.key for by_subject in known.values() for kept in by_subject.values()]),
        model="",
        findings=result.sound(),
        missing=result.missing,
        table=result.table is not None,
    )
    judged = _verdicts(paper, summary, analysis, summary.subject, again)
    return ExperimentResult(summary, summary.subject, analysis, result.table, judged, ())


def _verdicts(
    paper: Paper,
    experiment: AnyExperiment | Summary,
    analysis: KeptAnalysis,
    subject: str,
    again: Sequence[str],
) -> tuple[PaperVerdict, ...]:
    """On the claims that an experiment answers."""
    return tuple(
        claim.judge(analysis, subject, experiment.about, command_line([*again, "--only", claim.id]))
        for claim in paper.claims
        if claim.analysis == experiment.name
    )
