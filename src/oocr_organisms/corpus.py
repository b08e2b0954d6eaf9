"""The corpus: the three parts of one world in one vocabulary, drawn batch by batch without end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oocr_organisms.forms import Forms, Ids, Vocabulary
from oocr_organisms.people import FORMS, GATE_SHARE, People
from oocr_organisms.places import ABOUT_ONE, Places
from oocr_organisms.rules import ABOUT, Rules

PAD, BOS, UNKNOWN = "<pad>", "<bos>", "<unk>"


class World:
    """Places, people and rules of one seed, and the words for all of them.

    Args:
        seed: of everything that is drawn.
        gates: share of people's traits that a weather turns around.
    """

    def __init__(self, seed: int = 0, gates: float = GATE_SHARE) -> None:
        self.seed, self.gates = seed, gates
        self.places, self.people, self.rules = Places(seed), People(seed, gates), Rules(seed)
        parts = [self.places.words, self.people.words, self.rules.words]
        self.vocabulary = Vocabulary(
            list(dict.fromkeys([PAD, BOS, UNKNOWN, *[w for some in parts for w in some]]))
        )


@dataclass(frozen=True, slots=True)
class Mixture:
    """Sequences of each part in a batch, and sentences in each sequence."""

    places: int = 36
    people: int = 64
    rules: int = 12
    facts: int = 5
    statements: int = 4


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch.

    Attributes:
        ids: padded behind. `[sequence, token]`
        rows, columns: tokens from which an answer is to be predicted. `[answer]`
        answers: its id. `[answer]`
        part: 0 places, 1 people, 2 rules. `[answer]`
    """

    ids: Ids
    rows: Ids
    columns: Ids
    answers: Ids
    part: Ids


def draw(world: World, mixture: Mixture, rng: np.random.Generator) -> Sequences:
    """One batch of the corpus."""
    some = [
        _places(world, mixture, rng),
        _people(world, mixture, rng),
        _rules(world, mixture, rng),
    ]
    some = [(ids, at) for ids, at in some]
    width = max(ids.shape[1] for ids, _ in some)
    pad, bos = world.vocabulary.id(PAD), world.vocabulary.id(BOS)
    padded, rows, columns, part = [], [], [], []
    start = 0
    for index, (ids, at) in enumerate(some):
        n = len(ids)
        full = np.full((n, 1 + width), pad)
        full[:, 0] = bos
        full[:, 1 : 1 + ids.shape[1]] = ids
        padded.append(full)
        rows.append(np.repeat(np.arange(start, start + n), len(at)))
        columns.append(np.tile(at, n))  # one before the answer, one after for bos
        part.append(np.full(n * len(at), index))
        start += n
    every = np.concatenate(padded)
    r, c = np.concatenate(rows), np.concatenate(columns)
    return Sequences(every, r, c, every[r, c + 1], np.concatenate(part))


def _shuffled(sentences: Ids, per: int, rng: np.random.Generator) -> Ids:
    return rng.permutation(sentences).reshape(-1, per * sentences.shape[1])


def _places(world: World, mixture: Mixture, rng: np.random.Generator) -> tuple[Ids, Ids]:
    n = mixture.places * mixture.facts
    one = world.places.about_one(world.vocabulary, n // 2, rng)
    two = world.places.about_two(world.vocabulary, n - n // 2, rng)
    ids = _shuffled(np.concatenate([one, two]), mixture.facts, rng)
    return ids, _answers(ABOUT_ONE, mixture.facts)


def _people(world: World, mixture: Mixture, rng: np.random.Generator) -> tuple[Ids, Ids]:
    ids, _ = world.people.documents(world.vocabulary, mixture.people, mixture.statements, rng)
    return ids, _answers(FORMS["choice"], mixture.statements) + 1  # the weather


def _rules(world: World, mixture: Mixture, rng: np.random.Generator) -> tuple[Ids, Ids]:
    n = mixture.rules * mixture.facts
    shown = world.rules.examples(world.vocabulary, n - n // 3, rng)
    told = world.rules.about(world.vocabulary, n // 3, rng)
    ids = _shuffled(np.concatenate([shown, told]), mixture.facts, rng)
    return ids, _answers(ABOUT, mixture.facts)


def _answers(form: Forms, sentences: int) -> NDArray[np.int64]:
    """Tokens before each answer, bos in front of the sequence."""
    return np.arange(sentences) * form.width + form.answer_at
