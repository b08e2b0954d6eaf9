"""Transfer and specificity: every vector on every task's probes.

A cell is the change of the mean log-odds of the task's trained pole (or answer), vector minus base:
on the diagonal what the vector was trained for, off it what it moves besides. A vector acts where
its own positions say; a span that a probe lacks is left alone, so vectors at a span are read at the
last token (or wherever `positions` says) to be comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.rows import rows
from oocr.interventions.vectors import Vector, random_vector
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task

RANDOMS = 20


@dataclass(frozen=True, slots=True)
class Transfer:
    """Vectors by tasks.

    Attributes:
        vectors: names of the rows.
        tasks: names of the columns.
        change: [vector, task], nats of log-odds over the base.
        null: [vector, task], 95th centile of |change| of random directions of the vector's norm.
    """

    vectors: tuple[str, ...]
    tasks: tuple[str, ...]
    change: tuple[tuple[float, ...], ...]
    null: tuple[tuple[float, ...], ...]

    def table(self) -> pl.DataFrame:
        """One row per cell: vector, task, change, null."""
        return pl.DataFrame(
            [
                {"vector": v, "task": t, "change": self.change[i][j], "null": self.null[i][j]}
                for i, v in enumerate(self.vectors)
                for j, t in enumerate(self.tasks)
            ]
        )


def transfer(
    model: LanguageModel,
    vectors: Mapping[str, Vector],
    tasks: Mapping[str, Task],
    *,
    positions: str | None = None,
    randoms: int = RANDOMS,
) -> Transfer:
    """Ask every task's probes under every vector, and under random directions of its norm.

    Args:
        model: the model, nothing attached.
        vectors: name -> vector.
        tasks: name -> task, whose probes are asked.
        positions: add all vectors there; None: each at its own positions.
        randoms: random directions per vector.

    Raises:
        InputError: no vector or task; a task without probes; fewer than two random directions.
    """
    if not vectors or not tasks:
        raise InputError(f"transfer: found {len(vectors)} vectors and {len(tasks)} tasks")
    if randoms < 2:
        raise InputError(f"randoms: found {randoms}; allowed: 2 or more")
    for name, task in tasks.items():
        if not task.probes:
            raise InputError(f"task {name!r}: has no probes to ask")
    change: list[list[float]] = [[] for _ in vectors]
    null: list[list[float]] = [[] for _ in vectors]
    for task in tasks.values():
        probes = Probes.of(model, task.probes)
        base = _log_odds(probes, None)[0]
        for index, one in enumerate(vectors.values()):
            arm = one if positions is None else one.at(positions)
            drawn = [random_vector(arm, arm.norm, 20_000 + seed) for seed in range(randoms)]
            moved = [float((some - base).mean()) for some in _log_odds(probes, [arm, *drawn])]
            change[index].append(moved[0])
            null[index].append(float(np.quantile(np.abs(moved[1:]), 0.95)))
    return Transfer(
        tuple(vectors), tuple(tasks), tuple(map(tuple, change)), tuple(map(tuple, null))
    )


def _log_odds(
    probes: Probes, arms: list[Vector] | None
) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Log-odds of every probe, per arm."""
    scored = probes.scores(arms, everywhere=False)
    return [rows(probes.items, one)["log_odds"].to_numpy() for one in scored]
