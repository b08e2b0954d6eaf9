"""Newly trained arms and their scores: with other ranks, a penalty, or other rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from oocr import stats
from oocr.engine.training import Trained
from oocr.evals.score_table import Scores, evaluate
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPoint:
    """An arm of a member's task, with its answers to the probes and the in-context test."""

    member: str
    scores: Scores = field(repr=False)
    trained: Trained = field(repr=False)

    @property
    def right(self) -> float:
        """Share of the probes answered right; facets count alike."""
        return self._score("probes")

    @property
    def in_context(self) -> float:
        """Share of the in-context test examples answered right; facets count alike."""
        return self._score("in_context")

    def _score(self, split: str) -> float:
        cells = self.scores.scoring.score(self.scores.rows.filter(pl.col("part") == split))
        return float("nan") if cells is None else stats.mean(cells)

    @property
    def loss(self) -> float:
        """Training loss before the last step, in nats per example."""
        return self.trained.losses[-1]

    @property
    def arm(self) -> Vector | Adapter:
        """The trained vector or adapter."""
        return self.trained.final

    @property
    def adapter(self) -> Adapter:
        """The trained LoRA."""
        assert isinstance(self.trained.final, Adapter)
        return self.trained.final


def score_arms(
    model: LanguageModel, tasks: Sequence[Task], trained: Sequence[Trained]
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Score arms on the questions of their tasks: settings (outer) times tasks (inner).

    Yields the index of the setting, the index of the task, and the fields of a `TrainedPoint`.
    """
    answers: dict[int, Scores] = {}
    for number, task in enumerate(tasks):
        places = range(number, len(trained), len(tasks))
        arms = {str(place): trained[place].final for place in places}
        scores = evaluate(model, replace(task, paper=()), arms)
        for place in places:
            rows = scores.rows.filter(pl.col("arm") == str(place))
            answers[place] = Scores(rows, scores.scoring)
    for place, arm in enumerate(trained):
        setting, number = divmod(place, len(tasks))
        fields = {"member": tasks[number].member, "scores": answers[place], "trained": arm}
        yield setting, number, fields


def as_list(task: Task | Sequence[Task]) -> list[Task]:
    """One task, or several."""
    return [task] if isinstance(task, Task) else list(task)
