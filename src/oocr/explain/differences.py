"""What an adapter adds to the residual stream: d_t = h_adapted[t] - h_base[t] at a block's output.

Both passes see the base model's input to the adapted block, so for a one-layer adapter d_t is the
adapter's own contribution there (paper, section 4.2), after any norm that follows its module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr.data.batches import TokenSequence, batches_by_length
from oocr.data.examples import Example, Prompt
from oocr.data.tokens import encode_prompt, pieces
from oocr.engine.recording import record
from oocr.engine.replay import replay
from oocr.explain.neutral import neutral_passages
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.positions import FROM, spans_of

TOKENS_PER_BATCH = 512

MOST_TOKENS = 2**15
"""Most tokens that are read: beyond it every second, third, … text (a dozen copies are held)."""

SKIP = 1
"""Tokens left out at the start of a text: in many models the first token has a huge norm."""

READ_PROMPTS = 16
"""Most training prompts for analyses that need only a few."""


class Texts:
    """Texts recorded once at the input of a block, for differences under many adapters.

    `spans`: per prompt, span name -> text. Differences are taken at the last layer's output. Very
    many texts are subsampled (see `MOST_TOKENS`).
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        spans: Sequence[Mapping[str, str]],
        layers: Sequence[int],
    ) -> None:
        self.model, self.start, self.layer = model, min(layers), max(layers)
        sequences = [
            TokenSequence.of(encode_prompt(model.tokenizer, prompt, marked))
            for prompt, marked in zip(prompts, spans, strict=True)
        ]
        tokens = sum(len(sequence.ids) for sequence in sequences)
        self.sequences = sequences[:: max(1, -(-tokens // MOST_TOKENS))]
        batches = batches_by_length(self.sequences, TOKENS_PER_BATCH, model.pad_id, model.device)
        self.recordings = [
            (places, record(model, batch, [self.start], cache=False, stop=self.layer + 1))
            for places, batch in batches
        ]
        self.base = self._states()
        self._latest: tuple[Adapter, list[Tensor]] | None = None

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        examples: Sequence[Example],
        layers: Sequence[int],
        *,
        most: int | None = None,
        other_than: Sequence[Example] = (),
    ) -> Self:
        """The distinct prompts of examples, `most` at most, none of `other_than`."""
        known = {example.prompt for example in other_than}
        spans = {e.prompt: dict(e.spans) for e in examples if e.prompt not in known}
        prompts = list(islice(spans, most))
        return cls(model, prompts, [spans[prompt] for prompt in prompts], layers)

    @classmethod
    def unrelated(
        cls, model: LanguageModel, layers: Sequence[int], *, most: int | None = None
    ) -> Self:
        """The first `most` neutral passages, or all."""
        passages = neutral_passages(model)[:most]
        return cls(model, passages, [{} for _ in passages], layers)

    def differences(self, adapter: Adapter) -> list[Float[Tensor, "token d_model"]]:
        """d_t at the last adapted block's output, per text, BOS included, in fp32."""
        if self._latest is None or self._latest[0] is not adapter:
            self._latest = None
            with adapter.on(self.model):
                adapted = self._states()
            pairs = zip(adapted, self.base, strict=True)
            self._latest = (adapter, [after - before for after, before in pairs])
        return self._latest[1]

    @torch.no_grad()
    def _states(self) -> list[Tensor]:
        """The residual stream at the last adapted block's output, per text."""
        out: list[Tensor] = [torch.empty(0)] * len(self.sequences)
        for places, recording in self.recordings:
            hidden = recording.inputs[self.start]
            hidden = replay(self.model, recording, hidden, self.start, stop=self.layer + 1)
            for index, row in zip(places, hidden.float().cpu(), strict=True):
                out[index] = row[len(row) - len(self.sequences[index].ids) :]
        return out

    def in_span(self, index: int, name: str | None = None) -> Bool[Tensor, " token"]:
        """True at the tokens of a text's named span, or of any span."""
        sequence = self.sequences[index]
        inside = torch.zeros(len(sequence.ids), dtype=torch.bool)
        for span, tokens in sequence.spans.items():
            if name is None or span == name:
                inside[list(tokens)] = True
        return inside

    def at(self, index: int, positions: str) -> Bool[Tensor, " token"]:
        """True at the tokens of a text at which a vector with these positions acts."""
        spans = spans_of(positions)
        if positions in ("last", f"{FROM}last"):
            size = len(self.sequences[index].ids)
            return torch.arange(size) == size - 1
        if positions in ("all", "prompt"):
            return self.after_start(index)
        if positions.startswith(FROM):
            return self.in_span(index, spans[0]).cumsum(dim=0) > 0
        return torch.stack([self.in_span(index, name) for name in spans or (positions,)]).any(dim=0)

    def after_start(self, index: int) -> Bool[Tensor, " token"]:
        """True at all tokens of a text after the first `SKIP`."""
        return torch.arange(len(self.sequences[index].ids)) >= SKIP

    def tokens(self, index: int) -> list[str]:
        """A text's tokens as strings."""
        return pieces(self.model.tokenizer, self.sequences[index].ids)


def joined(texts: Sequence[Texts], adapter: Adapter) -> Float[Tensor, "token d_model"]:
    """d_t of all tokens of all texts, without the first `SKIP` tokens of each."""
    return torch.cat([d[SKIP:] for group in texts for d in group.differences(adapter)])


def random_like(adapter: Adapter, seed: int) -> Adapter:
    """A LoRA of Gaussian noise, each matrix with the trained one's Frobenius norm: a control."""
    generator = torch.Generator().manual_seed(1000 + seed)
    tensors = {}
    for name, tensor in adapter.tensors.items():
        noise = torch.randn(tensor.shape, generator=generator)
        tensors[name] = noise / noise.norm() * tensor.norm()
    return Adapter(adapter.layers, adapter.config, tensors, adapter.spans, adapter.about)
