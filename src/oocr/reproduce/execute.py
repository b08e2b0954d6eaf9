"""Analyses of finished runs in parallel processes, and the verdicts on their findings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape

from oocr.claims.page_claims import KeptAnalysis, PaperVerdict
from oocr.explain.llm_judge import Judge
from oocr.io import command_line, key_of
from oocr.leases import Claims
from oocr.models.out_of_memory import memory_errors
from oocr.reproduce.analyses import analyses
from oocr.reproduce.analysis import analyse
from oocr.reproduce.finished_runs import FinishedRun, FinishedRuns, read_finished
from oocr.reproduce.plan import Plan, PlanPart
from oocr.runs.context import RunContext
from oocr.runs.estimates.memory_estimate import memory_estimate
from oocr.runs.processes.executor import Executor, Job, Worker
from oocr.runs.processes.memory_plan import (
    WorkerSpec,
    available_memory,
    device_parts,
    gpus_for,
    plan_workers,
)
from oocr.runs.progress import ProgressReport
from oocr.stores import FolderStore
from oocr.work.shared_jobs import SharedJobs

MORE_ROOM = (
    "Finished analyses are kept, and the same command continues. If nothing else can leave "
    "the memory: workers 1, or dtype bfloat16 in the runs"
)

Measured = tuple[KeptAnalysis, pl.DataFrame | None]  # the table of its figure


@dataclass(frozen=True, slots=True)
class PartSpec:
    """A part of a plan with what a process needs for its analyses (run's name -> run)."""

    part: PlanPart
    runs: Mapping[str, FinishedRun]
    quick: bool
    judge: Judge | None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of the runs."""
        return tuple(run.folder for run in self.runs.values())

    def finished(self, context: RunContext) -> FinishedRuns:
        """The part's finished runs; cached for all its analyses with this context."""
        key = ("finished runs", self.part.kind, self.quick, *self.folders)
        return context.kept(key, lambda: self._finished(context))

    def _finished(self, context: RunContext) -> FinishedRuns:
        def runs_of(names: Sequence[str]) -> tuple[FinishedRun, ...]:
            return tuple(self.runs[name] for name in names)

        part, quick = self.part, self.quick
        others = {
            name: FinishedRuns(name, runs_of(names), context, quick=quick)
            for name, names in part.compare_with.items()
        }
        return FinishedRuns(part.kind, runs_of(part.runs), context, others, quick, self.judge)


@dataclass(frozen=True, slots=True, eq=False)
class PartResult:
    """A part with its analyses by name and its verdicts in the paper's order, for the page."""

    part: PlanPart
    folders: tuple[Path, ...]
    analyses: dict[str, Measured]
    judged: tuple[PaperVerdict, ...]


def answer(
    plan: Plan,
    folders: Mapping[str, Path],
    *,
    console: Console,
    again: Sequence[str],
    judge: Judge | None = None,
    lease: float | None = None,
) -> list[PartResult]:
    """All parts' analyses and verdicts, from finished runs (run's name -> folder).

    `again`: the words of the command that repeats it; progress is printed. With a `lease` (seconds)
    the analyses are shared with other processes.
    """
    names = dict.fromkeys(name for part in plan.parts for name in part.every_run)
    runs = {name: read_finished(folders[name]) for name in names}
    specs = [
        PartSpec(part, {name: runs[name] for name in part.every_run}, plan.quick, judge)
        for part in plan.parts
    ]
    worker = Worker()
    # Labels are indices: several parts may be of one kind.
    jobs: list[tuple[str, WorkerSpec, Job[tuple[Measured, float]]]] = [
        (str(place), workers, partial(_measure, spec, name))
        for place, (spec, workers) in enumerate(zip(specs, _workers(specs, worker), strict=True))
        for name in spec.part.analyses
    ]
    measured: list[dict[str, Measured]] = [{} for _ in specs]
    with Executor(worker) as executor:
        if lease is not None:
            _share(jobs, specs, executor, lease)
        for label, ((analysis, table), seconds) in executor.do(jobs):
            results, part = measured[int(label)], plan.parts[int(label)]
            if not results:
                console.print(f"\n[bold]{part.kind}[/]  {escape(part.about)}", highlight=False)
            results[analysis.name] = (analysis, table)
            console.print(f"  {analysis.name:<34}{seconds:6.1f} s", highlight=False)
    answers: list[PartResult] = []
    for spec, results in zip(specs, measured, strict=True):
        judged: list[PaperVerdict] = []
        for claim in spec.part.claims:
            command = command_line([*again, "--only", claim.id])
            analysis = results[claim.analysis][0]
            judged.append(claim.judge(analysis, spec.part.kind, spec.part.about, command))
        answers.append(PartResult(spec.part, spec.folders, results, tuple(judged)))
    return answers


def _share(
    jobs: Sequence[tuple[str, WorkerSpec, Job[Any]]],
    specs: Sequence[PartSpec],
    executor: Executor,
    lease: float,
) -> None:
    """Compute the analyses that no other process has taken, until all are in the cache."""
    runs = {run.folder: run.rows_hash for spec in specs for run in spec.runs.values()}
    parts = [[spec.part.kind, *spec.part.analyses] for spec in specs]
    state = key_of(parts, list(runs.values()), specs[0].quick, specs[0].judge is not None)
    store = FolderStore(next(iter(runs)).parent / ".work" / f"analyses-{state}")
    names = [name for spec in specs for name in spec.part.analyses]
    tasks = [place for place, _, _ in jobs]  # analyses of a part share what they record
    begin = [
        (name, partial(executor.submit, *job, task))
        for name, job, task in zip(names, jobs, tasks, strict=True)
    ]
    with Claims(lease) as claims:
        most = min(spec.workers for _, spec, _ in jobs)
        shared = SharedJobs(claims, ProgressReport())
        shared.do(store, "analyses", begin, (), executor.result, most, tasks)


def _workers(specs: Sequence[PartSpec], worker: Worker) -> list[WorkerSpec]:
    """The workers of each part; all parts get the smallest number of processes that fits."""
    planned: list[WorkerSpec] = []
    for spec in specs:
        run = spec.runs[spec.part.runs[0]]
        model = worker.model(run.config)
        needs = memory_estimate(run.resolved, model)
        devices = gpus_for(run.config, needs)
        available = min(
            [
                available_memory(device_parts(model, run.config.starts)),
                *map(available_memory, devices),
            ]
        )
        planned.append(plan_workers(run.config, needs, available, devices))
    # A judge's replies are in one file, so only one process may ask it.
    asks = any(spec.judge is not None for spec in specs)
    count = 1 if asks else min((spec.workers for spec in planned), default=1)
    return [replace(spec, workers=count) for spec in planned]


def _measure(spec: PartSpec, name: str, context: RunContext) -> tuple[Measured, float]:
    """One analysis, in a worker process."""
    finished = spec.finished(context)
    began = time.perf_counter()
    with memory_errors(f"doing the analysis {name}", MORE_ROOM):
        return analyse(finished, analyses()[name]), time.perf_counter() - began
