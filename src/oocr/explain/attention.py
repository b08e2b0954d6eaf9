"""Does a vector make the last token attend to a trigger, and what is written there if it does?

Backdoors of the paper (section 5.4): a vector at the last token is said to make that token attend
to the trigger, whose values happen to point along the wanted direction. Weights are those of the
family's own eager attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, batches_by_length
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import plain_rows
from oocr.errors import InputError
from oocr.explain.differences import TOKENS_PER_BATCH
from oocr.models.attention import Values, attention_of, eager, values_of
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import hooked
from oocr.steering.vectors import Vector


@dataclass(frozen=True, slots=True)
class Attended:
    """Attention from the last prompt token to a span in one block, means over examples.

    `before` and `after` the vector is added: the mean over heads, and the head that changes most.
    """

    layer: int
    before: float
    after: float
    head: int
    head_before: float
    head_after: float


def attended(
    model: LanguageModel, examples: Sequence[Example], span: str, vector: Vector
) -> list[Attended]:
    """Attention from the last prompt token to a span with and without a vector, block by block.

    InputError: an example without the span, or a family that does not give attention weights.
    """
    before, after = (attention_to(model, examples, span, arm).mean(dim=0) for arm in (None, vector))
    blocks: list[Attended] = []
    for layer, head in enumerate((after - before).abs().argmax(dim=1).tolist()):
        means = float(before[layer].mean()), float(after[layer].mean())
        of_head = float(before[layer, head]), float(after[layer, head])
        blocks.append(Attended(layer, *means, head, *of_head))
    return blocks


@torch.no_grad()
def attention_to(
    model: LanguageModel, examples: Sequence[Example], span: str, vector: Vector | None = None
) -> Float[Tensor, "example layer head"]:
    """Attention weight from the last prompt token to a span, summed over its tokens.

    InputError: as `attended`.
    """
    modules = [attention_of(model, layer) for layer in range(model.n_blocks)]

    def read(batch: Batch, in_span: Tensor) -> Tensor:
        kept: list[Tensor] = []

        def keep(_module: object, _args: object, output: Any) -> None:
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if not isinstance(weights, Tensor) or weights.ndim != 4:
                raise InputError(f"{model.name}: its family does not give attention weights")
            from_last = weights[torch.arange(batch.size), :, batch.last.to(weights.device)]
            kept.append((from_last.float().cpu() * in_span[:, None]).sum(-1))

        # The hooks of `output_attentions` in transformers would stay on the model.
        with eager(model), hooked(*[module.register_forward_hook(keep) for module in modules]):
            plain_rows(model, batch, vector, everywhere=False)
        return torch.stack(kept, dim=1)

    return _of_examples(model, examples, span, read)


@torch.no_grad()
def value_cosines(
    model: LanguageModel,
    examples: Sequence[Example],
    span: str,
    directions: Float[Tensor, "direction d_model"],
) -> Float[Tensor, "example layer head+1 direction"]:
    """Cosines with directions of what attention would write if only a span were attended to.

    Values of the untouched model go through the output's Linear, and the norm that follows it where
    there is one. Means over the span's tokens; each head by itself, and last all heads together.

    InputError: an example without the span, or a family whose values cannot be told apart (see
    `oocr.models.attention.values_of`).
    """
    parts = [values_of(model, layer) for layer in range(model.n_blocks)]
    units = F.normalize(directions.float().cpu(), dim=-1)

    def read(batch: Batch, in_span: Tensor) -> Tensor:
        values: list[Tensor] = []

        def keep(_module: object, _args: object, output: Tensor) -> None:
            values.append(output.detach().clone())

        with hooked(*[part.read.register_forward_hook(keep) for part in parts]):
            plain_rows(model, batch, None)
        sums = in_span.sum(dim=1)[:, None, None]
        layers: list[Tensor] = []
        for part, of_layer in zip(parts, values, strict=True):
            cosines = _written(part, of_layer) @ units.T  # [example, token, head + 1, direction]
            layers.append((cosines * in_span[:, :, None, None]).sum(dim=1) / sums)
        return torch.stack(layers, dim=1)

    return _of_examples(model, examples, span, read)


def _written(
    part: Values, values: Float[Tensor, "example token values"]
) -> Float[Tensor, "example token head+1 d_model"]:
    """Unit vectors of what attention adds to the stream."""
    apart = part.written(values)
    both = torch.cat([apart, apart.sum(dim=-2, keepdim=True)], dim=-2)
    return F.normalize(part.joins(both).float().cpu(), dim=-1)


def _of_examples(
    model: LanguageModel,
    examples: Sequence[Example],
    span: str,
    read: Callable[[Batch, Float[Tensor, "example token"]], Tensor],
) -> Tensor:
    """`read` on batches of prompts and masks of their spans; results in the examples' order."""
    sequences: list[TokenSequence] = []
    for example in examples:
        if span not in example.spans:
            names = ", ".join(example.spans) or "none"
            raise InputError(f"item {example.id!r}: span: found {span!r}; allowed: {names}")
        prompt = encode_prompt(model.tokenizer, example.prompt, example.spans)
        sequences.append(TokenSequence.of(prompt))
    out: dict[int, Tensor] = {}
    batches = batches_by_length(sequences, TOKENS_PER_BATCH, model.pad_id, model.device)
    for places, batch in batches:
        out.update(zip(places, read(batch, batch.spans[span].float().cpu()), strict=True))
    return torch.stack([out[place] for place in range(len(examples))])
