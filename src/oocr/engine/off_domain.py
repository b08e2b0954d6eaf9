"""Training with a penalty on changes in other texts: loss + weight * KL(base || trained) there.

Turner, Soligo et al. ("narrow misalignment is hard") train so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import TokenSequence
from oocr.data.examples import Prompt
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import SteeringMask, final_rows
from oocr.engine.recording import Recording, batch_of, record
from oocr.engine.training_batches import training_groups
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import reuses_keys
from oocr.steering.positions import select_each


@dataclass(frozen=True, slots=True)
class OffText:
    """A text whose predictions should not change, with the spans where a vector acts."""

    prompt: Prompt
    spans: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class OffDomain:
    """A penalty on what training does to other texts.

    With p the untouched model's and q the trained one's prediction after a token, each step adds
    weight * mean KL(p || q), over the chosen tokens of one batch of texts; batches take turns.

    None of the texts may be part of the training or the test.
    """

    texts: tuple[OffText, ...]
    weight: float = 1.0  # nats of loss per example for one nat of KL per token
    tokens: int | None = None  # number of last tokens of each text; None: all but its first
    batch: int = 8  # texts per step

    def __post_init__(self) -> None:
        if not self.texts:
            raise InputError("off_domain.texts: found none; allowed: one or more")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InputError(f"off_domain.weight: found {self.weight}; allowed: 0 or more")
        for name in ("tokens", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"off_domain.{name}: found {value}; allowed: 1 or more")


@dataclass(frozen=True, slots=True)
class OffDomainBatch:
    """A batch of those texts, recorded, with the untouched model's log-probabilities."""

    recording: Recording
    mask: SteeringMask | None  # where a vector acts; None for an adapter
    logp: Float[Tensor, "row vocab"]

    def kl(
        self, model: LanguageModel, rows: Float[Tensor, "arm row d_model"]
    ) -> Float[Tensor, " arm"]:
        """Mean KL(base || arm) per token, from each arm's last block's output."""
        logp = model.anatomy.readout(rows.flatten(0, 1)).float().log_softmax(dim=-1)
        logp = logp.view(len(rows), *self.logp.shape)
        return (self.logp.exp() * (self.logp - logp)).sum(dim=-1).mean(dim=-1)


@torch.no_grad()
def references(
    model: LanguageModel, off: OffDomain, starts: Collection[int], positions: str | None
) -> list[OffDomainBatch]:
    """Run the untouched model over the texts once; `positions` is None for an adapter.

    Raises:
        InputError: a text in which the vector acts at no token, or of one token.
    """
    sequences = [_sequence(model, text, off.tokens) for text in off.texts]
    texts: list[OffDomainBatch] = []
    for group in training_groups(sequences, off.batch):
        batch = batch_of(model, group)
        recording = record(model, batch, {*starts, model.n_blocks}, cache=positions is not None)
        logits = model.anatomy.readout(final_rows(model, recording, None)[0])
        mask = None
        if positions is not None:
            mask = SteeringMask.of(batch, select_each(batch, positions), in_time=reuses_keys(model))
        texts.append(OffDomainBatch(recording, mask, logits.float().log_softmax(dim=-1)))
    return texts


def rows_per_step(model: LanguageModel, off: OffDomain) -> int:
    """The most tokens whose predictions one step compares."""
    longest = max(len(_sequence(model, text, off.tokens).targets) for text in off.texts)
    return min(off.batch, len(off.texts)) * longest


def _sequence(model: LanguageModel, text: OffText, tokens: int | None) -> TokenSequence:
    encoded = encode_prompt(model.tokenizer, text.prompt, text.spans)
    size = len(encoded.ids)
    if size < 2:
        raise InputError(f"off_domain.texts: {text.prompt!r} is one token; allowed: two or more")
    first = max(1, 0 if tokens is None else size - tokens)
    return TokenSequence.of(encoded, range(first, size))
