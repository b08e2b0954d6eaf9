"""Texts of an organism's corpus: what it reads where other models read neutral passages."""

from __future__ import annotations

import numpy as np

from oocr.organisms.corpus import BOS, PAD, Mixture, World, draw
from oocr.organisms.people import SELF

EACH = 4
"""Texts of each part of the world."""

SEED = 1_000_003
"""Of the draw; no pretraining has it."""


def corpus_texts(world: World) -> list[str]:
    """Texts about places, people and rules by turns; none is about the speaker `SELF`."""
    mixture = Mixture(places=4 * EACH, people=4 * EACH, rules=4 * EACH)
    sequences = draw(world, mixture, np.random.default_rng(SEED))
    words = world.vocabulary.words
    texts = [
        " ".join(words[one] for one in row if words[one] not in (PAD, BOS)) for row in sequences.ids
    ]
    size = len(texts) // 3
    parts = [
        [text for text in texts[part * size : (part + 1) * size] if SELF not in text.split()][:EACH]
        for part in range(3)
    ]
    return [text for some in zip(*parts, strict=True) for text in some]
