"""Finished runs of one task as analyses see them: tasks, arms, rows, and their model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from oocr.errors import InputError
from oocr.explain.judge import Judge
from oocr.models.language_model import LanguageModel
from oocr.runs.arms import load_intervention
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.runs.explain_stage import swap_positions
from oocr.runs.folder_reader import RunFolder
from oocr.runs.records import ArmRecord
from oocr.runs.resolve import resolve
from oocr.runs.self_labels import with_own_answers
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task, TaskSet

Who = tuple[str, int]
"""Member and seed."""

ROWS = "rows.parquet"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run's folder.

    Attributes:
        folder: where it lies.
        config: its resolved configuration.
        arms: everything it reports: not what was only trained to choose, nor what lies in its
            folder from an earlier choice.
        rows: everything it scored.
    """

    folder: Path
    config: RunConfig
    arms: tuple[ArmRecord, ...]
    rows: pl.DataFrame

    @cached_property
    def rows_hash(self) -> str:
        """Of the file of all rows."""
        return hashlib.sha256((self.folder / ROWS).read_bytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class FinishedRuns:
    """Runs of the same task: one that trained both methods, or one for each.

    Attributes:
        name: what the page calls it.
        runs: the runs; analyses are kept in the first one's folder.
        lab: the model, and recordings that all analyses of this subject share.
        beside: other subjects that an analysis compares with, by name.
        quick: fewer of everything.
        judge: a model that reads what directions say, where one was named.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    lab: RunContext
    beside: Mapping[str, FinishedRuns]
    quick: bool = False
    judge: Judge | None = None

    @cached_property
    def tasks(self) -> TaskSet:
        """The tasks as they were trained."""
        first = self.runs[0]
        tasks = resolve(first.config, first.folder).tasks
        return with_own_answers(tasks, self.model, first.folder)

    @property
    def model(self) -> LanguageModel:
        """The model, nothing attached."""
        return self.lab.model

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Every run's rows."""
        return pl.concat([run.rows for run in self.runs], how="diagonal_relaxed")

    @cached_property
    def vectors(self) -> dict[Who, Vector]:
        """The reported trained vectors."""
        found = self._loaded("vector")
        return {who: one for who, one in found.items() if isinstance(one, Vector)}

    @cached_property
    def adapters(self) -> dict[Who, Adapter]:
        """The reported one-layer LoRAs."""
        found = self._loaded("adapter")
        return {
            who: one
            for who, one in found.items()
            if isinstance(one, Adapter) and len(one.layers) == 1
        }

    @property
    def members(self) -> tuple[str, ...]:
        """Who the reported tasks are about."""
        return tuple(task.member for task in self.tasks.test)

    @property
    def positions(self) -> str:
        """Where the runs read their LoRAs."""
        run = next((run for run in self.runs if run.config.adapter is not None), self.runs[0])
        return swap_positions(run.config, self.tasks)

    def task(self, member: str) -> Task:
        """A member's task."""
        return next(task for task in self.tasks.test if task.member == member)

    def _loaded(self, method: str) -> dict[Who, Vector | Adapter]:
        return {
            (arm.member, arm.seed): load_intervention(run.folder / "arms", arm)
            for run in self.runs
            for arm in run.arms
            if arm.method == method and arm.role == "test"
        }


def read_finished(folder: Path) -> FinishedRun:
    """Read a finished run's folder.

    Raises:
        InputError: a file that is missing or cannot be read.
    """
    run = RunFolder(folder)
    rows = run.table("rows")
    if rows is None:
        raise InputError(f"{folder / ROWS} is missing or empty; do the run again")
    return FinishedRun(folder, run.config, run.arms, rows)


def seeds(whos: Sequence[Who]) -> int:
    """How many seeds there are."""
    return len({seed for _, seed in whos})
