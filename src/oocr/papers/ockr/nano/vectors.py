"""Newcomers learned as one vector each in a frozen network, or by its weights, on the same rows.

The network has been trained on the years and the relations of x and z. A newcomer occurs only in
relations with z's; the question is the newcomer's year, which no row states.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import torch
from torch import Tensor, nn

from oocr.papers.ockr.nano.world import (
    Row,
    World,
    different_year_pairs,
    flatten,
    same_rows,
    same_year_pairs,
    tensors,
    year_rows,
)
from oocr.papers.small_transformer import (
    Optimizer,
    SmallTransformer,
    train,
    train_vectors,
)

Place = Literal[
    "vectors",
    "vectors, shuffled",
    "first block",
    "second block",
    "blocks",
    "weights",
    "weights, far start",
]
BATCH, VECTOR_RATE = 128, 0.01
TIMES = 6
"""Number of yes rows of a newcomer, and of no rows, which are about different z's."""


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Rows of the people whom the network knows; relations of newcomers; their years."""

    known: Sequence[Row]
    relations: Sequence[Row]
    questions: Sequence[Row]


def newcomer_rows(world: World, rng: random.Random) -> Newcomers:
    """Years and dense relations of x and z; relations of newcomers with z's; their years."""
    anchors = [(person,) for person in world.z]
    known = year_rows(world, [*flatten(world.x), *world.z])
    for a, b in ((world.x, world.x), (world.x, anchors)):
        yes = same_year_pairs(a, b, 10, rng)
        times = max(1, len(yes) // len(flatten(a)) // 2)
        no = different_year_pairs(a, b, times, rng) + different_year_pairs(
            a, b, times, rng, next_year=False
        )
        known += same_rows(world, yes + no)
    relations: list[Row] = []
    for g, people in enumerate(world.new):
        for person in people:
            relations += same_rows(world, [(person, world.z[g])]) * (TIMES // 2)
            others = [z for h, z in enumerate(world.z) if h != g]
            rng.shuffle(others)
            repeated = islice(cycle(others), TIMES)
            orders = [(person, z) if i % 2 else (z, person) for i, z in enumerate(repeated)]
            relations += same_rows(world, orders, both_orders=False)
    return Newcomers(known, relations, year_rows(world, flatten(world.new)))


def learn_newcomers(
    model: SmallTransformer, world: World, rows: Newcomers, place: Place, steps: int, seed: int
) -> Tensor | None:
    """Train a model on the newcomers' relations; their vectors [newcomer, d_model], or None.

    `place` says what is trained. "vectors": one vector for each newcomer, from 0; "vectors,
    shuffled": the same with permuted answers, so that no year follows. All others change the
    model's weights, train on the known rows too, and return None. "weights": the whole model; the
    newcomers' embeddings start near 0, with a far start at random as large as others. "blocks", or
    one of them: no embeddings and no unembedding, as if names consisted of known tokens.
    """
    if place not in ("vectors", "vectors, shuffled"):
        if place == "weights, far start":
            _start_far(model, world, seed)
        mixed = tensors([*rows.known, *rows.relations])
        model.requires_grad_(requires_grad=False)
        for part in _trained_modules(model, place):
            part.requires_grad_(requires_grad=True)
        train(model, mixed, Optimizer(steps, batch=BATCH), seed, weights=sampling_weights(rows))
        model.requires_grad_(requires_grad=True)
        return None
    trained_rows = (
        rows.relations if place == "vectors" else shuffled(rows.relations, random.Random(seed))
    )
    start = torch.zeros(world.newcomers, model.shape.d_model)
    optimizer = Optimizer(steps, rate=VECTOR_RATE, weight_decay=0.0, batch=BATCH)
    return train_vectors(
        model, tensors(with_vector_tokens(world, trained_rows)), start, optimizer, seed
    )


def _start_far(model: SmallTransformer, world: World, seed: int) -> None:
    """Set newcomers' embeddings to random ones with the mean norm of the z's."""
    table = model.embedding.weight.detach()  # shares its memory
    size = float(table[list(world.z)].norm(dim=1).mean())
    shape = (world.newcomers, table.shape[1])
    table[-world.newcomers :] = random_like(torch.full(shape, size / shape[1] ** 0.5), seed)


def _trained_modules(model: SmallTransformer, place: Place) -> Sequence[nn.Module]:
    """The modules that a place trains."""
    first, *_, last = model.blocks
    parts: dict[str, Sequence[nn.Module]] = {
        "first block": [first],
        "second block": [last],
        "blocks": [model.blocks],
        "weights": [model],
        "weights, far start": [model],
    }
    return parts[place]


def sampling_weights(rows: Newcomers) -> Tensor:
    """Sampling weights [row]: half of a batch is about newcomers."""
    parts = [torch.full((len(part),), 1 / len(part)) for part in (rows.known, rows.relations)]
    return torch.cat(parts)


def random_like(vectors: Tensor, seed: int) -> Tensor:
    """Vectors of the same norms in random directions."""
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
    result: Tensor = drawn / drawn.norm(dim=1, keepdim=True) * vectors.norm(dim=1, keepdim=True)
    return result


def with_vector_tokens(world: World, rows: Sequence[Row]) -> list[Row]:
    """The rows with each newcomer's token replaced by the id of its vector."""
    first = world.tokens - world.newcomers

    def moved(token: int) -> int:
        return token + world.newcomers if token >= first else token

    return [Row(tuple(map(moved, row.prompt)), row.answer) for row in rows]


def shuffled(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """The same questions with permuted answers."""
    answers = [row.answer for row in rows]
    rng.shuffle(answers)
    return [Row(row.prompt, answer) for row, answer in zip(rows, answers, strict=True)]
