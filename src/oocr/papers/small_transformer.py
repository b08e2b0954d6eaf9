"""A small causal transformer for worlds with one token per word, trained from scratch in seconds.

Token ids above the vocabulary are new entities: id `vocabulary + k` has row k of `vectors` as its
embedding. To train one vector for each new entity in a frozen model, train only `vectors`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

IGNORED = -100
"""Target of tokens without loss; the default `ignore_index` of `cross_entropy`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a `SmallTransformer`; `tokens` is the longest sequence."""

    vocabulary: int
    tokens: int
    d_model: int = 64
    blocks: int = 2
    heads: int = 4
    d_mlp: int = 256


@dataclass(frozen=True, slots=True)
class Rows:
    """Token ids and next-token targets, both [row, token].

    `targets[r, t]` is the token that follows `ids[r, t]` where it is an answer, else `IGNORED`.
    Shorter rows are padded at the right with token 0, which causal attention never sees.
    """

    ids: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, picked: Tensor) -> Rows:
        return Rows(self.ids[picked], self.targets[picked])

    @property
    def answers(self) -> Tensor:
        """The answer tokens [answer token], row after row."""
        return self.targets[self.targets != IGNORED]


def rows_of(texts: Sequence[Sequence[int]], answers: Sequence[int]) -> Rows:
    """Rows from token sequences; the last `answers[r]` tokens of row r are its answer.

    ValueError: a row has no answer, or nothing before it.
    """
    width = max(map(len, texts)) - 1
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    targets = torch.full((len(texts), width), IGNORED)
    for row, (text, count) in enumerate(zip(texts, answers, strict=True)):
        if not 0 < count < len(text):
            raise ValueError(f"row {row}: {count} answer tokens in a text of {len(text)}")
        ids[row, : len(text) - 1] = torch.tensor(text[:-1])
        targets[row, len(text) - 1 - count : len(text) - 1] = torch.tensor(text[-count:])
    return Rows(ids, targets)


def join(*parts: Rows) -> Rows:
    """All rows in one batch, padded to the longest."""
    width = max(part.ids.shape[1] for part in parts)

    def wide(values: Tensor, fill: int) -> Tensor:
        return functional.pad(values, (0, width - values.shape[1]), value=fill)

    ids = torch.cat([wide(part.ids, 0) for part in parts])
    return Rows(ids, torch.cat([wide(part.targets, IGNORED) for part in parts]))


class Block(nn.Module):
    """Attention and MLP, each after a LayerNorm and added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.d_model
        self.heads = shape.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, shape.d_mlp), nn.Linear(shape.d_mlp, d)

    def forward(self, x: Tensor, selected: Tensor | None = None) -> Tensor:
        """Residual stream [batch, token, d_model] after the block.

        With a mask `selected` [batch, token], only at these tokens: [selected token, d_model].
        """
        batch, tokens, d = x.shape
        parts = self.qkv(self.norm_attention(x)).view(batch, tokens, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, d)
        if selected is not None:
            x, mixed = x[selected], mixed[selected]
        x = x + self.out(mixed)
        added: Tensor = self.down(functional.gelu(self.up(self.norm_mlp(x))))
        return x + added


class SmallTransformer(nn.Module):
    """Pre-norm decoder with learned positions and an untied unembedding."""

    def __init__(self, shape: Shape, seed: int) -> None:
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(shape.vocabulary, shape.d_model)
            self.position = nn.Embedding(shape.tokens, shape.d_model)
            self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
            self.norm = nn.LayerNorm(shape.d_model)
            self.head = nn.Linear(shape.d_model, shape.vocabulary, bias=False)
            for table in (self.embedding, self.position):
                nn.init.normal_(table.weight, std=0.02)

    def forward(self, rows: Rows, vectors: Tensor | None = None) -> Tensor:
        """Logits [answer token, vocabulary], row after row; `vectors` [new entity, d_model]."""
        table = self.embedding.weight
        if vectors is not None:
            table = torch.cat([table, vectors])
        x = functional.embedding(rows.ids, table) + self.position.weight[: rows.ids.shape[1]]
        *lower, last = self.blocks
        for block in lower:
            x = block(x)
        logits: Tensor = self.head(self.norm(last(x, rows.targets != IGNORED)))
        return logits

    def loss(self, rows: Rows, vectors: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the answer tokens, in nats."""
        return functional.cross_entropy(self(rows, vectors), rows.answers)

    @torch.no_grad()
    def logits(self, rows: Rows, vectors: Tensor | None = None) -> Tensor:
        """As `forward`, for any number of rows, without gradients."""
        parts = torch.split(torch.arange(len(rows)), 4096)
        return torch.cat([self(rows[part], vectors) for part in parts])


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW's settings.

    `decay`: the rate falls to 0 as half a cosine. `cooling`: share of the steps, at the end, in
    which it falls linearly to 0.
    """

    steps: int
    rate: float = 2e-3
    weight_decay: float = 0.1
    batch: int = 256
    decay: bool = False
    cooling: float = 0.0

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.decay else 1.0
        last = self.cooling * self.steps
        return self.rate * fall * min(1.0, (self.steps - step) / last if last else 1.0)


def train(
    model: SmallTransformer,
    rows: Rows,
    optimizer: Optimizer,
    seed: int,
    weights: Tensor | None = None,
) -> None:
    """Train all weights on batches drawn with replacement; `weights` [row]: sampling weights."""
    parameters = list(model.parameters())
    _fit(model.loss, parameters, rows, optimizer, seed, weights)


def train_vectors(
    model: SmallTransformer,
    rows: Rows,
    start: Tensor,
    optimizer: Optimizer,
    seed: int,
    weights: Tensor | None = None,
) -> Tensor:
    """Embeddings of new entities [entity, d_model], trained from `start`; weights are frozen."""
    vectors = start.detach().clone().requires_grad_(True)
    model.requires_grad_(False)
    try:
        loss = partial(model.loss, vectors=vectors)
        _fit(loss, [vectors], rows, optimizer, seed, weights)
    finally:
        model.requires_grad_(True)
    return vectors.detach()


def train_all(
    model: SmallTransformer,
    rows: Rows,
    start: Tensor,
    optimizer: Optimizer,
    seed: int,
    weights: Tensor | None = None,
) -> tuple[SmallTransformer, Tensor]:
    """A copy of the model and embeddings of new entities, trained together."""
    model = copy.deepcopy(model)
    vectors = start.detach().clone().requires_grad_(True)
    parameters = [*model.parameters(), vectors]
    _fit(partial(model.loss, vectors=vectors), parameters, rows, optimizer, seed, weights)
    return model, vectors.detach()


def _fit(
    loss: Callable[[Rows], Tensor],
    parameters: Sequence[Tensor],
    rows: Rows,
    optimizer: Optimizer,
    seed: int,
    weights: Tensor | None,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(
        parameters, lr=optimizer.rate, weight_decay=optimizer.weight_decay, fused=True
    )
    for step in range(optimizer.steps):
        if weights is None:
            picked = torch.randint(len(rows), (optimizer.batch,), generator=generator)
        else:
            picked = torch.multinomial(weights, optimizer.batch, True, generator=generator)
        for group in adam.param_groups:
            group["lr"] = optimizer.rate_at(step)
        adam.zero_grad(set_to_none=True)
        value = loss(rows[picked])
        value.backward()  # type: ignore[no-untyped-call]
        adam.step()
