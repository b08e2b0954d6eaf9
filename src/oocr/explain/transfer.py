"""Transfer and specificity: every vector on every task's probes.

A cell is the change of the mean log-odds of the task's trained pole (or answer), vector minus base.
A probe without the vector's span is not steered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Float

from oocr.engine.forward import start_block
from oocr.errors import InputError
from oocr.evals.probes import Probes, rows
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Task
from oocr.words import counted

RANDOMS = 20
FIRST_SEED = 20_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """Vectors (rows) by tasks (columns), by name, in nats of log-odds.

    `change`: over the base; `drawn`: the same of random directions of the vector's norm (each
    vector has its own draws, a draw is one direction on all tasks); `null`: 95th centile of their
    |change|.
    """

    vectors: tuple[str, ...]
    tasks: tuple[str, ...]
    change: tuple[tuple[float, ...], ...]
    null: tuple[tuple[float, ...], ...]
    drawn: tuple[tuple[tuple[float, ...], ...], ...] = field(repr=False)

    def own_minus_others(self) -> tuple[list[float], list[float]]:
        """What vector i adds on task i minus its mean over the other tasks.

        Returns one number per vector, and per draw the mean over vectors; both empty for one
        vector.

        InputError: the numbers of tasks and vectors differ.
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
    randoms: int = RANDOMS,
) -> Transfer:
    """Ask every task's probes under every vector, and under random directions of its norm.

    Each vector acts at its own positions; those of `vector.at("last")` are in all probes.

    InputError: no vector or task; a task without probes; fewer than two random directions.
    """
    if not vectors or not tasks:
        many = f"{counted(len(vectors), 'vector')} and {counted(len(tasks), 'task')}"
        raise InputError(f"transfer: found {many}")
    if randoms < 2:
        raise InputError(f"randoms: found {randoms}; allowed: 2 or more")
    for name, task in tasks.items():
        if not task.probes:
            raise InputError(f"task {name!r}: has no probes to ask")
    # All tasks at once, so that a shared prompt is run once.
    examples = [example for task in tasks.values() for example in task.probes]
    starts = {model.n_blocks, *map(start_block, vectors.values())}
    probes = Probes.of(model, examples, starts=starts)
    ends = np.cumsum([len(task.probes) for task in tasks.values()])[:-1]

    def log_odds(arms: list[Vector] | None) -> Float[np.ndarray, "arm probe"]:
        scored = probes.scores(arms, everywhere=False)
        return np.array([rows(examples, options)["log_odds"].to_numpy() for options in scored])

    base = log_odds(None)
    moved: list[list[list[float]]] = []
    for index, vector in enumerate(vectors.values()):
        # Own draws for every vector: with common draws the mean of own minus others would be 0.
        first = FIRST_SEED + index * randoms
        drawn = [random_vector(vector, vector.norm, first + seed) for seed in range(randoms)]
        change = log_odds([vector, *drawn]) - base
        moved.append([columns.mean(axis=1).tolist() for columns in np.split(change, ends, axis=1)])
    centiles = [[float(np.quantile(np.abs(cell[1:]), 0.95)) for cell in row] for row in moved]
    return Transfer(
        vectors=tuple(vectors),
        tasks=tuple(tasks),
        change=tuple(tuple(cell[0] for cell in row) for row in moved),
        null=tuple(map(tuple, centiles)),
        drawn=tuple(tuple(tuple(cell[1:]) for cell in row) for row in moved),
    )
