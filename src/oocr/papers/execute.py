"""Runs a paper: computes missing cells in parallel processes, then judges the claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console

from oocr.claims.analysis_result import AnalysisResult
from oocr.claims.page_claims import KeptAnalysis, PaperVerdict
from oocr.errors import InputError
from oocr.io import command_line, key_of
from oocr.papers.kept_cell import KeptCell
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
from oocr.runs.processes.executor import Executor, Worker
from oocr.runs.processes.memory_plan import (
    MOST_WORKERS,
    WorkerSpec,
    available_memory,
    cores,
    device_parts,
    gpus_for,
    plan_workers,
)
from oocr.runs.progress import ProgressReport, progress_on
from oocr.runs.resolve import resolve
from oocr.words import short_list


@dataclass(frozen=True, slots=True, eq=False)
class ExperimentResult:
    """An experiment's results on one subject: findings, the figure's table, verdicts, cells."""

    experiment: AnyExperiment | Summary
    subject: str
    analysis: KeptAnalysis
    table: pl.DataFrame | None
    verdicts: tuple[PaperVerdict, ...]
    cells: tuple[KeptCell, ...]


def run_paper(
    paper: Paper,
    settings: PaperSettings,
    out: Path,
    *,
    console: Console,
    command: Sequence[str],
    workers: int | None = None,
) -> list[ExperimentResult]:
    """Compute the missing cells of a paper in the folder `out`, and judge its claims.

    `command`: words of the command that runs it again, for the verdicts. Progress is printed.

    InputError: a model does not exist or does not fit into memory; before anything is computed.
    """
    worker = Worker(lambda text: console.print(f"  {text}", highlight=False, markup=False))
    reasons: dict[str, list[str]] = {}
    cells: dict[str, list[KeptCell]] = {}
    without_model = [item for item in paper.experiments if isinstance(item, Experiment)]
    with_model = [item for item in paper.experiments if isinstance(item, ModelExperiment)]
    with Executor(worker) as executor, progress_on(console) as progress:
        for model_experiment in with_model:
            for name in dict.fromkeys(cell.model for cell in model_experiment.cells(settings)):
                _check_model(model_experiment.config(name), worker)
        for experiment in without_model:
            unique = dict.fromkeys(experiment.cells(settings))
            cells[experiment.name] = [KeptCell.of(experiment, cell, out) for cell in unique]
        _compute_without_model(without_model, cells, reasons, executor, workers, progress)
        for model_experiment in with_model:
            _compute_with_models(
                model_experiment, settings, out, cells, reasons, executor, workers, progress
            )
    results = [
        _judge_experiment(paper, experiment, subject, of_subject, reasons[experiment.name], command)
        for experiment in paper.experiments
        for subject, of_subject in _by_subject(experiment, cells[experiment.name]).items()
    ]
    summaries = [_judge_summary(paper, summary, results, command) for summary in paper.summaries]
    return results + summaries


def _check_model(config: RunConfig, worker: Worker) -> None:
    """Refuse a model that does not fit, by its configuration file; without one it is loaded."""
    check_weights(config)
    try:
        outline_for(config, counted=False)
    except InputError:
        worker.model(config)
    resolve(config, Path())


def _compute_without_model(
    experiments: Sequence[Experiment[Cell]],
    cells: dict[str, list[KeptCell]],
    reasons: dict[str, list[str]],
    executor: Executor,
    workers: int | None,
    progress: ProgressReport,
) -> None:
    """Compute all cells that need no model, in parallel across experiments."""
    jobs = {
        experiment.name: [
            (kept.cell.label, partial(kept.compute_once, partial(experiment.compute, kept.cell)))
            for kept in cells[experiment.name]
            if not kept.is_computed
        ]
        for experiment in experiments
    }
    all_jobs = [job for of_experiment in jobs.values() for job in of_experiment]
    count = min(workers or min(cores(), MOST_WORKERS), max(1, len(all_jobs)))
    outcomes = executor.do_plain(all_jobs, count)
    for name, of_experiment in jobs.items():
        reasons[name] = _collect(name, len(of_experiment), outcomes, progress)


def _compute_with_models(
    experiment: ModelExperiment[Cell],
    settings: PaperSettings,
    out: Path,
    cells: dict[str, list[KeptCell]],
    reasons: dict[str, list[str]],
    executor: Executor,
    workers: int | None,
    progress: ProgressReport,
) -> None:
    """Compute the cells of an experiment, one model after the other."""
    cells[experiment.name], reasons[experiment.name] = [], []
    unique = list(dict.fromkeys(experiment.cells(settings)))
    for name in dict.fromkeys(cell.model for cell in unique):
        spec, dependencies = _plan_model(experiment, name, executor.worker, workers)
        of_model = [
            KeptCell.of(experiment, cell, out, dependencies)
            for cell in unique
            if cell.model == name
        ]
        cells[experiment.name] += of_model
        jobs = [
            (kept.cell.label, spec, partial(_compute_with_context, kept, experiment.compute))
            for kept in of_model
            if not kept.is_computed
        ]
        label = f"{experiment.name} {name}"
        reasons[experiment.name] += _collect(label, len(jobs), executor.do(jobs), progress)


def _compute_with_context(
    kept: KeptCell, compute: Callable[[Cell, RunContext], Rows], context: RunContext
) -> str:
    return kept.compute_once(partial(compute, kept.cell, context))


def _plan_model(
    experiment: ModelExperiment[Cell], name: str, worker: Worker, workers: int | None
) -> tuple[WorkerSpec, dict[str, str]]:
    """The workers for the cells of a model, and the model's part of the cells' keys.

    InputError: the run that the experiment names does not fit into the memory of one process.
    """
    config = experiment.config(name)
    config = config if workers is None else config.model_copy(update={"workers": workers})
    run = resolve(config, Path())
    model = worker.model(run.config)
    needs = memory_estimate(run, model)
    devices = gpus_for(run.config, needs)
    memory = min(
        [available_memory(device_parts(model, run.config.starts)), *map(available_memory, devices)]
    )
    dependencies = {"model": model.fingerprint, "dtype": str(model.dtype)}
    return plan_workers(run.config, needs, memory, devices), dependencies


def _collect(
    label: str, count: int, outcomes: Iterator[tuple[str, str]], progress: ProgressReport
) -> list[str]:
    """Wait for the next `count` jobs and report progress; the reasons of cells without rows.

    An outcome is the label of a cell and "", or the reason why it has no rows.
    """
    progress.stage(label, count)
    cells_of: dict[str, list[str]] = {}
    for _ in range(count):
        cell, reason = next(outcomes)
        progress.advance(cell)
        if reason:
            cells_of.setdefault(reason, []).append(cell)
    return [
        reason if len(cells) == count else f"{reason} ({short_list(cells, most=3)})"
        for reason, cells in cells_of.items()
    ]


def _by_subject(experiment: AnyExperiment, cells: Sequence[KeptCell]) -> dict[str, list[KeptCell]]:
    """Subject -> cells that are judged together: all of them, or those of one model."""
    if isinstance(experiment, Experiment):
        return {experiment.subject: list(cells)}
    models = dict.fromkeys(kept.cell.model for kept in cells)
    return {name: [kept for kept in cells if kept.cell.model == name] for name in models}


def _judge_experiment(
    paper: Paper,
    experiment: AnyExperiment,
    subject: str,
    cells: Sequence[KeptCell],
    reasons: Sequence[str],
    command: Sequence[str],
) -> ExperimentResult:
    """Findings and verdicts from the computed cells of one subject."""
    computed = [cell for cell in cells if cell.is_computed]
    result = AnalysisResult()
    if computed:
        with result.attempt():
            rows = pl.concat([cell.rows() for cell in computed], how="diagonal_relaxed")
            result = experiment.analyse(rows)
    result.reasons += list(dict.fromkeys(reasons))
    analysis = KeptAnalysis(
        name=experiment.name,
        key=key_of([cell.key for cell in computed]),
        model="" if isinstance(experiment, Experiment) else subject,
        findings=result.sound(),
        missing=result.missing,
        seconds=round(sum(cell.seconds for cell in computed), 1),
        table=result.table is not None,
    )
    verdicts = _verdicts(paper, experiment, analysis, subject, command)
    return ExperimentResult(experiment, subject, analysis, result.table, verdicts, tuple(computed))


def _judge_summary(
    paper: Paper, summary: Summary, results: Sequence[ExperimentResult], command: Sequence[str]
) -> ExperimentResult:
    """Findings and verdicts of a summary, from the analyses of other experiments."""
    analyses: dict[str, dict[str, KeptAnalysis]] = {name: {} for name in summary.reads}
    for finished in results:
        if finished.experiment.name in analyses:
            analyses[finished.experiment.name][finished.subject] = finished.analysis
    result = AnalysisResult()
    with result.attempt():
        result = summary.analyse(analyses)
    analysis = KeptAnalysis(
        name=summary.name,
        key=key_of([kept.key for by_subject in analyses.values() for kept in by_subject.values()]),
        model="",
        findings=result.sound(),
        missing=result.missing,
        table=result.table is not None,
    )
    verdicts = _verdicts(paper, summary, analysis, summary.subject, command)
    return ExperimentResult(summary, summary.subject, analysis, result.table, verdicts, ())


def _verdicts(
    paper: Paper,
    experiment: AnyExperiment | Summary,
    analysis: KeptAnalysis,
    subject: str,
    command: Sequence[str],
) -> tuple[PaperVerdict, ...]:
    """Verdicts on the claims that an experiment answers."""
    return tuple(
        claim.judge(
            analysis, subject, experiment.about, command_line([*command, "--only", claim.id])
        )
        for claim in paper.claims
        if claim.analysis == experiment.name
    )
