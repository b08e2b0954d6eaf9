"""What a model answers: share right, AUC of yes, rank of the right year."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oocr.papers.ockr.nano.world import NO, YES, Row, World
from oocr.papers.small_transformer import IGNORED, Rows, SmallTransformer


def greedy(
    model: SmallTransformer, rows: Sequence[Row], vectors: Tensor | None = None
) -> list[tuple[int, ...]]:
    """Greedy answers, as many tokens as each row's own has; prompts of one length go together."""
    given: list[tuple[int, ...]] = [()] * len(rows)
    for kind in dict.fromkeys((len(row.prompt), len(row.answer)) for row in rows):
        places = [p for p, row in enumerate(rows) if (len(row.prompt), len(row.answer)) == kind]
        ids = torch.tensor([rows[place].prompt for place in places])
        for _ in range(kind[1]):
            ids = torch.cat([ids, next_logits(model, ids, vectors).argmax(-1, keepdim=True)], 1)
        for place, answer in zip(places, ids[:, kind[0] :].tolist(), strict=True):
            given[place] = tuple(answer)
    return given


def next_logits(model: SmallTransformer, ids: Tensor, vectors: Tensor | None = None) -> Tensor:
    """Logits of the token after each text [row, vocabulary]; ids [row, token]."""
    targets = torch.full_like(ids, IGNORED)
    targets[:, -1] = 0
    return model.logits(Rows(ids, targets), vectors)


def share_right(
    model: SmallTransformer, rows: Sequence[Row], vectors: Tensor | None = None
) -> float:
    """Share of greedy answers that are right in every token."""
    given = greedy(model, rows, vectors)
    return float(np.mean([answer == row.answer for answer, row in zip(given, rows, strict=True)]))


def shares_by_token(model: SmallTransformer, rows: Sequence[Row]) -> list[float]:
    """Share of greedy answers that are right in the first token, the second, and so on."""
    given = greedy(model, rows)
    right = [
        [a == b for a, b in zip(answer, row.answer, strict=True)]
        for answer, row in zip(given, rows, strict=True)
    ]
    shares: list[float] = np.mean(right, axis=0).tolist()
    return shares


def area(model: SmallTransformer, rows: Sequence[Row]) -> float:
    """AUC of logit(yes) - logit(no) after the prompts: a bias to either has no influence."""
    logits = next_logits(model, torch.tensor([row.prompt for row in rows]))
    scores = (logits[:, YES] - logits[:, NO]).numpy()
    yes = np.array([row.answer[-1] == YES for row in rows])
    return auc(scores[yes], scores[~yes])


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a positive score is above a negative one; ties count half."""
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
