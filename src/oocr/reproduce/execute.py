"""Analyses of finished runs, in as many processes as there are cores, and the verdicts on them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console

from oocr.explain.judge import Judge
from oocr.reproduce.analyse import analyse
from oocr.reproduce.finished_runs import FinishedRun, FinishedRuns, read_finished
from oocr.reproduce.part_result import PartResult
from oocr.reproduce.plan import Part, Plan
from oocr.reproduce.records import Analysis
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

Made = tuple[Analysis, pl.DataFrame | None, float]
"""An analysis, the table behind its figure, and the seconds that it took now."""


@dataclass(frozen=True, slots=True)
class PartSpec:
    """One part of a plan with all that a process needs to do its analyses.

    Attributes:
        part: its runs and claims.
        folders: name of a run -> its folder.
        quick: analyses do less.
        judge: a model that reads what directions say, where one was named.
    """

    part: Part
    folders: Mapping[str, Path]
    quick: bool
    judge: Judge | None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal where the subject is the same."""
        return (self.part.kind, self.quick, *self.folders.items())


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
        console: told of what is going on.
        again: the words of the command that redoes it.
        judge: a model that reads what directions say.
    """
    asked = [
        PartSpec(part, {name: folders[name] for name in part.every_run}, plan.quick, judge)
        for part in plan.parts
    ]
    # By place: several parts may be of one kind.
    made: list[dict[str, tuple[Analysis, pl.DataFrame | None]]] = [{} for _ in asked]
    for label, (analysis, table, seconds) in _all(asked):
        own, part = made[int(label)], plan.parts[int(label)]
        if not own:
            console.print(f"\n[bold]{part.kind}[/]  {part.about}", highlight=False)
        own[analysis.name] = (analysis, table)
        console.print(f"  {analysis.name:<34}{seconds:6.1f} s", highlight=False)
    return [
        PartResult(
            one.part,
            tuple(one.folders.values()),
            own,
            tuple(
                claim.judge(
                    own[claim.analysis][0],
                    one.part.kind,
                    one.part.about,
                    shlex.join([*again, "--only", claim.id]),
                )
                for claim in one.part.claims
            ),
        )
        for one, own in zip(asked, made, strict=True)
    ]


def _all(asked: Sequence[PartSpec]) -> Iterator[tuple[str, Made]]:
    """Each part's place and one of its analyses, in the order in which they are asked for."""
    models = ModelSlot()
    jobs: list[tuple[str, WorkerSpec, Job[Made]]] = [
        (str(number), spec, partial(_analysed, part, name))
        for number, (part, spec) in enumerate(zip(asked, _specs(asked, models), strict=True))
        for name in part.part.analyses
    ]
    try:
        with ProcessExecutor(SerialExecutor(models)) as executor:
            yield from executor.do(jobs)
    finally:
        _SUBJECT.clear()  # it holds the model


def _specs(asked: Sequence[PartSpec], models: ModelSlot) -> list[WorkerSpec]:
    """Where each part's analyses are done, all in as many processes as memory allows for each."""
    specs: list[WorkerSpec] = []
    for part in asked:
        folder = part.folders[part.part.runs[0]]
        config = read_finished(folder).config
        model = models.model(config)
        needs = memory_estimate(resolve(config, folder), model)
        fit, threads = plan_workers(needs, config.workers, room_for(model.device))
        budget = None if needs.on_device else fit.budget
        specs.append(WorkerSpec(config, threads, fit.workers, budget))
    # A judge keeps its replies in one file, so that only one process may ask it.
    asks = any(part.judge is not None for part in asked)
    workers = 1 if asks else min((spec.workers for spec in specs), default=1)
    return [replace(spec, workers=workers) for spec in specs]


_SUBJECT: list[tuple[object, FinishedRuns]] = []
"""This process's latest subject and what it was made from."""


def _analysed(asked: PartSpec, name: str, lab: RunContext) -> Made:
    """One analysis, here."""
    if not _SUBJECT or _SUBJECT[0][0] != asked.key or _SUBJECT[0][1].lab is not lab:
        _SUBJECT.clear()
        _SUBJECT.append((asked.key, subject_of(asked, lab)))
    began = time.perf_counter()
    analysis, table = analyse(_SUBJECT[0][1], name)
    return analysis, table, time.perf_counter() - began


def subject_of(asked: PartSpec, lab: RunContext) -> FinishedRuns:
    """A part's finished runs, read."""
    runs: dict[str, FinishedRun] = {name: read_finished(one) for name, one in asked.folders.items()}
    beside = {
        name: FinishedRuns(name, tuple(runs[one] for one in some), lab, {}, asked.quick)
        for name, some in asked.part.beside.items()
    }
    own = tuple(runs[name] for name in asked.part.runs)
    return FinishedRuns(asked.part.kind, own, lab, beside, asked.quick, asked.judge)
