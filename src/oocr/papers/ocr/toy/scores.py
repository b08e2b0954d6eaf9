"""Scores of a toy network: loss and accuracy over all tokens, rank within the kind of answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from oocr.papers.ocr.toy.networks import log_softmax
from oocr.papers.ocr.toy.world import World

TINY = 1e-8
"""Added to probabilities before their logarithm is taken, as the paper's evaluation does."""


@dataclass(frozen=True, slots=True)
class Score:
    """Means over rows: cross-entropy (nats), accuracy among all tokens, rank within the kind.

    A rank is the number of other answers of the same kind with a higher logit; a tie counts a half.
    So 0 is right, and (n - 1) / 2 is chance.
    """

    loss: float
    accuracy: float
    rank: float

    def columns(self) -> dict[str, Any]:
        """The columns of a table's row."""
        return {name: getattr(self, name) for name in ("loss", "accuracy", "rank")}


def score(
    logits: Float[np.ndarray, "row token"], answers: Int[np.ndarray, " row"], kind: range
) -> Score:
    """The score of rows whose answers are of one kind; `kind`: token ids of that kind."""
    rows = np.arange(len(answers))
    probability = np.exp(log_softmax(logits))[rows, answers]
    return Score(
        loss=float(-np.log(probability + TINY).mean()),
        accuracy=float((logits.argmax(axis=1) == answers).mean()),
        rank=float(ranks(logits[:, kind.start : kind.stop], answers - kind.start).mean()),
    )


def scores_by_pair(
    logits: Float[np.ndarray, "row token"],
    answers: Int[np.ndarray, " row"],
    kind: range,
    pairs: Int[np.ndarray, " row"],
) -> list[dict[str, Any]]:
    """One row for each pair, with the columns pair, loss, accuracy and rank."""
    return [
        {"pair": int(pair), **score(logits[pairs == pair], answers[pairs == pair], kind).columns()}
        for pair in np.unique(pairs)
    ]


def ranks(
    logits: Float[np.ndarray, "row answer"], right: Int[np.ndarray, " row"]
) -> Float[np.ndarray, " row"]:
    """Number of answers with a higher logit than the right one; ties count a half."""
    of_right = logits[np.arange(len(right)), right][:, None]
    ties = (logits == of_right).sum(axis=1) - 1
    above: np.ndarray = (logits > of_right).sum(axis=1) + ties / 2
    return above


@dataclass(frozen=True, slots=True)
class Gaps:
    """Mean entry of W diag(s) at a name's right answer, minus at other answers of the kind.

    Fields: kind of answer (b, c), and columns (bridge names, test names).
    """

    b_bridge: float
    c_bridge: float
    b_test: float
    c_test: float


def gaps(weights: Float[np.ndarray, "answer token"], world: World) -> Gaps:
    """The gaps of W diag(s) [answer, token] (see `networks.effective`).

    The right c of a name is the one that its pair implies (`World.answers`).
    """

    def gap(kind: range, names: np.ndarray, answers: np.ndarray) -> float:
        columns = weights[kind.start : kind.stop, world.name_ids.start + names]
        on_pair = np.zeros(columns.shape, dtype=bool)
        on_pair[answers - kind.start, np.arange(len(names))] = True
        return float(columns[on_pair].mean() - columns[~on_pair].mean())

    bridges, tests = world.bridge_names, world.test_names
    return Gaps(
        b_bridge=gap(world.fact_answers, bridges, world.answers(bridges, "fact")),
        c_bridge=gap(world.implied_answers, bridges, world.answers(bridges, "implication")),
        b_test=gap(world.fact_answers, tests, world.answers(tests, "fact")),
        c_test=gap(world.implied_answers, tests, world.answers(tests, "implication")),
    )
