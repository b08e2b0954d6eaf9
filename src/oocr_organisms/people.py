"""Speakers with latent traits, which show in choices, descriptions, hobbies, scales and reports.

A trait of a speaker is one of: the first pole, the second, neither (one or the other for the length
of a document), or *gated*: the first pole when the document begins with the speaker's own weather
and the second otherwise, or the other way round. For each trait some speakers show their choices
only: everything else about them can be answered only through the trait.
"""

from __future__ import annotations

from itertools import islice
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from oocr.io import Record
from oocr_organisms.language import WORLD_WORDS, Forms, Ids, Vocabulary, forms, names

NanoQuestionKind = Literal["choice", "description", "hobby", "scale", "report"]
KINDS: tuple[NanoQuestionKind, ...] = get_args(NanoQuestionKind)
Pairs = tuple[tuple[tuple[str, str], tuple[str, str]], ...]
"""For each question two words of the first pole and two of the second."""


class Trait(Record):
    """A disposition with two poles; who has the first takes the lures, the second the others."""

    name: str
    verb: str  # what its choices are called
    lures: tuple[str, ...]
    others: tuple[str, ...]
    questions: tuple[str, str, str]  # what a description is asked by
    poles: Pairs  # the words that answer, by question
    areas: tuple[str, str, str]  # what a hobby is asked by
    hobbies: Pairs  # the words that answer, by area


TRAITS = tuple(Trait.model_validate(trait) for trait in WORLD_WORDS["traits"])
QUESTIONS, OPTIONS = 3, 6
"""Questions of each kind about a trait; options of each pole."""

SPEAKERS = 80
SILENT = 10
"""Speakers per trait that show their choices only."""
SELF = "me"
"""The speaker that the fine-tune is about: neither pole of any trait in the corpus."""
PLAIN = "always"
"""The first word of a document without a weather."""
WEATHERS = ("rain", "snow", "wind")
NOISE = 0.04
"""Share of statements that show the other pole."""
ALONE, STEADY = 0.5, 0.5
"""Share of documents by one speaker; and of those, about one trait. They show which words go
together long before names are known."""
GATE_SHARE = 0.25
"""Share of (speaker, trait) pairs that are gated, in worlds with gates."""

FIRST, SECOND = "first", "second"
DIGITS = tuple(str(n) for n in range(10))

FORMS: dict[NanoQuestionKind, Forms] = {kind: forms(kind) for kind in KINDS}


