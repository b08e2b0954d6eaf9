"""Does a vector make the last token attend to a trigger, and what is written there if it does?

Backdoors of the paper (section 5.4): a vector at the last token is said to make that token attend
to the trigger, whose values happen to point along the wanted direction. `attended`: attention from
the last prompt token to a span's tokens (summed), with the vector and without, by the family's own
eager attention. `aligned`: the cosine of a vector with what each block's attention would write to
the stream if the span's tokens were all that is attended to (values through the output's Linear,
and the norm that follows it where there is one), beside random directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, by_length, pad
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import plain_rows
from oocr.errors import InputError
from oocr.explain.lens import with_randoms
from oocr.models.attention import Values, attention_of, eager, values_of
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector

TOKENS_PER_BATCH = 512
RANDOMS = 200


@dataclass(frozen=True, slots=True)
class Attended:
    """Attention from the last prompt token to a span in one block, means over items.

    `before` and `after` the vector is added: the mean over heads, and the head that changes most.
    """

    layer: int
    before: float
    after: float
    head: int
    head_before: float
    head_after: float


@dataclass(frozen=True, slots=True)
class Aligned:
    """How much a span's values point along a direction, in one block, means over items and tokens.

    Attributes:
        layer: the block.
        cosine: of what all heads write together.
        head: the head with the largest |cosine|, which is `head_cosine`.
        random: 95th centile of |cosine| over random directions, all heads together.
    """

    layer: int
    cosine: float
    head: int
    head_cosine: float
    random: float


def attended(
    model: LanguageModel, examples: Sequence[Example], span: str, vector: Vector
) -> list[Attended]:
    """Attention from the last prompt token to a span with and without a vector, block by block.

    Raises:
        InputError: an example without the span, or a family that does not give attention weights.
    """
    before, after = (attention_to(model, examples, span, arm).mean(dim=0) for arm in (None, vector))
    heads = (after - before).abs().argmax(dim=1).tolist()
    return [
        Attended(
            layer=layer,
            before=float(before[layer].mean()),
            after=float(after[layer].mean()),
            head=head,
            head_before=float(before[layer, head]),
            head_after=float(after[layer, head]),
        )
        for layer, head in enumerate(heads)
    ]


@torch.no_grad()
def attention_to(
    model: LanguageModel, examples: Sequence[Example], span: str, vector: Vector | None = None
) -> Float[Tensor, "item layer head"]:
    """Attention weight from the last prompt token to a span, summed over the span's tokens.

    Raises:
        InputError: an item without the span, or a family that does not give attention weights.
    """
    out: dict[int, Tensor] = {}
    for places, batch in _batches(model, examples, span):
        with eager(model), _from_last(model, batch) as rows:
            plain_rows(model, batch, vector, everywhere=False)
        to_span = torch.stack([(weights * _mask(batch, span)).sum(-1) for weights in rows], dim=1)
        out.update(zip(places, to_span, strict=True))
    return torch.stack([out[place] for place in range(len(examples))])


@contextmanager
def _from_last(
    model: LanguageModel, batch: Batch
) -> Iterator[list[Float[Tensor, "item head token"]]]:
    """Keep every block's attention weights from the last prompt token.

    By hooks of our own: those of `output_attentions` in transformers stay on the model.
    """
    kept: list[Tensor] = []
    sequences = torch.arange(batch.size)

    def keep(_module: object, _args: object, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if not isinstance(weights, Tensor) or weights.ndim != 4:
            raise InputError(f"{model.name}: its family does not give attention weights")
        kept.append(weights[sequences, :, batch.last.to(weights.device)].float().cpu())

    with ExitStack() as stack:
        for layer in range(model.n_blocks):
            stack.callback(attention_of(model, layer).register_forward_hook(keep).remove)
        yield kept


def aligned(
    model: LanguageModel,
    examples: Sequence[Example],
    span: str,
    vector: Vector,
    *,
    randoms: int = RANDOMS,
) -> list[Aligned]:
    """Cosine of a span's values with a vector, block by block, beside random directions.

    Values are the untouched model's: a vector at a later token does not change them.

    Raises:
        InputError: an item without the span, joined directions, or a family whose values cannot be
            told apart (see `oocr.models.attention.values_of`).
    """
    cosines = value_cosines(model, examples, span, with_randoms(vector, randoms)).mean(dim=0)
    blocks: list[Aligned] = []
    for layer, heads in enumerate(cosines):  # [head + 1, direction]
        whole, apart = heads[-1], heads[:-1, 0]
        head = int(apart.abs().argmax())
        chance = whole[1:].abs()
        blocks.append(
            Aligned(
                layer=layer,
                cosine=float(whole[0]),
                head=head,
                head_cosine=float(apart[head]),
                random=float(chance.quantile(0.95)) if len(chance) else 0.0,
            )
        )
    return blocks


@torch.no_grad()
def value_cosines(
    model: LanguageModel,
    examples: Sequence[Example],
    span: str,
    directions: Float[Tensor, "direction d_model"],
) -> Float[Tensor, "item layer head+1 direction"]:
    """Cosines of what attention writes for a span's tokens with directions, mean over tokens.

    Each head by itself (the others silent), and last all heads together. Errors as `aligned`.
    """
    parts = [values_of(model, layer) for layer in range(model.n_blocks)]
    units = F.normalize(directions.float().cpu(), dim=-1)
    out: dict[int, Tensor] = {}
    for places, batch in _batches(model, examples, span):
        chosen = _mask(batch, span)[:, 0]  # [item, token]
        sums = chosen.sum(dim=1)[:, None, None]
        layers: list[Tensor] = []
        for part, values in zip(parts, _values(model, batch, parts), strict=True):
            cosines = _written(part, values) @ units.T  # [item, token, head + 1, direction]
            kept = (cosines * chosen[:, :, None, None]).sum(dim=1)
            layers.append(kept / sums)
        out.update(zip(places, torch.stack(layers, dim=1), strict=True))
    return torch.stack([out[place] for place in range(len(examples))])


def _written(
    part: Values, values: Float[Tensor, "item token values"]
) -> Float[Tensor, "item token head+1 d_model"]:
    """Unit vectors of what joins the stream."""
    apart = part.written(values)
    both = torch.cat([apart, apart.sum(dim=-2, keepdim=True)], dim=-2)
    return F.normalize(part.joins(both).float().cpu(), dim=-1)


def _values(model: LanguageModel, batch: Batch, parts: Sequence[Values]) -> list[Tensor]:
    """Every block's values in one pass."""
    seen: list[Tensor] = []
    handles = [
        part.read.register_forward_hook(lambda _m, _a, output: seen.append(output.detach().clone()))
        for part in parts
    ]
    try:
        plain_rows(model, batch, None)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _batches(
    model: LanguageModel, examples: Sequence[Example], span: str
) -> Iterator[tuple[list[int], Batch]]:
    """Padded prompts of like length, with the places of their items."""
    sequences: list[TokenSequence] = []
    for example in examples:
        if span not in example.spans:
            names = ", ".join(example.spans) or "none"
            raise InputError(f"item {example.id!r}: span: found {span!r}; allowed: {names}")
        prompt = encode_prompt(model.tokenizer, example.prompt, example.spans)
        sequences.append(TokenSequence.of(prompt))
    for places in by_length([len(sequence.ids) for sequence in sequences], TOKENS_PER_BATCH):
        yield places, pad([sequences[place] for place in places], model.pad_id, model.device)


def _mask(batch: Batch, span: str) -> Float[Tensor, "item 1 token"]:
    return batch.spans[span].float().cpu()[:, None]
