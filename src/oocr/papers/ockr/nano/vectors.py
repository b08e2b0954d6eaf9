"""One vector for each newcomer in a frozen network, against all weights, on the same rows.

The network knows x and z: their years, and which of them share one. A newcomer is told only by
relations to z's; asked is the newcomer's year, of which no row says anything.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import torch
from torch import Tensor, nn

from oocr.papers.ockr.nano import world as made
from oocr.papers.ockr.nano.world import Row, World, apart, flat, matched
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
"""Yes rows of a newcomer, and as many no rows, each about another z."""


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Rows of the people whom the network knows (`old`), and rows on newcomers."""

    old: Sequence[Row]
    relations: Sequence[Row]
    questions: Sequence[Row]


def newcomer_rows(world: World, rng: random.Random) -> Newcomers:
    """Years of x and z, dense relations among them; relations of newcomers to z's; their years."""
    anchors = [(person,) for person in world.z]
    old = made.year_rows(world, [*flat(world.x), *world.z])
    for a, b in ((world.x, world.x), (world.x, anchors)):
        yes = matched(a, b, 10, rng)
        times = max(1, len(yes) // len(flat(a)) // 2)
        no = apart(a, b, times, rng) + apart(a, b, times, rng, neighbour=False)
        old += made.same_rows(world, yes + no)
    relations: list[Row] = []
    for g, people in enumerate(world.new):
        for person in people:
            relations += made.same_rows(world, [(person, world.z[g])]) * (TIMES // 2)
            others = [z for h, z in enumerate(world.z) if h != g]
            rng.shuffle(others)
            repeated = islice(cycle(others), TIMES)
            orders = [(person, z) if i % 2 else (z, person) for i, z in enumerate(repeated)]
            relations += made.same_rows(world, orders, turned=False)
    return Newcomers(old, relations, made.year_rows(world, flat(world.new)))


def teach(
    model: SmallTransformer, world: World, rows: Newcomers, place: Place, steps: int, seed: int
) -> Tensor | None:
    """Teach a trained model the newcomers' relations; their vectors [newcomer, d_model], if any.

    "vectors": only these are trained, from 0; "vectors, shuffled": the same on shuffled answers, so
    that no year follows; "weights": the whole model, on the old rows as well (newcomers' embeddings
    are near 0 until then, or random and as large as others' with a far start); "blocks" (or one of
    them): without embeddings and read-out, as where names are made of old tokens. These give None.
    """
    if place not in ("vectors", "vectors, shuffled"):
        if place == "weights, far start":
            _start_far(model, world, seed)
        mixed = made.tensors([*rows.old, *rows.relations])
        model.requires_grad_(requires_grad=False)
        for part in _trained(model, place):
            part.requires_grad_(requires_grad=True)
        train(model, mixed, Optimizer(steps, batch=BATCH), seed, weights=evenly(rows))
        model.requires_grad_(requires_grad=True)
        return None
    taught = rows.relations if place == "vectors" else shuffled(rows.relations, random.Random(seed))
    start = torch.zeros(world.newcomers, model.shape.d_model)
    by = Optimizer(steps, rate=VECTOR_RATE, weight_decay=0.0, batch=BATCH)
    return train_vectors(model, made.tensors(as_vectors(world, taught)), start, by, seed)


def _start_far(model: SmallTransformer, world: World, seed: int) -> None:
    """Give newcomers random embeddings, as large as those of the z's are on the average."""
    table = model.embedding.weight.detach()  # shares its memory
    size = float(table[list(world.z)].norm(dim=1).mean())
    shape = (world.newcomers, table.shape[1])
    table[-world.newcomers :] = random_like(torch.full(shape, size / shape[1] ** 0.5), seed)


def _trained(model: SmallTransformer, place: Place) -> Sequence[nn.Module]:
    """The parts of the model whose weights a place trains."""
    first, *_, last = model.blocks
    parts: dict[str, Sequence[nn.Module]] = {
        "first block": [first],
        "second block": [last],
        "blocks": [model.blocks],
        "weights": [model],
        "weights, far start": [model],
    }
    return parts[place]


def evenly(rows: Newcomers) -> Tensor:
    """How often each row is drawn: half of a batch is about newcomers."""
    parts = [torch.full((len(part),), 1 / len(part)) for part in (rows.old, rows.relations)]
    return torch.cat(parts)


def random_like(vectors: Tensor, seed: int) -> Tensor:
    """Vectors of the same norms in random directions."""
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
    result: Tensor = drawn / drawn.norm(dim=1, keepdim=True) * vectors.norm(dim=1, keepdim=True)
    return result


def as_vectors(world: World, rows: Sequence[Row]) -> list[Row]:
    """The rows with each newcomer's token replaced by that of the newcomer's vector."""
    first = world.tokens - world.newcomers

    def moved(token: int) -> int:
        return token + world.newcomers if token >= first else token

    return [Row(tuple(map(moved, row.prompt)), row.answer) for row in rows]


def shuffled(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """The same questions with each other's answers."""
    answers = [row.answer for row in rows]
    rng.shuffle(answers)
    return [Row(row.prompt, answer) for row, answer in zip(rows, answers, strict=True)]