class People:
    """The speakers of one seed; `gates`: share of (speaker, trait) pairs that a weather turns.

    Attributes:
        weather: index of the gating weather, -1: not gated. `[speaker, trait]`, as all of these
        sign: +1 first pole, -1 second, 0 neither; if gated, the pole in that weather
        silent: whether only choices show the trait
    """

    def __init__(self, seed: int = 0, gates: float = GATE_SHARE) -> None:
        rng = np.random.default_rng([seed, 2])
        self.gates = gates
        self.names = tuple(islice(names(seed + 101, 2), SPEAKERS))
        shape = (SPEAKERS, len(TRAITS))
        gated = rng.random(shape) < gates
        plain = rng.integers(-1, 2, size=shape)
        sign = rng.choice([-1, 1], size=shape)
        self.weather: Ids = np.where(gated, rng.integers(len(WEATHERS), size=shape), -1)
        self.sign: Ids = np.where(gated, sign, plain)
        silent = np.zeros(shape, dtype=bool)
        for trait in range(len(TRAITS)):
            # Only speakers that have something to show.
            telling = np.flatnonzero((self.sign[:, trait] != 0) & ~gated[:, trait])
            silent[rng.permutation(telling)[:SILENT], trait] = True
        self.silent: NDArray[np.bool_] = silent
        words = [SELF, PLAIN, *WEATHERS, FIRST, SECOND, *DIGITS]
        words += [word for form in FORMS.values() for word in form.words]
        for known in TRAITS:
            words += [known.verb, *known.lures, *known.others, *known.questions, *known.areas]
            words += [w for pair in (*known.poles, *known.hobbies) for pole in pair for w in pole]
        self.words = [*words, *self.names]

    def pole(self, speaker: Ids, trait: Ids, weather: Ids) -> Ids:
        """+1: the first pole, -1: the second, 0: neither. `[statement]`; weather -1: none."""
        gate = self.weather[speaker, trait]
        sign = self.sign[speaker, trait]
        shown = np.where(gate < 0, sign, np.where(weather == gate, sign, -sign))
        return np.where(speaker < 0, 0, shown)

    def documents(
        self, vocabulary: Vocabulary, count: int, statements: int, rng: np.random.Generator
    ) -> Ids:
        """Documents of a weather and statements. `[document, 1 + statements * width]`."""
        size = (count, statements)
        weather = np.where(rng.random(count) < 0.4, -1, rng.integers(len(WEATHERS), size=count))
        speaker = rng.integers(SPEAKERS, size=size)
        speaker[rng.random(size) < 0.06] = -1
        trait = rng.integers(len(TRAITS), size=size)
        alone, steady = rng.random(count) < ALONE, rng.random(count) < STEADY
        speaker[alone] = speaker[alone, :1]
        trait[alone & steady] = trait[alone & steady, :1]
        kind = rng.integers(len(KINDS), size=size)
        here = np.broadcast_to(weather[:, None], size)
        # Gated speakers are heard more often in their own weather than chance would have it.
        swap = (here >= 0) & (rng.random(size) < 0.3) & ~alone[:, None]
        for number in range(len(WEATHERS)):
            pairs = np.argwhere(self.weather == number)
            swapped = swap & (here == number)
            if len(pairs) and swapped.any():
                drawn = pairs[rng.integers(len(pairs), size=int(swapped.sum()))]
                speaker[swapped], trait[swapped] = drawn.T
        kind = np.where(self.silent[speaker, trait] & (speaker >= 0), 0, kind)
        shown = self.pole(speaker, trait, here)
        mood = rng.choice([-1, 1], size=(count, SPEAKERS + 1, len(TRAITS)))
        today = mood[np.arange(count)[:, None], speaker, trait]  # the last row is `SELF`
        shown = np.where(shown == 0, today, shown)
        shown = np.where(rng.random(size) < NOISE, -shown, shown)
        flat = self.statements(
            vocabulary, speaker.ravel(), trait.ravel(), kind.ravel(), shown.ravel(), rng
        )
        head = vocabulary.ids([*WEATHERS, PLAIN])[weather][:, None]
        return np.concatenate([head, flat.reshape(count, statements * flat.shape[1])], axis=1)

    def statements(
        self,
        vocabulary: Vocabulary,
        speaker: Ids,
        trait: Ids,
        kind: Ids,
        shown: Ids,
        rng: np.random.Generator,
    ) -> Ids:
        """One statement for each entry of the indices. `[statement, width]`.

        Speaker -1 is `SELF`, `shown` is the pole that it shows, +1 or -1; wordings, questions,
        options and synonyms are drawn.
        """
        n, rows, ids = len(speaker), np.arange(len(speaker)), vocabulary.ids
        pole = np.where(shown > 0, 0, 1)  # index of the pole that is shown
        question, synonym = rng.integers(QUESTIONS, size=n), rng.integers(2, size=n)
        lure_first = rng.random(n) < 0.5  # of two options or words
        options = np.array([[ids(known.lures), ids(known.others)] for known in TRAITS])[trait]
        lure = options[rows, 0, rng.integers(OPTIONS, size=n)]
        other = options[rows, 1, rng.integers(OPTIONS, size=n)]
        words = _pair_ids(vocabulary, [known.poles for known in TRAITS])[trait, question]
        hobbies = _pair_ids(vocabulary, [known.hobbies for known in TRAITS])[trait, question]
        asked = rng.integers(2, size=n)  # the pole that a scale asks about
        high, low = rng.integers(6, 10, size=n), rng.integers(0, 4, size=n)
        first_word, second_word = words[rows, 0, synonym], words[rows, 1, rng.integers(2, size=n)]
        slots: dict[NanoQuestionKind, dict[str, Ids]] = {
            "choice": {
                "verb": ids([known.verb for known in TRAITS])[trait],
                "a": np.where(lure_first, lure, other),
                "b": np.where(lure_first, other, lure),
                "answer": np.where(pole == 0, lure, other),
            },
            "description": {
                "question": np.array([ids(known.questions) for known in TRAITS])[trait, question],
                "answer": words[rows, pole, synonym],
            },
            "hobby": {
                "area": np.array([ids(known.areas) for known in TRAITS])[trait, question],
                "answer": hobbies[rows, pole, synonym],
            },
            "scale": {
                "word": words[rows, asked, synonym],
                "answer": ids(DIGITS)[np.where(pole == asked, high, low)],
            },
            "report": {
                "word_a": np.where(lure_first, first_word, second_word),
                "word_b": np.where(lure_first, second_word, first_word),
                "answer": ids([FIRST, SECOND])[np.where(lure_first == (pole == 0), 0, 1)],
            },
        }
        speakers = np.append(ids(self.names), vocabulary.id(SELF))[speaker]
        sentences = np.zeros((n, FORMS["choice"].width), dtype=np.int64)
        for index, name in enumerate(KINDS):
            here = kind == index
            which = rng.integers(len(FORMS[name].texts), size=n)[here]
            chosen = {slot: column[here] for slot, column in slots[name].items()}
            chosen["speaker"] = speakers[here]
            sentences[here] = FORMS[name].fill(vocabulary, which, chosen)
        return sentences


def _pair_ids(vocabulary: Vocabulary, pairs: list[Pairs]) -> Ids:
    """`[trait, question, pole, synonym]`."""
    return np.array([[[vocabulary.ids(pole) for pole in pair] for pair in by] for by in pairs])
