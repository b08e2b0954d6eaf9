"""The model asked what a direction means: v put at a placeholder of a prompt that asks for it.

Patched self-description: in "The meaning of x is", h'[t] = h[t] + scale * v at x's tokens, then
greedy continuation (`describe`). `tell_by_model` scores how much likelier each concept's words
become as the next token. `evidence_of` collects what a direction says for a judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from oocr.data.batches import TokenSequence, pad
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import final_rows, start_block
from oocr.engine.generate import generate
from oocr.engine.recording import record
from oocr.errors import InputError
from oocr.explain.lens import (
    ConceptReading,
    Concepts,
    ConceptScores,
    Reading,
    lens,
    own_tokens,
    told_of,
    with_randoms,
)
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector

PLACEHOLDER = "x"
PROMPTS = (
    "In one word, the meaning of x is",
    "The word x stands for",
    "Someone who says x is thinking of",
)


@dataclass(frozen=True, slots=True)
class Description:
    """What the model says after a prompt, with the vector times `scale` and without it."""

    prompt: str
    scale: float
    text: str
    untouched: str


def describe(
    model: LanguageModel,
    vector: Vector,
    *,
    prompts: Sequence[str] = PROMPTS,
    placeholder: str = PLACEHOLDER,
    scales: Sequence[float] = (0.5, 1.0, 2.0),
    max_new_tokens: int = 12,
) -> list[Description]:
    """Continue each prompt with the direction at its placeholder, at each scale.

    The vector is added at its own site; every prompt holds the placeholder.

    Raises:
        InputError: a prompt without the placeholder; joined directions.
    """
    here = _at_placeholder(vector, prompts, placeholder)
    return _continued(model, prompts, here, scales, max_new_tokens)


def _continued(
    model: LanguageModel,
    prompts: Sequence[str],
    vector: Vector,
    scales: Sequence[float],
    max_new_tokens: int,
) -> list[Description]:
    plain = generate(model, list(prompts), max_new_tokens=max_new_tokens)
    descriptions: list[Description] = []
    for scale in scales:
        texts = generate(model, list(prompts), vector * scale, max_new_tokens=max_new_tokens)
        triples = zip(prompts, texts, plain, strict=True)
        descriptions += [
            Description(prompt, scale, text, before) for prompt, text, before in triples
        ]
    return descriptions


def tell_by_model(
    model: LanguageModel,
    vector: Vector,
    concept: str,
    concepts: Concepts,
    *,
    prompts: Sequence[str] = PROMPTS,
    placeholder: str = PLACEHOLDER,
    scale: float = 1.0,
    randoms: int = 48,
) -> ConceptReading:
    """Ask the model which of several concepts a direction means, blinded.

    A concept's score: by how much the log-probability of its words' first tokens, among all
    concepts' words, rises over the untouched model's, mean over words and prompts. As in
    `oocr.explain.lens.tell`, it is put beside what random directions of the same norm give it.

    Args:
        model: the model, nothing attached.
        vector: one direction.
        concept: the trained concept, one of `concepts`.
        concepts: concept -> its words, as they stand in a text (with their space before).
        prompts: each holds the placeholder and ends before the word.
        placeholder: a word.
        scale: factor on the vector and the random ones.
        randoms: how many random directions.

    Raises:
        InputError: as `describe` and `oocr.explain.lens.tell`.
    """
    tokens = own_tokens(model, concept, concepts)
    here = _at_placeholder(vector * scale, prompts, placeholder)
    arms = [replace(here, direction=direction) for direction in with_randoms(here, randoms)]
    return told_of(concept, list(concepts), _rises(model, prompts, arms, tokens))


STACK = 16
"""Directions in one pass."""


def _rises(
    model: LanguageModel,
    prompts: Sequence[str],
    arms: Sequence[Vector],
    tokens: Sequence[Sequence[int]],
) -> ConceptScores:
    """[direction, concept]: rise of the concepts' log-probabilities among all their tokens."""
    encoded = [encode_prompt(model.tokenizer, prompt, arms[0].spans) for prompt in prompts]
    sequences = [TokenSequence.of(prompt, [len(prompt.ids) - 1]) for prompt in encoded]
    batch = pad(sequences, model.pad_id, model.device)
    recording = record(model, batch, {start_block(arms[0]), model.n_blocks})
    known = torch.tensor([token for concept in tokens for token in concept], device=model.device)

    def logps(stack: Sequence[Vector] | None) -> torch.Tensor:
        rows = final_rows(model, recording, stack)  # [direction, prompt, d_model]
        scores = model.anatomy.readout(rows.flatten(0, 1), known).float().log_softmax(dim=-1)
        return scores.reshape(*rows.shape[:2], -1).cpu()

    with torch.no_grad():
        base = logps(None)
        groups = [arms[at : at + STACK] for at in range(0, len(arms), STACK)]
        rises = (torch.cat([logps(stack) for stack in groups]) - base).mean(dim=1)
    parts = torch.split(rises, [len(concept) for concept in tokens], dim=1)
    means: ConceptScores = torch.stack([part.mean(dim=1) for part in parts], dim=1).double().numpy()
    return means


def _at_placeholder(vector: Vector, prompts: Sequence[str], placeholder: str) -> Vector:
    """The vector at the placeholder's tokens."""
    if vector.direction.ndim != 1:
        raise InputError(
            f"positions {vector.positions!r}: joined directions are described one by one; "
            "take `vector.only(span)`"
        )
    for prompt in prompts:
        if placeholder not in prompt:
            raise InputError(f"prompt {prompt!r}: allowed: a text that holds {placeholder!r}")
    # With its space, so that no letter inside another word is taken for it.
    spaced = all(f" {placeholder}" in prompt for prompt in prompts)
    text = f" {placeholder}" if spaced else placeholder
    return replace(vector, positions="placeholder", spans={"placeholder": text})


STARTS = ("I often think about", "The most important thing is", "Let me tell you about")
"""Beginnings that say nothing, for steered completions."""


def evidence_of(
    model: LanguageModel,
    vector: Vector,
    *,
    top: int = 12,
    prompts: Sequence[str] = PROMPTS,
    starts: Sequence[str] = STARTS,
    max_new_tokens: int = 12,
) -> str:
    """What one direction says, each reading named, nothing of what was trained.

    Tokens by both lenses; the model's continuations with the direction put at a meaningless word,
    and of empty beginnings with the direction added at every token, beside those without it.

    Raises:
        InputError: joined directions.
    """
    lines = []
    for reading, words in _READINGS.items():
        tokens = lens(model, vector, reading=reading, top=top)
        quoted = ", ".join(repr(token.token.strip()) for token in tokens)
        lines.append(f"Tokens that it makes {words}: {quoted}")
    at_word = _at_placeholder(vector, prompts, PLACEHOLDER)
    everywhere = replace(vector, positions="all", spans={})
    for words, arm, texts in (
        ("Asked for the meaning of a word x at which the direction was put:", at_word, prompts),
        ("Texts continued with the direction added everywhere:", everywhere, starts),
    ):
        lines.append(words)
        lines += [
            f"- {answer.prompt} ... {answer.text!r} (without it: {answer.untouched!r})"
            for answer in _continued(model, texts, arm, (1.0,), max_new_tokens)
        ]
    return "\n".join(lines)


_READINGS: dict[Reading, str] = {
    "normed": "likelier",
    "raw": "likelier by the output matrix alone",
}
