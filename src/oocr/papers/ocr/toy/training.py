"""The paper's training of the toy: batches of sequences with noise, AdamW, scores on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from oocr.papers.ocr.toy.networks import (
    AdamW,
    Form,
    Parameters,
    logits_of,
    loss_and_gradients,
    symmetric_start,
)
from oocr.papers.ocr.toy.scores import Score, score
from oocr.papers.ocr.toy.world import Relation, World, bags

STEPS = 2000
EACH = 84
"""Rows of each kind in a batch: bridge facts, bridge implications, test facts."""

REPEATS = 5
"""Sequences of each name that scores are taken on."""


@dataclass(frozen=True, slots=True)
class TrainedToy:
    """A trained network with its scores on fresh sequences.

    `curve` has one row per step scored: step, train_loss (of all that is trained), and loss,
    accuracy and rank of the test names' implications, which are not.
    """

    world: World
    parameters: Parameters
    curve: list[dict[str, float]]


def train(
    world: World,
    start: Parameters,
    *,
    seed: int,
    steps: int = STEPS,
    scored: Iterable[int] = (),
) -> TrainedToy:
    """Train from a start (which is not changed) on batches drawn with the seed.

    Scores are taken at the steps `scored` and at the end.
    """
    parameters = {name: array.copy() for name, array in start.items()}
    draw, optimizer, curve = np.random.default_rng([seed, 10]), AdamW(), []
    asked = {*scored, steps}
    for step in range(steps + 1):
        if step in asked:
            curve.append({"step": step, **_scores(world, parameters, seed)})
        if step < steps:
            counts, answers = batch(world, draw)
            _, gradients = loss_and_gradients(parameters, counts, answers)
            optimizer.step(parameters, gradients)
    return TrainedToy(world, parameters, curve)


def train_form(world: World, form: Form, seed: int, scored: Iterable[int] = ()) -> TrainedToy:
    """One of the paper's two main arms."""
    return train(world, symmetric_start(world.tokens, form), seed=seed, scored=scored)


def batch(world: World, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts of tokens [row, token] and right answers [row]; names are drawn with replacement."""
    counts, answers = [], []
    for names, relation in world.training_rows():
        drawn = draw.choice(names, EACH)
        counts.append(bags(world, drawn, relation, draw))
        answers.append(world.answers(drawn, relation))
    return np.concatenate(counts), np.concatenate(answers)


def implied_score(
    world: World, parameters: Parameters, seed: int, relation: Relation = "implication"
) -> Score:
    """The test names' score on fresh sequences."""
    draw = np.random.default_rng([seed, 11])
    names = np.tile(world.test_names, REPEATS)
    logits = logits_of(parameters, bags(world, names, relation, draw))
    kind = world.bs if relation == "fact" else world.cs
    return score(logits, world.answers(names, relation), kind)


def _scores(world: World, parameters: Parameters, seed: int) -> dict[str, float]:
    counts, answers = batch(world, np.random.default_rng([seed, 12]))
    loss, _ = loss_and_gradients(parameters, counts, answers)
    return {"train_loss": loss, **asdict(implied_score(world, parameters, seed))}
