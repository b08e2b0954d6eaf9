"""The paper's training of the toy: AdamW on batches of sequences with noise, scored by step."""

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
from oocr.papers.ocr.toy.world import Relation, World, token_counts

STEPS = 2000
ROWS_PER_KIND = 84
"""Rows of each kind (bridge facts, bridge implications, test facts) in a batch."""

REPEATS = 5
"""Number of sequences for each name when a network is scored."""


@dataclass(frozen=True, slots=True)
class TrainedToy:
    """A trained network with its scores on fresh sequences.

    `curve` has one row for each scored step: step, train_loss (of training rows), and loss,
    accuracy and rank of the test names' implications, which are not trained.
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
    """Train from the weights `start`, which stay unchanged, on batches drawn by the seed.

    The network is scored at the steps `scored` and at the end.
    """
    parameters = {name: array.copy() for name, array in start.items()}
    draw, optimizer, curve = np.random.default_rng([seed, 10]), AdamW(), []
    scored_steps = {*scored, steps}
    for step in range(steps + 1):
        if step in scored_steps:
            curve.append({"step": step, **_scores(world, parameters, seed)})
        if step < steps:
            counts, answers = batch(world, draw)
            _, gradients = loss_and_gradients(parameters, counts, answers)
            optimizer.step(parameters, gradients)
    return TrainedToy(world, parameters, curve)


def train_form(world: World, form: Form, seed: int, scored: Iterable[int] = ()) -> TrainedToy:
    """Train one of the paper's two main arms."""
    return train(world, symmetric_start(world.tokens, form), seed=seed, scored=scored)


def batch(world: World, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts of tokens [row, token] and right answers [row]; names are drawn with replacement."""
    counts, answers = [], []
    for names, relation in world.training_rows():
        drawn = draw.choice(names, ROWS_PER_KIND)
        counts.append(token_counts(world, drawn, relation, draw))
        answers.append(world.answers(drawn, relation))
    return np.concatenate(counts), np.concatenate(answers)


def implied_score(
    world: World, parameters: Parameters, seed: int, relation: Relation = "implication"
) -> Score:
    """The test names' score on fresh sequences."""
    draw = np.random.default_rng([seed, 11])
    names = np.tile(world.test_names, REPEATS)
    logits = logits_of(parameters, token_counts(world, names, relation, draw))
    kind = world.fact_answers if relation == "fact" else world.implied_answers
    return score(logits, world.answers(names, relation), kind)


def _scores(world: World, parameters: Parameters, seed: int) -> dict[str, float]:
    counts, answers = batch(world, np.random.default_rng([seed, 12]))
    loss, _ = loss_and_gradients(parameters, counts, answers)
    return {"train_loss": loss, **asdict(implied_score(world, parameters, seed))}
