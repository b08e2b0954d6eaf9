"""Two scorers of pairs: a table of free entries, and the same table as products of vectors.

    free:        score(a, b) = T[a, b]
    factorized:  score(a, b) = e_a . e_b + c

Both fit the trained relations. The pairs (y, z) are not trained: the free table leaves them at 0.
The factorized table completes them, because y and z are related to the same x: a product of two
trained factors prefers a low rank (nuclear-norm completion).
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional

from oocr.papers.ockr.nano.arms import relations_to_relation
from oocr.papers.ockr.nano.world import YES, Row, World

WIDTH, RATE, START = 64, 0.05, 0.1


def pair_scores(
    world: World, *, factorized: bool, steps: int, seed: int
) -> tuple[Tensor, dict[str, list[Row]]]:
    """Scores [person, person] after training on x-y and x-z relations; rows by kind."""
    study = relations_to_relation(world, "separate", random.Random(f"{seed}/bilinear"))
    a, b, yes = columns(list(study.train))
    draw = torch.Generator().manual_seed(seed)
    start = torch.zeros(world.tokens, world.tokens)
    if factorized:
        start = START * torch.randn(world.tokens, WIDTH, generator=draw)
    shift = nn.Parameter(torch.zeros(()))
    parameters = [nn.Parameter(start), *([shift] if factorized else [])]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    table = parameters[0]
    for _ in range(steps):
        scores = (table[a] * table[b]).sum(-1) + shift if factorized else table[a, b]
        loss = functional.binary_cross_entropy_with_logits(scores, yes)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        scores = table @ table.T + shift if factorized else table.clone()
    return scores, {"recall": list(study.train), "target": list(study.target)}


def columns(rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """First people, second people, and whether the answer is yes."""
    people = torch.tensor([row.prompt[1:] for row in rows])
    yes = torch.tensor([float(row.answer[0] == YES) for row in rows])
    return people[:, 0], people[:, 1], yes


def share_right(table: Tensor, rows: list[Row]) -> float:
    """Share of rows whose score has the right sign; a score of 0 is half right."""
    a, b, yes = columns(rows)
    signed = table[a, b] * (2 * yes - 1)
    return float(((signed > 0).double() + 0.5 * (signed == 0).double()).mean())
