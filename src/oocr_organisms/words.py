"""Names that can be pronounced, all different, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BEGIN = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "g",
    "gl",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "st",
    "t",
    "v",
    "z",
)
_VOWEL = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_END = ("", "", "l", "n", "r", "s", "th", "x")


def names(seed: int, syllables: int) -> Iterator[str]:
    """Capitalized names without end, each once.

    Args:
        seed: of the draw.
        syllables: of each name.
    """
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    while True:
        parts = [
            _BEGIN[rng.integers(len(_BEGIN))] + _VOWEL[rng.integers(len(_VOWEL))]
            for _ in range(syllables)
        ]
        name = ("".join(parts) + _END[rng.integers(len(_END))]).capitalize()
        if name not in seen:
            seen.add(name)
            yield name
