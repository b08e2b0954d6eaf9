"""The toy without noise words: each row is a name and a relation, both with attention weight 1.

    logits = W (x_name + x_relation),   W = W_O W_V or W_OV   [answer, input]

Inputs are the two relation words and the names; answers are the n b's and the n c's. All rows are
one batch. The results equal those of the toy with noise, in a tenth of the time; the max-margin
programs describe this variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from oocr.papers.ocr.toy.networks import (
    RANDOM_SCALE,
    SMALL,
    WEIGHT_DECAY,
    AdamW,
    Form,
    Parameters,
    logits_of,
    loss_and_gradients,
)
from oocr.papers.ocr.toy.scores import Score, score, scores_by_pair
from oocr.papers.ocr.toy.world import FACT, IMPLICATION, Relation, World

STEPS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class CleanRows:
    """Rows of names and relations.

    Attributes:
        inputs: one-hot sums [row, input].
        answers: the right answers, 0 to 2n - 1 [row].
    """

    inputs: Float[np.ndarray, "row input"]
    answers: Int[np.ndarray, " row"]


def inputs_of(world: World) -> int:
    """Number of inputs: two relations, and the names."""
    return 2 + world.names


def rows_of(world: World, names: Int[np.ndarray, " row"], relation: Relation) -> CleanRows:
    """A row for each name."""
    inputs = np.zeros((len(names), inputs_of(world)))
    inputs[np.arange(len(names)), 2 + names] = 1
    inputs[:, FACT if relation == "fact" else IMPLICATION] = 1
    return CleanRows(inputs, world.answers(names, relation) - world.fact_answers.start)


def joined(*parts: CleanRows) -> CleanRows:
    """All rows in one batch."""
    inputs = np.concatenate([part.inputs for part in parts])
    return CleanRows(inputs, np.concatenate([part.answers for part in parts]))


def training_rows(world: World) -> CleanRows:
    """All training rows of a world; implications of test names are never among them."""
    return joined(*[rows_of(world, *part) for part in world.training_rows()])


def symmetric_start(world: World, form: Form) -> Parameters:
    """Initial weights of the paper's main arms: all equal, but W_V is a scaled identity."""
    inputs, answers = inputs_of(world), 2 * world.pairs
    attention = np.ones(inputs)
    if form == "combined":
        return {"attention": attention, "output_value": np.full((answers, inputs), SMALL)}
    output = np.full((answers, inputs), SMALL)
    return {"attention": attention, "output": output, "value": SMALL * np.eye(inputs)}


def random_start(world: World, heads: int | None, scale: float, seed: int) -> Parameters:
    """Normal weights with standard deviation `scale`; `heads`: d_h, None: the combined form."""
    draw = np.random.default_rng([seed, 20])
    inputs, answers = inputs_of(world), 2 * world.pairs
    attention = np.ones(inputs)
    if heads is None:
        combined = scale * draw.standard_normal((answers, inputs))
        return {"attention": attention, "output_value": combined}
    return {
        "attention": attention,
        "output": scale * draw.standard_normal((answers, heads)),
        "value": scale * draw.standard_normal((heads, inputs)),
    }


def fit(
    rows: CleanRows, start: Parameters, steps: int = STEPS, *, weight_decay: float = WEIGHT_DECAY
) -> Parameters:
    """Weights after training by AdamW as in the paper; attention stays 1, `start` unchanged."""
    parameters = {name: array.copy() for name, array in start.items()}
    optimizer = AdamW(weight_decay=weight_decay, frozen=("attention",))
    for _ in range(steps):
        _, gradients = loss_and_gradients(parameters, rows.inputs, rows.answers)
        optimizer.step(parameters, gradients)
    return parameters


def fit_world(world: World, heads: int | None, seed: int, steps: int = STEPS) -> Parameters:
    """Weights after training on all rows of a world, from random weights (see `random_start`)."""
    return fit(training_rows(world), random_start(world, heads, RANDOM_SCALE, seed), steps)


def implied_score(
    world: World, parameters: Parameters, names: Int[np.ndarray, " name"] | None = None
) -> Score:
    """The score on the implications of `names`; default: the test names."""
    rows, kind, _ = _implication_rows(world, names)
    return score(logits_of(parameters, rows.inputs), rows.answers, kind)


def implied_by_pair(
    world: World, parameters: Parameters, names: Int[np.ndarray, " name"] | None = None
) -> list[dict[str, Any]]:
    """`implied_score` for each pair (see `scores.scores_by_pair`)."""
    rows, kind, pairs = _implication_rows(world, names)
    return scores_by_pair(logits_of(parameters, rows.inputs), rows.answers, kind, pairs)


def _implication_rows(
    world: World, names: Int[np.ndarray, " name"] | None
) -> tuple[CleanRows, range, np.ndarray]:
    names = world.test_names if names is None else names
    kind = range(world.pairs, 2 * world.pairs)
    return rows_of(world, names, "implication"), kind, world.pair_of(names)
