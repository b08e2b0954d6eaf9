"""Transfer and specificity: every vector on every task's probes.

A cell is the change of the mean log-odds of the task's trained pole (or answer), vector minus base:
on the diagonal what the vector was trained for, off it what it moves besides. A vector acts where
its own positions say; a span that a probe lacks is left alone, so vectors at a span are read at the
last token (or wherever `positions` says) to be comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from oocr.engine.forward import start_block
from oocr.errors import InputError
from oocr.evals.probes import Probes, rows
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Task

RANDOMS = 20
FIRST_SEED = 20_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """Vectors (rows) by tasks (columns), by name.

    Attributes:
        change: [vector, task], nats of log-odds over the base.
        null: [vector, task], 95th centile of |change| of random directions of the vector's norm.
        drawn: [vector, task, draw], the change by each of these. A draw is one direction on all
            tasks; every vector has its own ones.
    """

    vectors: tuple[str, ...]
    tasks: tuple[str, ...]
    change: tuple[tuple[float, ...], ...]
    null: tuple[tuple[float, ...], ...]
    drawn: tuple[tuple[tuple[float, ...], ...], ...] = field(repr=False)

    def own_minus_others(self) -> tuple[list[float], list[float]]:
        """What each vector adds on the task of its place minus its mean over the other tasks.

        Returns one number per vector, and per draw the mean over vectors of the same number; both
        empty for a single vector.

        Raises:
            InputError: not as many tasks as vectors.
        """
        if len(self.vectors) != len(self.tasks):
            raise InputError(
                f"transfer: found {len(self.tasks)} tasks; allowed: {len(self.vectors)}, one for "
                "each vector"
            )
        cells = np.concatenate([np.array(self.change)[:, :, None], np.array(self.drawn)], axis=2)
        count = len(self.vectors)
        if count < 2:
            return [], []
        diagonal = np.diagonal(cells).T  # [vector, draw]
        gaps = diagonal - (cells.sum(axis=1) - diagonal) / (count - 1)
        return gaps[:, 0].tolist(), gaps[:, 1:].mean(axis=0).tolist()

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

    `positions`: add all vectors there; None: each at its own.

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
    # Of all tasks at once: where they share prompts, each is run once.
    examples = [example for task in tasks.values() for example in task.probes]
    starts = {model.n_blocks, *map(start_block, vectors.values())}
    probes = Probes.of(model, examples, starts=starts)
    ends = np.cumsum([len(task.probes) for task in tasks.values()])[:-1]
    base = _log_odds(probes, None)[0]
    moved: list[list[list[float]]] = []
    for index, vector in enumerate(vectors.values()):
        arm = vector if positions is None else vector.at(positions)
        # Other draws for every vector: of equal ones the mean of own minus others is 0 by itself.
        first = FIRST_SEED + index * randoms
        drawn = [random_vector(arm, arm.norm, first + seed) for seed in range(randoms)]
        scores = np.array(_log_odds(probes, [arm, *drawn])) - base
        moved.append([columns.mean(axis=1).tolist() for columns in np.split(scores, ends, axis=1)])
    return Transfer(
        vectors=tuple(vectors),
        tasks=tuple(tasks),
        change=tuple(tuple(cell[0] for cell in row) for row in moved),
        null=tuple(
            tuple(float(np.quantile(np.abs(cell[1:]), 0.95)) for cell in row) for row in moved
        ),
        drawn=tuple(tuple(tuple(cell[1:]) for cell in row) for row in moved),
    )


def _log_odds(
    probes: Probes, arms: list[Vector] | None
) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Log-odds of every probe, per arm."""
    scored = probes.scores(arms, everywhere=False)
    return [rows(probes.items, options)["log_odds"].to_numpy() for options in scored]
