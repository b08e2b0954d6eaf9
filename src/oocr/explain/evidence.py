"""What a direction says, as text for a reader: lens tokens, self-descriptions, completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from oocr.engine.generate import generate
from oocr.explain.description import PROMPTS, describe
from oocr.explain.lens import Reading, lens
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector

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

    Tokens by both lenses; the model's continuations with the direction put at a meaningless word
    (`oocr.explain.description`); its continuations of empty beginnings with the direction added at
    every token, beside those without it.

    Raises:
        InputError: joined directions.
    """
    lines = []
    for reading, words in _READINGS:
        said = lens(model, vector, reading=reading, top=top)
        lines.append(f"Tokens that it makes {words}: {_quoted([one.token for one in said])}")
    told = describe(model, vector, prompts=prompts, scales=(1.0,), max_new_tokens=max_new_tokens)
    lines.append("Asked for the meaning of a word x at which the direction was put:")
    lines += [f"- {one.prompt} ... {one.text!r} (without it: {one.untouched!r})" for one in told]
    every = replace(vector, positions="all", spans={})
    steered = generate(model, list(starts), every, max_new_tokens=max_new_tokens)
    plain = generate(model, list(starts), max_new_tokens=max_new_tokens)
    lines.append("Texts continued with the direction added everywhere:")
    lines += [
        f"- {start} ... {text!r} (without it: {before!r})"
        for start, text, before in zip(starts, steered, plain, strict=True)
    ]
    return "\n".join(lines)


_READINGS: tuple[tuple[Reading, str], ...] = (
    ("normed", "likelier"),
    ("raw", "likelier by the output matrix alone"),
)


def _quoted(tokens: Sequence[str]) -> str:
    return ", ".join(repr(one.strip()) for one in tokens)
