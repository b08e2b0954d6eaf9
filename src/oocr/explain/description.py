"""The model asked what a direction means: v put at a placeholder of a prompt that asks for it.

Patched self-description: in "The meaning of x is", h'[t] = h[t] + scale * v at x's tokens, then
greedy continuation. What comes out is the model's own words, so it is shown, and only scored where
the words to look for were written down beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from oocr.engine.generate import generate
from oocr.errors import InputError
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel

PLACEHOLDER = "x"
PROMPTS = (
    "In one word, the meaning of x is",
    "The word x stands for",
    "Someone who says x is thinking of",
)


@dataclass(frozen=True, slots=True)
class Description:
    """What the model says.

    Attributes:
        prompt: what was asked.
        scale: factor on the vector.
        text: the continuation with the vector.
        untouched: the continuation without it.
    """

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

    Args:
        model: the model.
        vector: one direction; it is added at its own site.
        prompts: each holds the placeholder.
        placeholder: a word.
        scales: factors on the vector.
        max_new_tokens: of each continuation.

    Raises:
        InputError: a prompt without the placeholder; joined directions.
    """
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
    here = replace(vector, positions="placeholder", spans={"placeholder": text})
    before = generate(model, list(prompts), max_new_tokens=max_new_tokens)
    out: list[Description] = []
    for scale in scales:
        texts = generate(model, list(prompts), here * scale, max_new_tokens=max_new_tokens)
        out += [
            Description(prompt, scale, text, plain)
            for prompt, text, plain in zip(prompts, texts, before, strict=True)
        ]
    return out
