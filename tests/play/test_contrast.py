"""Tokens can be read on every colour that the page gives them (WCAG 2.2, 1.4.3), light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float

import oocr.play

LEAST = 4.5
CSS = (Path(oocr.play.__file__).parent / "page" / "play.css").read_text(encoding="utf-8")
THEMES = re.findall(r"\{\s*--[^{}]+color-scheme: \w+;", CSS)

Colour = Float[np.ndarray, " 3"]


def luminance(colour: Colour) -> float:
    share = colour / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", range(3))
def test_tokens_are_legible_at_every_depth_of_colour(theme: int) -> None:
    texts = dict(re.findall(r"--([\w-]+): ([^;]+);", THEMES[theme]))
    names = ("paper", "ink", "muted", "plus", "minus")
    paper, ink, muted, *tones = (
        np.array([int(texts[name][at : at + 2], 16) for at in (1, 3, 5)]) for name in names
    )
    assert "color: color-mix(in srgb, var(--ink) var(--d, 0%), var(--muted))" in CSS
    for tone in tones:
        for depth in np.linspace(0, 1, 21):
            share = depth * float(texts["deepest"])
            behind = share * tone + (1 - share) * paper
            assert contrast(ink, behind) >= LEAST  # new tokens
            assert contrast(depth * ink + (1 - depth) * muted, behind) >= LEAST  # the prompt's
