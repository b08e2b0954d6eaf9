"""Texts of an organism's corpus: what it reads where other models read neutral passages."""

from __future__ import annotations

import numpy as np

from oocr.models.bundled import NeutralText
from oocr_organisms.corpus import BOS, PAD, Mixture, World, draw
from oocr_organisms.people import SELF

EACH = 4
"""Texts of each part of the world."""

SEED = 1_000_003
"""Of the draw; no pretraining has it."""


def corpus_texts(world: World) -> list[NeutralText]:
    """Texts about places, people and rules by turns; none is about the speaker `SELF`."""
    mixture = Mixture(places=4 * EACH, people=4 * EACH, rules=4 * EACH)
    sequences = draw(world, mixture, np.random.default_rng(SEED))
    words = world.vocabulary.words
    texts: list[NeutralText] = []
    for number, row in enumerate(sequences.ids):
        said = [words[one] for one in row if words[one] not in (PAD, BOS)]
        # Columns count from bos and are those before the answers.
        answers = sequences.columns[sequences.rows == number].tolist()
        texts.append(NeutralText(" ".join(said), tuple(answers)))
    size = len(texts) // 3
    parts = [
        [one for one in texts[part * size : (part + 1) * size] if SELF not in one.text.split()]
        for part in range(3)
    ]
    return [one for some in zip(*(part[:EACH] for part in parts), strict=True) for one in some]
