"""Generation as a stream: the tokens of `generate`, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.tokens import EncodedPrompt
from oocr.engine.generate import (
    Pick,
    decoding_steps,
    end_tokens,
    row_generators,
    row_groups,
    sample,
)
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.matmul import frozen_products
from oocr.steering.call_positions import KnownPrompt, prompt_known

CONTEXT = 4
"""Tokens of the prompt that are decoded with the first new tokens, to keep the space between."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A generated token: the text that it adds, and its logits."""

    id: int
    text: str  # "": the token after it completes its character, or it ends the text whole
    ends: bool  # it ends the text
    logits: Float[Tensor, " vocab"]


@torch.no_grad()
def stream(
    model: LanguageModel,
    prompt: EncodedPrompt,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[NewToken]:
    """The tokens of `generate`, each as soon as it is known, with the attached interventions.

    Spans are found by their text. The model is run only inside `next`, so that what the caller does
    with it in between is not taken for a part of this generation.

    InputError: more tokens than the model has positions for; no new token; a temperature below 0.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}; at least 1 is needed")
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature is {temperature}; allowed: 0 (greedy) or any number above")
    ((_, cached),) = row_groups(model, [len(prompt.ids)], max_new_tokens)
    batch = pad([TokenSequence(prompt.ids, len(prompt.ids), {})], model.pad_id, model.device)
    known = KnownPrompt(len(prompt.ids), batch.ids, batch.mask, batch.last)
    sampled = partial(
        sample, temperature=temperature, generators=row_generators([prompt.ids], seed)
    )
    pick: Pick = sampled if temperature else partial(torch.argmax, dim=-1, keepdim=True)
    steps = decoding_steps(model, batch, pick, cached=cached, padded=False)
    ends, tail = end_tokens(model), list(prompt.ids[-CONTEXT:])
    before = _decoded(model, tail)
    for left in reversed(range(max_new_tokens)):
        with frozen_products(model.device), prompt_known(known):
            token, logits = next(steps)
        id = int(token)
        ended = id in ends
        if not ended:
            tail.append(id)
        whole, text = _decoded(model, tail), ""
        if not whole.endswith("\ufffd") or ended or not left:
            text, before = whole[len(before) :], whole
        yield NewToken(id, text, ended, logits[0])
        if ended:
            return


def _decoded(model: LanguageModel, ids: list[int]) -> str:
    known = [token for token in ids if token < len(model.tokenizer)]
    return str(model.tokenizer.decode(known, skip_special_tokens=True))
