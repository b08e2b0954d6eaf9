"""Steered generation: token by token with a cache, positions absolute, rows independent."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.examples import Message, Prompt, prompt_text
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import Intervention
from oocr.errors import InputError
from oocr.models import machine
from oocr.models.language_model import LanguageModel
from oocr.models.machine import is_cpu, is_gpu
from oocr.models.matmul import frozen_products
from oocr.models.position_limits import position_limits
from oocr.steering.call_positions import prompt_known
from oocr.steering.positions import spans_of
from oocr.steering.vectors import Vector

LOOK_EVERY = 8
"""On an accelerator, tokens between checks whether all rows have ended: a check waits for it."""

Pick = Callable[[Float[Tensor, "batch vocab"]], Int[Tensor, "batch 1"]]


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompts: Prompt | Sequence[Prompt],
    intervention: Intervention | None = None,
    *,
    max_new_tokens: int = 16,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Continue prompts under an intervention; greedy unless a temperature is given.

    A vector acts at the same absolute positions as in training: at a span, "last" or "prompt" in
    the prompt only; at "all", "answer" or "from:…" also on each new token. Every prompt gets the
    same continuation as alone, up to rounding. A sampled prompt's draws depend on the seed and its
    own tokens only; its copies get different samples. Generation also stops at an end token.

    Raises:
        InputError: positions that are no selector or select no token of any prompt; no new token
            asked for; a temperature below 0; more tokens than the model has positions for.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}; at least 1 is needed")
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature is {temperature}; allowed: 0 (greedy) or any number above")
    listed = [prompts] if isinstance(prompts, str) or _is_chat(prompts) else list(prompts)
    vector = intervention if isinstance(intervention, Vector) else None
    ends = end_tokens(model)
    on = nullcontext() if intervention is None else intervention.on(model)
    with on, frozen_products(model.device):
        sequences = _encoded(model, listed, vector)
        groups = row_groups(model, [len(sequence.ids) for sequence in sequences], max_new_tokens)
        generators = row_generators([sequence.ids for sequence in sequences], seed)
        texts = [""] * len(sequences)
        for rows, cached in groups:
            batch = pad([sequences[row] for row in rows], model.pad_id, model.device)
            draws = [generators[row] for row in rows]
            sampled = partial(sample, temperature=temperature, generators=draws)
            pick: Pick = sampled if temperature else partial(torch.argmax, dim=-1, keepdim=True)
            with prompt_known(batch):
                padded = len({len(sequences[row].ids) for row in rows}) > 1
                tokens = _continued(model, batch, pick, max_new_tokens, ends, cached, padded)
            for row, ids in zip(rows, tokens.tolist(), strict=True):
                end = next((i for i, token in enumerate(ids) if token in ends), len(ids))
                known = [token for token in ids[:end] if token < len(model.tokenizer)]
                text = model.tokenizer.decode(known, skip_special_tokens=True)
                texts[row] = str(text)
    return texts


def row_generators(prompts: Sequence[tuple[int, ...]], seed: int) -> list[np.random.Generator]:
    """A generator per prompt that depends on the seed, its token ids, and its copies before it."""
    copies: Counter[tuple[int, ...]] = Counter()
    generators: list[np.random.Generator] = []
    for ids in prompts:
        origin = f"{seed} {copies[ids]} {' '.join(map(str, ids))}"
        digest = hashlib.sha256(origin.encode()).digest()
        generators.append(np.random.default_rng(int.from_bytes(digest)))
        copies[ids] += 1
    return generators


def sample(
    logits: Float[Tensor, "batch vocab"],
    temperature: float,
    generators: Sequence[np.random.Generator],
) -> Int[Tensor, "batch 1"]:
    """One token per row from softmax(logits / temperature), on the device of the logits.

    By the Gumbel-max rule: the token at which logit / temperature - log E is largest, E ~ Exp(1)
    for each token of the vocabulary. Rounding of the logits (it differs between batch sizes) then
    changes a draw only as often as it changes the distribution. Draws are made on the CPU, the same
    for every device.
    """
    on_gpu = is_gpu(logits.device)
    waits = machine.page_locked(logits.shape) if on_gpu else torch.empty(logits.shape)
    for row, generator in zip(waits.numpy(), generators, strict=True):
        row[:] = generator.standard_exponential(len(row))  # 53 random bits, rounded to 24
    # Elsewhere (MPS) the copy could still be running when its source is freed.
    gumbel = -waits.to(logits.device, non_blocking=on_gpu).log()
    # Minus the largest, so that no temperature, however low, makes two logits infinite.
    heights = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    return (heights + gumbel).argmax(dim=-1, keepdim=True)


def _continued(
    model: LanguageModel,
    batch: Batch,
    pick: Pick,
    count: int,
    ends: Sequence[int],
    cached: bool,
    padded: bool,
) -> Int[Tensor, "batch new"]:
    """Up to `count` tokens after each prompt; what follows a row's end token is arbitrary."""
    end_ids = torch.tensor(ends, dtype=torch.long, device=batch.ids.device)
    ended = torch.zeros_like(batch.mask[:, :1])
    look = 1 if is_cpu(batch.ids.device) else LOOK_EVERY
    new: list[Tensor] = []
    steps = decoding_steps(model, batch, pick, cached=cached, padded=padded)
    while True:
        token, _ = next(steps)
        new.append(token)
        ended = ended | torch.isin(token, end_ids)
        if len(new) == count or (len(new) % look == 0 and bool(ended.all())):
            return torch.cat(new, dim=1)


