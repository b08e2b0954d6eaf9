"""Loss and score along a path of vectors: between two vectors, by strength, along training.

v(t) = (1 - t) a + t b: if two seeds' vectors lie in one basin, the training loss does not rise
between them (`barrier`). Along training: if the score peaks before the loss is lowest, memorizing
overwrites what was inferred. The best of several measurements on the same probes is partly best by
chance, so the peak is chosen on one half of the probes and measured on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from oocr.data.batches import training_lines
from oocr.data.examples import Example
from oocr.engine.forward import final_rows, start_block
from oocr.engine.losses import batch_loss
from oocr.engine.recording import batch_of
from oocr.engine.recording_cache import RecordingCache, record_shared, tiers
from oocr.engine.training import fit
from oocr.engine.training_batches import TrainingBatches
from oocr.errors import InputError
from oocr.evals.probes import Probes, means, rows
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

BATCH = 16


@dataclass(frozen=True, slots=True)
class Point:
    """One vector on a line, `at` t between two vectors or a factor on one.

    `loss`: of the training examples, nats per example; `right`: share of the probes answered right;
    `log_odds`: mean of the trained pole, or of the answer, on the probes.
    """

    at: float
    loss: float
    right: float
    log_odds: float


def line(a: Vector, b: Vector, points: int) -> list[tuple[float, Vector]]:
    """`points` evenly spaced vectors on the line from one vector to another, ends included.

    InputError: different sites; fewer than two points.
    """
    if points < 2:
        raise InputError(f"points: found {points}; allowed: 2 or more")
    return [(t, a * (1 - t) + b * t) for t in (i / (points - 1) for i in range(points))]


def barrier(points: Sequence[Point]) -> float:
    """The largest rise of the loss above the straight line between its ends, in nats per item."""
    first, last = points[0], points[-1]
    width = last.at - first.at
    return max(
        point.loss - (first.loss + (last.loss - first.loss) * (point.at - first.at) / width)
        for point in points
    )


def points_of(
    model: LanguageModel, task: Task, placed: Sequence[tuple[float, Vector]]
) -> list[Point]:
    """Loss and score of vectors of one site, each with its position `t` on a line."""
    vectors = [vector for _, vector in placed]
    scored = Probes.of(model, task.probes).scores(vectors, everywhere=False)
    losses = training_losses(model, task, vectors)
    return [
        Point(at, loss, *means(task.probes, options, "right", "log_odds"))
        for (at, _), loss, options in zip(placed, losses, scored, strict=True)
    ]


@torch.no_grad()
def training_losses(model: LanguageModel, task: Task, vectors: Sequence[Vector]) -> list[float]:
    """Loss of the training examples under each vector of one site, nats per example."""
    sequences = training_lines(model.tokenizer, task.train, task.loss)
    store, start = RecordingCache(tiers(model.device)), start_block(vectors[0])
    totals, count = [0.0] * len(vectors), 0
    for begin in range(0, len(sequences), BATCH):
        batch = batch_of(model, sequences[begin : begin + BATCH])
        recording = record_shared(model, batch, [start], store).load(None)
        for index, arm_rows in enumerate(final_rows(model, recording, vectors)):
            totals[index] += float(batch_loss(model, batch, arm_rows)) * batch.items
        count += batch.items
    return [total / count for total in totals]


@dataclass(frozen=True, slots=True)
class TrainingSnapshot:
    """A vector after some training steps: loss (nats per example), norm, answers to the probes.

    `to_last`: signed cosine to the vector after the last step; `rights` and `odds` (log-odds of the
    trained pole, or of the answer): of each probe, in the task's order.
    """

    step: int
    loss: float
    norm: float
    to_last: float
    rights: tuple[bool, ...] = field(repr=False)
    odds: tuple[float, ...] = field(repr=False)

    @property
    def right(self) -> float:
        """Share of the probes answered right."""
        return float(np.mean(self.rights))

    @property
    def log_odds(self) -> float:
        """Mean log-odds on the probes."""
        return float(np.mean(self.odds))

    def right_of(self, probes: Sequence[int]) -> float:
        """The share of the given probes answered right."""
        return sum(self.rights[place] for place in probes) / len(probes)

    def odds_of(self, probes: Sequence[int]) -> float:
        """The mean log-odds on the given probes."""
        return sum(self.odds[place] for place in probes) / len(probes)


def along_training(
    model: LanguageModel,
    task: Task,
    spec: SteeringVector,
    steps: Sequence[int],
    *,
    learning_rate: float | None = None,
    seed: int = 0,
    batch_lines: int = 16,
    prepared: TrainingBatches | None = None,
) -> list[TrainingSnapshot]:
    """Train one vector and score it after each of these numbers of steps, ascending.

    The other arguments are as `fit` takes them.
    """
    snapshots = fit(
        model,
        task,
        spec,
        learning_rate=learning_rate,
        steps=max(steps),
        seed=seed,
        snapshots=tuple(steps),
        batch_lines=batch_lines,
        prepared=prepared,
    ).snapshots
    vectors = {step: arm for step, arm in snapshots.items() if isinstance(arm, Vector)}
    return moments(model, task, vectors)


def moments(
    model: LanguageModel, task: Task, vectors: Mapping[int, Vector]
) -> list[TrainingSnapshot]:
    """Snapshots of vectors by number of steps, ascending."""
    path = [vectors[step] for step in sorted(vectors)]
    scored = Probes.of(model, task.probes).scores(path, everywhere=False)
    tables = [rows(task.probes, options) for options in scored]
    losses = training_losses(model, task, path)
    return [
        TrainingSnapshot(
            step,
            loss,
            vector.norm,
            vector.cosine(path[-1]),
            tuple(table["right"].to_list()),
            tuple(table["log_odds"].to_list()),
        )
        for step, vector, loss, table in zip(sorted(vectors), path, losses, tables, strict=True)
    ]


def peak(
    moments: Sequence[TrainingSnapshot], probes: Sequence[int] | None = None
) -> TrainingSnapshot:
    """The snapshot with most of these probes right; ties by log-odds, then the first."""
    counted = range(len(moments[0].rights)) if probes is None else probes
    return max(
        moments,
        key=lambda moment: (moment.right_of(counted), moment.odds_of(counted), -moment.step),
    )


def lowest(moments: Sequence[TrainingSnapshot]) -> TrainingSnapshot:
    """The snapshot with the lowest training loss; the first of several."""
    return min(moments, key=lambda moment: (moment.loss, moment.step))


def halves(examples: Sequence[Example]) -> tuple[list[int], list[int]]:
    """Indices of the probes of each half.

    Groups go to the halves in turn; a single group is divided by the wordings of each facet, and a
    single wording by probes.

    InputError: fewer than two probes.
    """
    if len(examples) < 2:
        raise InputError(f"items: found {len(examples)}; allowed: 2 or more, to be halved")
    kinds: list[list[tuple[str, ...]]] = [
        [(example.group,) for example in examples],
        [(example.facet, example.template) for example in examples],
        [(str(place),) for place in range(len(examples))],
    ]
    units = next(kind for kind in kinds if len(set(kind)) > 1)
    turn = {unit: index % 2 for index, unit in enumerate(dict.fromkeys(units))}
    first, second = ([i for i, unit in enumerate(units) if turn[unit] == half] for half in (0, 1))
    return first, second


def lost_after_peak(moments: Sequence[TrainingSnapshot], examples: Sequence[Example]) -> float:
    """Share right at the peak minus at the lowest loss, each half of probes at the other's peak.

    If snapshots differ only by noise of the probes, it is 0 on average. Random effects of one
    training on all wordings of a question are in both halves.

    InputError: fewer than two probes.
    """
    least, (first, other) = lowest(moments), halves(examples)
    crossed = [
        peak(moments, picked).right_of(measured) - least.right_of(measured)
        for picked, measured in ((first, other), (other, first))
    ]
    return sum(crossed) / len(crossed)
