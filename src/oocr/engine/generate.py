"""Steered generation: token by token with a cache, positions absolute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from oocr.data.batches import Line, pad
from oocr.data.items import Prompt, prompt_text
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import Intervention
from oocr.errors import InputError
from oocr.interventions.adapters import attach_adapter
from oocr.interventions.attach import Push, push_vector
from oocr.interventions.positions import select
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel

GROWING = ("all", "answer")
"""Selectors that also name the tokens that are generated."""


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

    A vector acts at the same absolute positions as in training: at a span of the prompt in the
    prefill, at "all" or "answer" tokens also on each new token. Greedy, every prompt gets what it
    would get alone; sampled, the draws depend on the place in the batch.

    Args:
        model: the model.
        prompts: raw texts or chats, or a single one.
        intervention: a vector, an adapter, or None.
        max_new_tokens: at most so many new tokens; generation also stops at an end token.
        temperature: 0 for greedy.
        seed: of the sampling.

    Raises:
        InputError: a vector whose span occurs in no prompt; no new token asked for.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}; at least 1 is needed")
    many = [prompts] if isinstance(prompts, str) or _is_chat(prompts) else list(prompts)
    if not many:
        return []
    vector = intervention if isinstance(intervention, Vector) else None
    lines: list[Line] = []
    for prompt in many:
        assert isinstance(prompt, str | tuple)
        spans = dict(vector.spans) if vector else {}
        present = {name: text for name, text in spans.items() if text in prompt_text(prompt)}
        one = encode_prompt(model.tokenizer, prompt, present)
        lines.append(Line(one.ids, len(one.ids), dict(one.spans)))
    batch = pad(lines, int(model.tokenizer.pad_token_id or 0), model.device)
    chosen = select(batch, vector.positions, everywhere=False) if vector else None
    if vector and chosen is not None and not bool(chosen.any()) and vector.positions != "answer":
        raise InputError(f"positions {vector.positions!r} select no token of the prompts")
    if vector is not None:
        context: AbstractContextManager[Push | None] = push_vector(model, vector)
    elif intervention is not None:
        context = _adapter(model, intervention)
    else:
        context = nullcontext()
    sampler = torch.Generator(device=model.device).manual_seed(seed)
    ends = _end_tokens(model)
    new: list[Tensor] = []
    finished = torch.zeros(batch.size, dtype=torch.bool, device=model.device)
    with context as push:
        ids, positions = batch.ids, batch.positions
        mask = batch.mask.long()
        past = None
        for _ in range(max_new_tokens):
            if push is not None:
                grows = vector is not None and vector.positions in GROWING
                push.chosen = chosen if past is None else torch.full_like(ids, grows).bool()
            out = model.hf(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            past = out.past_key_values
            logits = out.logits[:, -1].float()
            if temperature > 0:
                probabilities = (logits / temperature).softmax(dim=-1)
                ids = torch.multinomial(probabilities, 1, generator=sampler)
            else:
                ids = logits.argmax(dim=-1, keepdim=True)
            ids = ids.masked_fill(finished[:, None], ends[0] if ends else 0)
            new.append(ids)
            finished = finished | torch.isin(ids[:, 0], torch.tensor(ends, device=ids.device))
            if bool(finished.all()):
                break
            positions = positions[:, -1:] + 1
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    texts: list[str] = []
    for row in torch.cat(new, dim=1).tolist():
        stop = next((i for i, token in enumerate(row) if token in ends), len(row))
        texts.append(str(model.tokenizer.decode(row[:stop], skip_special_tokens=True)))
    return texts


def _is_chat(prompts: object) -> bool:
    from oocr.data.items import Message

    return isinstance(prompts, tuple) and bool(prompts) and isinstance(prompts[0], Message)


def _end_tokens(model: LanguageModel) -> list[int]:
    config = getattr(model.hf, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    found = ends if isinstance(ends, list) else [ends]
    return sorted({one for one in [*found, model.tokenizer.eos_token_id] if isinstance(one, int)})


@contextmanager
def _adapter(model: LanguageModel, intervention: Intervention) -> Iterator[None]:
    assert not isinstance(intervention, Vector)
    with attach_adapter(model, intervention):
        yield None
