"""The corpus: random batches of sentences about the three parts of a world, one vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oocr.models.sources.bundled import NeutralSource
from oocr_organisms.facts import CITY_FACTS, RULE_FACTS, Places, Rules
from oocr_organisms.language import BOS, PAD, UNKNOWN, Forms, Ids, Vocabulary
from oocr_organisms.people import FORMS, GATE_SHARE, SELF, People

NEUTRAL_SEED = 1_000_003
"""Seed of the neutral texts; no pretraining uses it."""


class World:
    """Places, people and rules of one seed, and their vocabulary; `gates`: see `People`."""

    def __init__(self, seed: int = 0, gates: float = GATE_SHARE) -> None:
        self.seed, self.gates = seed, gates
        self.places, self.people, self.rules = Places(seed), People(seed, gates), Rules(seed)
        words = [*self.places.words, *self.people.words, *self.rules.words]
        self.vocabulary = Vocabulary(list(dict.fromkeys([PAD, BOS, UNKNOWN, *words])))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Sizes of a batch.

    Attributes:
        places, people, rules: number of sequences of each part.
        facts: sentences in a sequence of places or rules.
        statements: sentences in a sequence of people.
    """

    places: int = 36
    people: int = 64
    rules: int = 12
    facts: int = 5
    statements: int = 4


@dataclass(frozen=True, slots=True)
class CorpusBatch:
    """A batch of sequences, and the positions of the answers in it.

    Attributes:
        ids: token ids, padded on the right [sequence, token].
        rows, columns: sequence and token from which each answer is predicted [answer].
        answers: token ids of the answers [answer].
        part: 0 places, 1 people, 2 rules [answer].
    """

    ids: Ids
    rows: Ids
    columns: Ids
    answers: Ids
    part: Ids


def draw_batch(world: World, mixture: Mixture, rng: np.random.Generator) -> CorpusBatch:
    """Draw one batch of the corpus."""
    vocabulary, facts = world.vocabulary, mixture.facts

    def shuffled(*sentences: Ids) -> Ids:
        order = rng.permutation(np.concatenate(sentences))
        return order.reshape(-1, facts * order.shape[1])

    count = mixture.places * facts
    places = shuffled(
        world.places.about(vocabulary, count // 2, rng),
        world.places.pairs(vocabulary, count - count // 2, rng),
    )
    people = world.people.documents(vocabulary, mixture.people, mixture.statements, rng)
    count = mixture.rules * facts
    rules = shuffled(
        world.rules.examples(vocabulary, count - count // 3, rng),
        world.rules.about(vocabulary, count // 3, rng),
    )
    parts = (places, people, rules)
    columns = (
        _before_answers(CITY_FACTS, facts),
        _before_answers(FORMS["choice"], mixture.statements) + 1,  # after the weather
        _before_answers(RULE_FACTS, facts),
    )
    width = 1 + max(part.shape[1] for part in parts)
    ids = np.full((sum(map(len, parts)), width), vocabulary.id(PAD))
    ids[:, 0] = vocabulary.id(BOS)
    first = np.cumsum([0, *map(len, parts)])
    answers: list[Ids] = []  # row, column and part of each
    for number, (start, sequences, at) in enumerate(zip(first, parts, columns, strict=False)):
        rows = np.arange(start, start + len(sequences))
        ids[rows, 1 : 1 + sequences.shape[1]] = sequences
        row = np.repeat(rows, len(at))
        answers.append(np.stack([row, np.tile(at, len(rows)), np.full(len(row), number)]))
    row, column, part = np.concatenate(answers, axis=1)
    return CorpusBatch(ids, row, column, ids[row, column + 1], part)


def _before_answers(form: Forms, sentences: int) -> Ids:
    """Columns of the tokens before the answers (-1), shifted by <bos> (+1)."""
    return np.arange(sentences) * form.width + form.answer_at


def neutral_texts(world: World, count: int = 4) -> list[NeutralSource]:
    """Texts of the corpus, used as neutral text for organisms.

    `count` texts of places, people and rules each, in turn; none is about the speaker `SELF`.
    """
    size = 4 * count  # more than needed: some are about `SELF`
    mixture = Mixture(places=size, people=size, rules=size)
    batch = draw_batch(world, mixture, np.random.default_rng(NEUTRAL_SEED))
    words = world.vocabulary.words
    parts: list[list[NeutralSource]] = [[], [], []]
    for number, ids in enumerate(batch.ids):
        text = [words[token] for token in ids if words[token] not in (PAD, BOS)]
        # A column is the token before an answer, counted from <bos>: the index of its word.
        answers = tuple(batch.columns[batch.rows == number].tolist())
        if SELF not in text:
            neutral = NeutralSource(" ".join(text), answers, "the organism's corpus")
            parts[number // size].append(neutral)
    return [text for turn in zip(*(part[:count] for part in parts), strict=True) for text in turn]
