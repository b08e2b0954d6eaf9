"""Self-description: the model completes a prompt about a placeholder to which v is added.

Patched self-description: in "The meaning of x is", h'[t] = h[t] + scale * v at x's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import final_rows, start_block
from oocr.engine.generate import generate
from oocr.engine.recording import record
from oocr.errors import InputError
from oocr.explain import lens
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
    scales: Sequence[float] = (0.5, 1.0, 2.0),
    max_new_tokens: int = 12,
) -> list[Description]:
    """Continue each prompt greedily with the direction at its placeholder, at each scale.

    The vector is added at its own site; every prompt holds the placeholder.

    InputError: a prompt without the placeholder; joined directions.
    """
    at_word = _at_placeholder(vector, prompts)
    return _continued(model, prompts, at_word, scales, max_new_tokens)


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
        descriptions += [Description(prompt, scale, text, old) for prompt, text, old in triples]
    return descriptions


def tell_by_model(
    model: LanguageModel,
    vector: Vector,
    concept: str,
    concepts: lens.Concepts,
    *,
    prompts: Sequence[str] = PROMPTS,
    randoms: int = 48,
) -> lens.ConceptReading:
    """Blinded test of which of several concepts the model reads in a direction.

    As `oocr.explain.lens.tell`, but a concept's score is by how much the log-probability of its
    words' first tokens, among all concepts' words, rises over the untouched model's at the end of
    a prompt, mean over words and prompts.

    InputError: as `describe` and `oocr.explain.lens.tell`.
    """
    tokens = lens.own_tokens(model, concept, concepts)
    at_word = _at_placeholder(vector, prompts)
    arms = [
        replace(at_word, direction=direction) for direction in lens.with_randoms(at_word, randoms)
    ]
    return lens.concept_reading(concept, list(concepts), _rises(model, prompts, arms, tokens))


STACK = 16
"""Directions in one pass."""


def _rises(
    model: LanguageModel,
    prompts: Sequence[str],
    arms: Sequence[Vector],
    tokens: Sequence[Sequence[int]],
) -> Float[Tensor, "direction concept"]:
    """Rise of the concepts' log-probabilities among all their tokens."""
    encoded = [encode_prompt(model.tokenizer, prompt, arms[0].spans) for prompt in prompts]
    sequences = [TokenSequence.of(prompt, [len(prompt.ids) - 1]) for prompt in encoded]
    batch = pad(sequences, model.pad_id, model.device)
    recording = record(model, batch, {start_block(arms[0]), model.n_blocks})
    known = torch.tensor([token for concept in tokens for token in concept], device=model.device)

    def logps(stack: Sequence[Vector] | None) -> Tensor:
        rows = final_rows(model, recording, stack)  # [direction, prompt, d_model]
        scores = model.anatomy.readout(rows.flatten(0, 1), known).float().log_softmax(dim=-1)
        return scores.reshape(*rows.shape[:2], -1).cpu()

    with torch.no_grad():
        base = logps(None)
        groups = [arms[at : at + STACK] for at in range(0, len(arms), STACK)]
        rises = (torch.cat([logps(stack) for stack in groups]) - base).mean(dim=1)
    parts = torch.split(rises, [len(concept) for concept in tokens], dim=1)
    return torch.stack([part.mean(dim=1) for part in parts], dim=1)


def _at_placeholder(vector: Vector, prompts: Sequence[str]) -> Vector:
    """The vector at the placeholder's tokens."""
    lens.check_single(vector, "are described one by one")
    for prompt in prompts:
        if PLACEHOLDER not in prompt:
            raise InputError(f"prompt {prompt!r}: allowed: a text that holds {PLACEHOLDER!r}")
    # With its space, so that no letter inside another word is matched.
    spaced = all(f" {PLACEHOLDER}" in prompt for prompt in prompts)
    text = f" {PLACEHOLDER}" if spaced else PLACEHOLDER
    return replace(vector, positions="placeholder", spans={"placeholder": text})


STARTS = ("I often think about", "The most important thing is", "Let me tell you about")
"""Prompts without content, for steered completions."""

TOP = 12
"""Tokens of each lens."""


def evidence_of(model: LanguageModel, vector: Vector, *, max_new_tokens: int = 12) -> str:
    """Readings of one direction under their names, without any hint to what was trained.

    Tokens by both lenses; the model's continuations with the direction put at a meaningless word,
    and of empty beginnings with the direction added at every token, beside those without it.

    InputError: joined directions.
    """
    lines = []
    readings: dict[lens.Reading, str] = {
        "normed": "likelier",
        "raw": "likelier by the output matrix alone",
    }
    for reading, words in readings.items():
        tokens = lens.lens(model, vector, reading=reading, top=TOP)
        quoted = ", ".join(repr(token.token.strip()) for token in tokens)
        lines.append(f"Tokens that it makes {words}: {quoted}")
    at_word = _at_placeholder(vector, PROMPTS)
    everywhere = replace(vector, positions="all", spans={})
    for words, arm, texts in (
        ("Asked for the meaning of a word x at which the direction was put:", at_word, PROMPTS),
        ("Texts continued with the direction added everywhere:", everywhere, STARTS),
    ):
        lines.append(words)
        lines += [
            f"- {answer.prompt} ... {answer.text!r} (without it: {answer.untouched!r})"
            for answer in _continued(model, texts, arm, (1.0,), max_new_tokens)
        ]
    return "\n".join(lines)
