"""Analyses of finished runs, in as many processes as there are cores, and the verdicts on them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console

from oocr.explain.llm_judge import Judge
from oocr.reproduce.analyses import analyses
from oocr.reproduce.analysis import analyse
from oocr.reproduce.claims import KeptAnalysis, PaperVerdict
from oocr.reproduce.finished_runs import FinishedRuns, read_finished
from oocr.reproduce.plan import Plan, PlanPart
from oocr.runs.context import RunContext
from oocr.runs.executor import (
    Job,
    ModelSlot,
    ProcessExecutor,
    SerialExecutor,
    WorkerSpec,
    plan_workers,
)
from oocr.runs.memory_estimate import memory_estimate
from oocr.runs.memory_plan import room_for
from oocr.runs.resolve import resolve

Measured = tuple[KeptAnalysis, pl.DataFrame | None]
"""An analysis, and the table behind its figure."""

Timed = tuple[KeptAnalysis, pl.DataFrame | None, float]


@dataclass(frozen=True, slots=True)
class PartSpec:
    """A part of a plan, and all that a process needs to do its analyses (run's name -> folder)."""

    part: PlanPart
    folders: Mapping[str, Path]
    quick: bool
    judge: Judge | None

    def finished(self, context: RunContext) -> FinishedRuns:
        """The part's finished runs, read once per context."""
        key = ("finished runs", self.part.kind, self.quick, *self.folders.items())
        return context.kept(key, lambda: self._read(context))

    def _read(self, context: RunContext) -> FinishedRuns:
        runs = {name: read_finished(folder) for name, folder in self.folders.items()}
        compare_with = {
            name: FinishedRuns(name, tuple(runs[run] for run in names), context, {}, self.quick)
            for name, names in self.part.compare_with.items()
        }
        reported = tuple(runs[run] for run in self.part.runs)
        return FinishedRuns(self.part.kind, reported, context, compare_with, self.quick, self.judge)


@dataclass(frozen=True, slots=True, eq=False)
class PartResult:
    """A part with its analyses by name and verdicts in the paper's order, for the page."""

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
) -> list[PartResult]:
    """Every part's analyses and verdicts, from finished runs.

    Args:
        plan: parts.
        folders: name of a run -> its folder.
        console: where progress is printed.
        again: the words of the command that redoes it.
        judge: a model that reads what directions say.
    """
    specs = [
        PartSpec(part, {name: folders[name] for name in part.every_run}, plan.quick, judge)
        for part in plan.parts
    ]
    models = ModelSlot()
    # Labels are places: several parts may be of one kind.
    jobs: list[tuple[str, WorkerSpec, Job[Timed]]] = [
        (str(place), worker, partial(_measure, spec, name))
        for place, (spec, worker) in enumerate(zip(specs, _workers(specs, models), strict=True))
        for name in spec.part.analyses
    ]
    measured: list[dict[str, Measured]] = [{} for _ in specs]
    with ProcessExecutor(SerialExecutor(models)) as executor:
        for label, (analysis, table, seconds) in executor.do(jobs):
            results, part = measured[int(label)], plan.parts[int(label)]
            if not results:
                console.print(f"\n[bold]{part.kind}[/]  {part.about}", highlight=False)
            results[analysis.name] = (analysis, table)
            console.print(f"  {analysis.name:<34}{seconds:6.1f} s", highlight=False)
    answers: list[PartResult] = []
    for spec, results in zip(specs, measured, strict=True):
        part = spec.part
        judged = [
            claim.judge(
                results[claim.analysis][0], part.kind, part.about, _command(again, claim.id)
            )
            for claim in part.claims
        ]
        answers.append(PartResult(part, tuple(spec.folders.values()), results, tuple(judged)))
    return answers


def _command(again: Sequence[str], claim: str) -> str:
    return shlex.join([*again, "--only", claim])


def _workers(specs: Sequence[PartSpec], models: ModelSlot) -> list[WorkerSpec]:
    """Where each part's analyses are done, all in as many processes as memory allows for each."""
    workers: list[WorkerSpec] = []
    for spec in specs:
        folder = spec.folders[spec.part.runs[0]]
        config = read_finished(folder).config
        model = models.model(config)
        needs = memory_estimate(resolve(config, folder), model)
        fit, threads = plan_workers(needs, config.workers, room_for(model.device))
        budget = None if needs.on_device else fit.budget
        workers.append(WorkerSpec(config, threads, fit.workers, budget))
    # A judge keeps its replies in one file, so that only one process may ask it.
    asks = any(spec.judge is not None for spec in specs)
    count = 1 if asks else min((worker.workers for worker in workers), default=1)
    return [replace(worker, workers=count) for worker in workers]


def _measure(spec: PartSpec, name: str, context: RunContext) -> Timed:
    """One analysis, in this process."""
    finished = spec.finished(context)
    began = time.perf_counter()
    analysis, table = analyse(finished, analyses()[name])
    return analysis, table, time.perf_counter() - began
