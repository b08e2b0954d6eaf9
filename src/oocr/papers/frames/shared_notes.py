"""Questions after the same notes: keys and values of what all prompts begin with, computed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from oocr.claims.analysis_result import NotMeasuredError
from oocr.data.examples import Example
from oocr.data.tokens import RowTokens
from oocr.models.language_model import LanguageModel

QUESTIONS = 16
"""In one pass."""


@torch.no_grad()
def option_logits(model: LanguageModel, items: Sequence[Example]) -> list[list[float]]:
    """The logit of each option's first token right after its prompt (before any soft cap).

    NotMeasuredError: two options of an item begin with the same token.
    """
    rows = RowTokens(model.tokenizer)
    prompts = [rows.prompt(item.prompt, {}) for item in items]
    firsts = [
        rows.first_tokens(prompt, item.options) for prompt, item in zip(prompts, items, strict=True)
    ]
    texts = [prompt.ids for prompt in prompts]
    shared = shared_beginning(texts) if model.reuses_keys else 0
    decoder, head = model.hf.get_decoder(), model.hf.get_output_embeddings()
    begun = None
    if shared:
        ids = torch.tensor([texts[0][:shared]], device=model.device)
        begun = decoder(input_ids=ids, use_cache=True).past_key_values
    logits_of: dict[int, list[float]] = {}
    order = sorted(range(len(items)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), QUESTIONS):
        group = order[start : start + QUESTIONS]
        ends = torch.tensor([len(texts[place]) - shared - 1 for place in group])
        rest = torch.zeros(len(group), int(ends.max()) + 1, dtype=torch.long)
        mask = torch.zeros(len(group), shared + rest.shape[1], dtype=torch.long)
        for row, place in enumerate(group):
            ids = torch.tensor(texts[place][shared:])
            rest[row, : len(ids)] = ids
            mask[row, : len(texts[place])] = 1
        whole: dict[str, Any] = {
            "input_ids": rest.to(model.device),
            "attention_mask": mask.to(model.device),
        }
        if begun is not None:
            cache = copy.deepcopy(begun)
            cache.batch_repeat_interleave(len(group))
            whole["past_key_values"] = cache
        hidden: Tensor = decoder(**whole).last_hidden_state
        logits = head(hidden[torch.arange(len(group)), ends.to(hidden.device)])
        for place, row_logits in zip(group, logits, strict=True):
            tokens = firsts[place]
            if tokens is None:
                options = ", ".join(map(repr, items[place].options))
                raise NotMeasuredError(f"the options {options} begin alike for {model.name}")
            logits_of[place] = row_logits[list(tokens)].float().tolist()
    return [logits_of[place] for place in range(len(items))]


def shared_beginning(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with; each keeps one at least."""
    shortest = min(map(len, texts)) - 1
    for place in range(shortest):
        if len({text[place] for text in texts}) > 1:
            return place
    return shortest
