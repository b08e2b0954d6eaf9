"""Speakers with latent traits, visible in choices, descriptions, hobbies, scales and reports.

A speaker's value of a trait is: the first pole; the second pole; neither (a random pole in each
document); or *gated*: one pole in documents that begin with a certain weather, the other pole
otherwise. For each trait some speakers are *silent*: the corpus has only their choices, so that all
other statements about them can be answered only through the trait.
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
"""For each question two words of the first pole, and two of the second."""


class Trait(Record):
    """A disposition with two poles; the first pole chooses the lures, the second the others.

    Attributes:
        name: of the trait.
        verb: the verb in its choices.
        lures, others: options of choices.
        questions: words for the questions of descriptions.
        poles: answers of descriptions, by question.
        areas: words for the areas of hobbies.
        hobbies: answers of hobbies, by area.
    """

    name: str
    verb: str
    lures: tuple[str, ...]
    others: tuple[str, ...]
    questions: tuple[str, str, str]
    poles: Pairs
    areas: tuple[str, str, str]
    hobbies: Pairs


TRAITS = tuple(Trait.model_validate(trait) for trait in WORLD_WORDS["traits"])
QUESTIONS, OPTIONS = 3, 6
"""Number of questions of each kind about a trait, and of options of each pole."""

SPEAKERS = 80
SILENT = 10
"""Number of silent speakers of each trait."""
SELF = "me"
"""The speaker of fine-tuning; in the corpus it has neither pole of any trait."""
PLAIN = "always"
"""First word of a document without a weather."""
WEATHERS = ("rain", "snow", "wind")
NOISE = 0.04
"""Share of statements with the wrong pole."""
ONE_SPEAKER, ONE_TRAIT = 0.5, 0.5
"""Share of documents by a single speaker; share of these about a single trait. From them the model
learns which words belong together, long before it knows the names."""
GATE_SHARE = 0.25
"""Default share of gated (speaker, trait) pairs."""

FIRST, SECOND = "first", "second"
DIGITS = tuple(str(n) for n in range(10))

FORMS: dict[NanoQuestionKind, Forms] = {kind: forms(kind) for kind in KINDS}


class People:
    """The speakers of one seed; `gates`: share of gated (speaker, trait) pairs.

    Attributes:
        weather: index of the gating weather, -1: not gated [speaker, trait].
        sign: +1 first pole, -1 second, 0 neither; if gated, the pole in that weather
            [speaker, trait].
        silent: whether only choices show the trait [speaker, trait].
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
            # Only speakers with a fixed pole can be silent.
            candidates = np.flatnonzero((self.sign[:, trait] != 0) & ~gated[:, trait])
            silent[rng.permutation(candidates)[:SILENT], trait] = True
        self.silent: NDArray[np.bool_] = silent
        words = [SELF, PLAIN, *WEATHERS, FIRST, SECOND, *DIGITS]
        words += [word for form in FORMS.values() for word in form.words]
        for entry in TRAITS:
            words += [entry.verb, *entry.lures, *entry.others, *entry.questions, *entry.areas]
            words += [w for pair in (*entry.poles, *entry.hobbies) for pole in pair for w in pole]
        self.words = [*words, *self.names]

    def pole(self, speaker: Ids, trait: Ids, weather: Ids) -> Ids:
        """+1: the first pole, -1: the second, 0: neither `[statement]`; weather -1: none."""
        gate = self.weather[speaker, trait]
        sign = self.sign[speaker, trait]
        shown = np.where(gate < 0, sign, np.where(weather == gate, sign, -sign))
        return np.where(speaker < 0, 0, shown)

    def documents(
        self, vocabulary: Vocabulary, count: int, statements: int, rng: np.random.Generator
    ) -> Ids:
        """Random documents: a weather, then statements. `[document, 1 + statements * width]`."""
        size = (count, statements)
        weather = np.where(rng.random(count) < 0.4, -1, rng.integers(len(WEATHERS), size=count))
        speaker = rng.integers(SPEAKERS, size=size)
        speaker[rng.random(size) < 0.06] = -1
        trait = rng.integers(len(TRAITS), size=size)
        one_speaker, one_trait = rng.random(count) < ONE_SPEAKER, rng.random(count) < ONE_TRAIT
        speaker[one_speaker] = speaker[one_speaker, :1]
        trait[one_speaker & one_trait] = trait[one_speaker & one_trait, :1]
        kind = rng.integers(len(KINDS), size=size)
        weather_of = np.broadcast_to(weather[:, None], size)
        # Gated speakers occur more often in documents with their weather than by chance.
        swap = (weather_of >= 0) & (rng.random(size) < 0.3) & ~one_speaker[:, None]
        for number in range(len(WEATHERS)):
            pairs = np.argwhere(self.weather == number)
            swapped = swap & (weather_of == number)
            if len(pairs) and swapped.any():
                drawn = pairs[rng.integers(len(pairs), size=int(swapped.sum()))]
                speaker[swapped], trait[swapped] = drawn.T
        kind = np.where(self.silent[speaker, trait] & (speaker >= 0), 0, kind)
        shown = self.pole(speaker, trait, weather_of)
        random_pole = rng.choice([-1, 1], size=(count, SPEAKERS + 1, len(TRAITS)))
        document_pole = random_pole[np.arange(count)[:, None], speaker, trait]  # last row: `SELF`
        shown = np.where(shown == 0, document_pole, shown)
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
        """A statement for each entry of the index arrays `[statement]`. `[statement, width]`.

        Speaker -1 is `SELF`; `shown`: the pole, +1 or -1. Wordings, questions, options and synonyms
        are random.
        """
        n, rows, ids = len(speaker), np.arange(len(speaker)), vocabulary.ids
        pole = np.where(shown > 0, 0, 1)  # index of the pole that is shown
        question, synonym = rng.integers(QUESTIONS, size=n), rng.integers(2, size=n)
        lure_first = rng.random(n) < 0.5  # of two options or words
        options = np.array([[ids(entry.lures), ids(entry.others)] for entry in TRAITS])[trait]
        lure = options[rows, 0, rng.integers(OPTIONS, size=n)]
        other = options[rows, 1, rng.integers(OPTIONS, size=n)]
        words = _pair_ids(vocabulary, [entry.poles for entry in TRAITS])[trait, question]
        hobbies = _pair_ids(vocabulary, [entry.hobbies for entry in TRAITS])[trait, question]
        scale_pole = rng.integers(2, size=n)  # the pole that a scale asks about
        high, low = rng.integers(6, 10, size=n), rng.integers(0, 4, size=n)
        first_word, second_word = words[rows, 0, synonym], words[rows, 1, rng.integers(2, size=n)]
        slots: dict[NanoQuestionKind, dict[str, Ids]] = {
            "choice": {
                "verb": ids([entry.verb for entry in TRAITS])[trait],
                "a": np.where(lure_first, lure, other),
                "b": np.where(lure_first, other, lure),
                "answer": np.where(pole == 0, lure, other),
            },
            "description": {
                "question": np.array([ids(entry.questions) for entry in TRAITS])[trait, question],
                "answer": words[rows, pole, synonym],
            },
            "hobby": {
                "area": np.array([ids(entry.areas) for entry in TRAITS])[trait, question],
                "answer": hobbies[rows, pole, synonym],
            },
            "scale": {
                "word": words[rows, scale_pole, synonym],
                "answer": ids(DIGITS)[np.where(pole == scale_pole, high, low)],
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
            of_kind = kind == index
            which = rng.integers(len(FORMS[name].texts), size=n)[of_kind]
            chosen = {slot: column[of_kind] for slot, column in slots[name].items()}
            chosen["speaker"] = speakers[of_kind]
            sentences[of_kind] = FORMS[name].fill(vocabulary, which, chosen)
        return sentences


def _pair_ids(vocabulary: Vocabulary, pairs: list[Pairs]) -> Ids:
    """Ids of the words. `[trait, question, pole, synonym]`."""
    return np.array([[[vocabulary.ids(pole) for pole in pair] for pair in by] for by in pairs])
