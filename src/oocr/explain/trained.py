"""Arms that an explanation trained itself: what they are asked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from oocr import stats
from oocr.engine.forward import Intervention
from oocr.evals.score_table import Scores, evaluate
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPoint:
    """An arm with its answers to the probes and the in-context test examples of its task.

    Attributes:
        member: of its task.
        scores: its rows, and how they are scored.
    """

    member: str
    scores: Scores = field(repr=False)

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


def ask(model: LanguageModel, task: Task, arms: Mapping[str, Intervention]) -> dict[str, Scores]:
    """Each arm's answers to the task's probes and in-context test examples."""
    scores = evaluate(model, replace(task, paper=()), arms)
    by_arm = {name: scores.rows.filter(pl.col("arm") == name) for name in arms}
    return {name: Scores(rows, scores.scoring) for name, rows in by_arm.items()}


def as_list(task: Task | Sequence[Task]) -> list[Task]:
    """One task or several, as a list."""
    return [task] if isinstance(task, Task) else list(task)
