"""What claims need of a run: its tasks, its rows and how they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from oocr.claims.records import Estimate, Null
from oocr.evals.scores import Scoring
from oocr.stats import Cells, Interval
from oocr.tasks.task import TaskSet

NAMES = {"vector": "a steering vector", "adapter": "a one-layer LoRA"}


@dataclass(frozen=True)
class RunResults:
    """All that claims need of a run.

    Attributes:
        tasks: the run's tasks.
        rows: one row per item scored (columns: `oocr.runs.records`).
        seeds: of each trained arm.
        constancy: one row per adapter and token group, if that was measured.
    """

    tasks: TaskSet
    rows: pl.DataFrame
    seeds: int
    constancy: pl.DataFrame | None = None

    @cached_property
    def scoring(self) -> Scoring:
        """How the rows are scored."""
        return Scoring.of(self.tasks)

    @property
    def several(self) -> bool:
        """Whether there are members to draw from, or only one."""
        return len(self.tasks.test) > 1

    def cells(
        self, arm: str, control: str = "", part: str = "probes", seed: int | None = None
    ) -> Cells | None:
        """The score of an arm; None without such rows."""
        return self.scoring.cells(self.rows, arm, control, part, seed)


def seeds_of(count: int) -> str:
    """So many seeds, in words."""
    return f"{count} seed" + ("" if count == 1 else "s")


def n_of(cells: Cells, units: str) -> str:
    """How many units were drawn, and seeds."""
    return f"{len(cells.clusters)} {units} × {seeds_of(cells.values.shape[1])}"


def estimate_of(interval: Interval, n: str) -> Estimate:
    """An interval as a finding's number."""
    return Estimate(value=interval.value, low=interval.low, high=interval.high, n=n)


def null_of(scores: Sequence[float], of: str = "") -> Null | None:
    """The 95th centile of random directions' scores; None where there are none.

    Args:
        scores: of each direction.
        of: what the centile is of, in words, if not of the scores.
    """
    if not scores:
        return None
    name = f"{len(scores)} random directions, 95th centile{of}"
    return Null(name=name, value=float(np.quantile(scores, 0.95)))
