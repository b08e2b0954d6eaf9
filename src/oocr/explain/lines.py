"""Between and beyond vectors: loss and score along a straight line, and by strength.

v(t) = (1 - t) a + t b: if two seeds' vectors lie in one basin, the training loss does not rise
between them. By strength: s v for s from -2 to 4, loss and score at each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from oocr.data.batches import training_lines
from oocr.engine.forward import final_rows, start_block
from oocr.engine.losses import batch_loss
from oocr.engine.recording import batch_of
from oocr.engine.recording_cache import RecordingCache, record_shared, tiers
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

SCALES = (-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
BATCH = 16


@dataclass(frozen=True, slots=True)
class Point:
    """One vector on a line.

    Attributes:
        at: t between two vectors, or the factor on one.
        loss: of the training items, nats per item.
        right: share of the probes answered right.
        log_odds: mean log-odds of the trained pole, or of the answer, on the probes.
    """

    at: float
    loss: float
    right: float
    log_odds: float


def between(
    model: LanguageModel, task: Task, a: Vector, b: Vector, points: int = 11
) -> list[Point]:
    """Along the straight line from one vector to another.

    Raises:
        InputError: different sites; fewer than two points.
    """
    if points < 2:
        raise InputError(f"points: found {points}; allowed: 2 or more")
    return points_of(model, task, line(a, b, points))


def line(a: Vector, b: Vector, points: int) -> list[tuple[float, Vector]]:
    """So many places on the straight line from one vector to another, ends included."""
    places = [i / (points - 1) for i in range(points)]
    return [(t, a * (1 - t) + b * t) for t in places]


def by_strength(
    model: LanguageModel, task: Task, vector: Vector, scales: Sequence[float] = SCALES
) -> list[Point]:
    """One vector at several strengths."""
    return points_of(model, task, [(one, vector * one) for one in scales])


def barrier(points: Sequence[Point]) -> float:
    """How far the loss rises above the straight line between its ends, at most; nats per item."""
    first, last = points[0], points[-1]
    width = last.at - first.at
    return max(
        one.loss - (first.loss + (last.loss - first.loss) * (one.at - first.at) / width)
        for one in points
    )


def points_of(
    model: LanguageModel, task: Task, placed: Sequence[tuple[float, Vector]]
) -> list[Point]:
    """Loss and score of any vectors of one site, each with its place on a line."""
    vectors = [one for _, one in placed]
    scored = Probes.of(model, task.probes).scores(vectors, everywhere=False)
    losses = training_losses(model, task, vectors)
    out: list[Point] = []
    for (at, _), loss, one in zip(placed, losses, scored, strict=True):
        table = rows(task.probes, one)
        right, odds = (table[name].cast(float).to_numpy().mean() for name in ("right", "log_odds"))
        out.append(Point(at, loss, float(right), float(odds)))
    return out


@torch.no_grad()
def training_losses(model: LanguageModel, task: Task, vectors: Sequence[Vector]) -> list[float]:
    """Loss of the training items under each vector of one site, nats per item."""
    lines = training_lines(model.tokenizer, task.train, task.loss)
    store, start = RecordingCache(tiers(model.device)), start_block(vectors[0])
    totals, count = [0.0] * len(vectors), 0
    for begin in range(0, len(lines), BATCH):
        batch = batch_of(model, lines[begin : begin + BATCH])
        frozen = record_shared(model, batch, [start], store).load(None)
        every = final_rows(model, frozen, vectors)
        for index, one in enumerate(every):
            totals[index] += float(batch_loss(model, batch, one)) * batch.items
        count += batch.items
    return [total / count for total in totals]