def decoding_steps(
    model: LanguageModel, batch: Batch, pick: Pick, *, cached: bool, padded: bool
) -> Iterator[tuple[Int[Tensor, "batch 1"], Float[Tensor, "batch vocab"]]]:
    """The next token of each prompt and its logits, without end.

    A step runs the model when it is requested, with the interventions attached at that time.
    """
    ids, at = batch.ids, batch.positions
    # transformers reads a mask, for which an accelerator has to wait.
    mask = batch.mask.long() if padded or is_cpu(ids.device) else None
    past = None
    while True:
        out = model.hf(
            input_ids=ids,
            attention_mask=mask,
            position_ids=at,
            use_cache=cached,
            **({} if past is None else {"past_key_values": past}),
            logits_to_keep=1,
        )
        logits = out.logits[:, -1].float()
        token = pick(logits)
        yield token, logits
        following = at[:, -1:] + 1
        if mask is not None:
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        past = getattr(out, "past_key_values", None)
        if past is not None:
            ids, at = token, following
            if mask is not None and not is_cpu(ids.device):
                _make_masks_unread(past)
        else:  # Mamba, OpenAI's first GPT: the text is run again
            ids, at = torch.cat([ids, token], dim=1), torch.cat([at, following], dim=1)


def _make_masks_unread(past: Any) -> None:
    """Let transformers make the masks of new tokens without reading whether one is needed.

    It does so for caches that can be compiled. Where rows are padded a mask is always needed.
    """
    for layer in getattr(past, "layers", ()):
        layer.is_compileable = True


def _encoded(
    model: LanguageModel, prompts: Sequence[object], vector: Vector | None
) -> list[TokenSequence]:
    """The prompts' tokens, with the vector's spans where they occur."""
    known = dict(vector.spans) if vector else {}
    needed = spans_of(vector.positions) if vector else ()
    sequences: list[TokenSequence] = []
    for prompt in prompts:
        if not (isinstance(prompt, str) or _is_chat(prompt)):
            raise InputError(f"prompt {prompt!r}: allowed: a text, or a tuple of messages")
        present = {name: text for name, text in known.items() if text in prompt_text(prompt)}
        sequences.append(TokenSequence.of(encode_prompt(model.tokenizer, prompt, present)))
    occurring = {name for sequence in sequences for name in sequence.spans}
    if vector and needed and sequences and not occurring & set(needed):
        texts = " or ".join(repr(known[name]) for name in needed if name in known)
        raise InputError(
            f"positions {vector.positions!r} select no token of the prompts: "
            f"{texts} occurs in none of them"
        )
    return sequences


def row_groups(
    model: LanguageModel, lengths: Sequence[int], count: int
) -> list[tuple[list[int], bool]]:
    """Rows that run together, and whether they may use a cache; refuses rows that get too long.

    Some rotary embeddings change their frequencies with the longest sequence of the batch; rows of
    that length run alone and without a cache.
    """
    limits = position_limits(model)
    together: list[int] = []
    alone: list[int] = []
    for row, length in enumerate(lengths):
        fed = length + count - 1  # the last new token is not fed back
        if limits.longest is not None and fed > limits.longest:
            raise InputError(
                f"prompt {row} has {length} tokens: with {count} new ones it passes the "
                f"{limits.longest} positions of {model.name}; "
                f"allowed: max_new_tokens up to {max(0, limits.longest - length + 1)}"
            )
        turns = limits.fixed_rotary is not None and fed > limits.fixed_rotary
        (alone if turns else together).append(row)
    groups = [(together, True)] if together else []
    return [*groups, *(([row], False) for row in alone)]


def _is_chat(prompt: object) -> TypeGuard[tuple[Message, ...]]:
    return isinstance(prompt, tuple) and bool(prompt) and isinstance(prompt[0], Message)


def end_tokens(model: LanguageModel) -> list[int]:
    """The ids of the tokens that end a text."""
    config = getattr(model.hf, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    tokens = [*(ends if isinstance(ends, list) else [ends]), model.tokenizer.eos_token_id]
    return sorted({token for token in tokens if isinstance(token, int)})
