"""Measures of a model's answers: share right, AUC of yes, rank of the right year."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oocr.papers.ockr.nano.world import NO, YES, Row, World
from oocr.papers.small_transformer import IGNORED, Rows, SmallTransformer


def greedy_answers(
    model: SmallTransformer, rows: Sequence[Row], vectors: Tensor | None = None
) -> list[tuple[int, ...]]:
    """Greedy answers, each as long as the row's answer; rows of equal lengths share a batch."""
    answers: list[tuple[int, ...]] = [()] * len(rows)
    for kind in dict.fromkeys((len(row.prompt), len(row.answer)) for row in rows):
        indices = [i for i, row in enumerate(rows) if (len(row.prompt), len(row.answer)) == kind]
        ids = torch.tensor([rows[index].prompt for index in indices])
        for _ in range(kind[1]):
            ids = torch.cat([ids, next_logits(model, ids, vectors).argmax(-1, keepdim=True)], 1)
        for index, answer in zip(indices, ids[:, kind[0] :].tolist(), strict=True):
            answers[index] = tuple(answer)
    return answers


def next_logits(model: SmallTransformer, ids: Tensor, vectors: Tensor | None = None) -> Tensor:
    """Logits of the token after each text [row, vocabulary]; ids [row, token]."""
    targets = torch.full_like(ids, IGNORED)
    targets[:, -1] = 0
    return model.logits(Rows(ids, targets), vectors)


def share_right(
    model: SmallTransformer, rows: Sequence[Row], vectors: Tensor | None = None
) -> float:
    """Share of greedy answers that are right in every token."""
    answers = greedy_answers(model, rows, vectors)
    return float(np.mean([answer == row.answer for answer, row in zip(answers, rows, strict=True)]))


def shares_by_token(model: SmallTransformer, rows: Sequence[Row]) -> list[float]:
    """Share of greedy answers that are right in the first token, the second, and so on."""
    answers = greedy_answers(model, rows)
    right = [
        [a == b for a, b in zip(answer, row.answer, strict=True)]
        for answer, row in zip(answers, rows, strict=True)
    ]
    shares: list[float] = np.mean(right, axis=0).tolist()
    return shares


def yes_auc(model: SmallTransformer, rows: Sequence[Row]) -> float:
    """AUC of logit(yes) - logit(no) after the prompts; a bias towards yes or no cancels."""
    logits = next_logits(model, torch.tensor([row.prompt for row in rows]))
    scores = (logits[:, YES] - logits[:, NO]).numpy()
    yes = np.array([row.answer[-1] == YES for row in rows])
    return auc(scores[yes], scores[~yes])


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive score is above a negative one; ties count half."""
    gaps = positive[:, None] - negative[None, :]
    return float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())


def year_ranks(
    model: SmallTransformer, world: World, rows: Sequence[Row], vectors: Tensor | None = None
) -> list[int]:
    """Rank of the right year among the years, 0 the best; rows: `year_rows`."""
    logits = next_logits(model, torch.tensor([row.prompt for row in rows]), vectors)
    logits = logits[:, list(world.years)]
    right = torch.tensor([[world.years.index(row.answer[0])] for row in rows])
    ranks: list[int] = (logits > logits.gather(1, right)).sum(1).tolist()
    return ranks
