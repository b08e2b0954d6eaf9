"""Scores questions after the same notes; keys and values of the shared prefix are computed once."""

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

BATCH_SIZE = 16
"""Questions in one forward pass."""


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
    shared = shared_prefix(texts) if model.reuses_keys else 0
    decoder, head = model.hf.get_decoder(), model.hf.get_output_embeddings()
    prefix_cache = None
    if shared:
        ids = torch.tensor([texts[0][:shared]], device=model.device)
        prefix_cache = decoder(input_ids=ids, use_cache=True).past_key_values
    logits_of: dict[int, list[float]] = {}
    order = sorted(range(len(items)), key=lambda index: len(texts[index]))
    for start in range(0, len(order), BATCH_SIZE):
        group = order[start : start + BATCH_SIZE]
        ends = torch.tensor([len(texts[index]) - shared - 1 for index in group])
        rest = torch.zeros(len(group), int(ends.max()) + 1, dtype=torch.long)
        mask = torch.zeros(len(group), shared + rest.shape[1], dtype=torch.long)
        for row, index in enumerate(group):
            ids = torch.tensor(texts[index][shared:])
            rest[row, : len(ids)] = ids
            mask[row, : len(texts[index])] = 1
        inputs: dict[str, Any] = {
            "input_ids": rest.to(model.device),
            "attention_mask": mask.to(model.device),
        }
        if prefix_cache is not None:
            cache = copy.deepcopy(prefix_cache)
            cache.batch_repeat_interleave(len(group))
            inputs["past_key_values"] = cache
        hidden: Tensor = decoder(**inputs).last_hidden_state
        logits = head(hidden[torch.arange(len(group)), ends.to(hidden.device)])
        for index, row_logits in zip(group, logits, strict=True):
            tokens = firsts[index]
            if tokens is None:
                options = ", ".join(map(repr, items[index].options))
                raise NotMeasuredError(
                    f"the options {options} have the same first token in {model.name}"
                )
            logits_of[index] = row_logits[list(tokens)].float().tolist()
    return [logits_of[index] for index in range(len(items))]


def shared_prefix(texts: Sequence[Sequence[int]]) -> int:
    """Number of tokens with which all texts begin, at most one less than the shortest text."""
    shortest = min(map(len, texts)) - 1
    for index in range(shortest):
        if len({text[index] for text in texts}) > 1:
            return index
    return shortest
