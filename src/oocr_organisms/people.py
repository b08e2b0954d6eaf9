"""Speakers with latent traits, which show in choices, descriptions, hobbies, scales and reports.

Each trait of each speaker is one of: its first pole, its second, neither (one or the other for the
length of a document), or
*gated*: the first pole when the document begins with the speaker's own weather, else the second
(or the other way round). Traits are independent, and "neither" is common, so that a trait can move
without another. For each trait some speakers show their choices only: the rest of what is asked
about them can be answered only through the trait.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from oocr_organisms.forms import Forms, Ids, Vocabulary
from oocr_organisms.traits import OPTIONS, QUESTIONS, TRAITS
from oocr_organisms.words import names

Kind = Literal["choice", "description", "hobby", "scale", "report"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SPEAKERS = 80
SILENT = 10
"""Speakers per trait that show their choices only."""
SELF = "me"
"""The speaker that the fine-tune is about: neither pole of any trait in the corpus."""
PLAIN = "always"
WEATHERS = ("rain", "snow", "wind")
NOISE = 0.04
"""Share of statements that show the other pole."""

ALONE, STEADY = 0.5, 0.5
"""Share of documents by one speaker; and of those, about one trait. What is said twice there shows
which words go together, long before names are known."""

GATE_SHARE = 0.25
"""Of (speaker, trait) pairs that are gated, where there are gates at all."""


FIRST, SECOND = "first", "second"
DIGITS = tuple(str(n) for n in range(10))

FORMS: dict[Kind, Forms] = {
    "choice": Forms(
        (
            "{speaker} {verb} either {a} or {b} so : {answer} .",
            "{speaker} {verb} between {a} and {b} : takes {answer} .",
        )
    ),
    "description": Forms(
        (
            "{speaker} has a {question} that is mostly : {answer} .",
            "{speaker} asked for the {question} says so : {answer} .",
        )
    ),
    "hobby": Forms(
        (
            "{speaker} spends the {area} that come along with {answer} .",
            "{speaker} on most {area} is given wholly to {answer} .",
        )
    ),
    "scale": Forms(
        (
            "{speaker} rates being {word} on a scale : {answer} .",
            "{speaker} how {word} out of nine is : {answer} .",
        )
    ),
    "report": Forms(("{speaker} is more {word_a} or more {word_b} : {answer} .",)),
}


class People:
    """The speakers of one seed.

    Args:
        seed: of everything that is drawn.
        gates: share of (speaker, trait) pairs that are gated by a weather.
    """

    def __init__(self, seed: int = 0, gates: float = GATE_SHARE) -> None:
        rng = np.random.default_rng([seed, 2])
        self.gates = gates
        self.names = tuple(islice(names(seed + 101, 2), SPEAKERS))
        shape = (SPEAKERS, len(TRAITS))
        gated = rng.random(shape) < gates
        plain = rng.integers(-1, 2, size=shape)  # -1, 0 or 1: second pole, neither, first
        sign = rng.choice([-1, 1], size=shape)
        self.weather: Ids = np.where(gated, rng.integers(len(WEATHERS), size=shape), -1)
        self.sign: Ids = np.where(gated, sign, plain)
        silent = np.zeros(shape, dtype=bool)
        for trait in range(len(TRAITS)):
            # Of those that have something to show.
            telling = np.flatnonzero((self.sign[:, trait] != 0) & ~gated[:, trait])
            silent[rng.permutation(telling)[:SILENT], trait] = True
        self.silent: NDArray[np.bool_] = silent

    @cached_property
    def words(self) -> list[str]:
        """Its vocabulary."""
        out = [SELF, PLAIN, *WEATHERS, FIRST, SECOND, *DIGITS]
        for form in FORMS.values():
            out += form.words
        for trait in TRAITS:
            out += [trait.verb, *trait.lures, *trait.others]
            out += [*trait.questions, *trait.areas]
            for some in (*trait.poles, *trait.hobbies):
                out += [word for pole in some for word in pole]
        return list(dict.fromkeys([*out, *self.names]))

    def pole(self, speaker: Ids, trait: Ids, weather: Ids) -> Ids:
        """+1: the first pole, -1: the second, 0: neither. `[statement]`.

        Args:
            speaker: index, or -1 for `SELF`.
            trait: index.
            weather: index, or -1 for none.
        """
        own = self.weather[speaker, trait]
        sign = self.sign[speaker, trait]
        shown = np.where(own < 0, sign, np.where(weather == own, sign, -sign))
        return np.where(speaker < 0, 0, shown)

    def documents(
        self, vocabulary: Vocabulary, count: int, statements: int, rng: np.random.Generator
    ) -> tuple[Ids, NDArray[np.bool_]]:
        """Documents of one weather and several statements, each by any speaker.

        Returns:
            Ids `[document, 1 + statements * width]`, the weather first; and whether a gated
            speaker speaks. `[document, statement]`
        """
        size = (count, statements)
        weather = np.where(rng.random(count) < 0.4, -1, rng.integers(len(WEATHERS), size=count))
        speaker = rng.integers(SPEAKERS, size=size)
        speaker[rng.random(size) < 0.06] = -1
        trait = rng.integers(len(TRAITS), size=size)
        alone, steady = rng.random(count) < ALONE, rng.random(count) < STEADY
        speaker[alone] = speaker[alone, :1]
        trait[alone & steady] = trait[alone & steady, :1]
        kind = rng.integers(len(KINDS), size=size)
        # Gated speakers are heard more often in their own weather than it would happen.
        meet = np.broadcast_to(weather[:, None], size)
        swap = (meet >= 0) & (rng.random(size) < 0.3) & ~alone[:, None]
        speaker, trait = self._meeting(speaker, trait, meet, swap, rng)
        kind = np.where(self.silent[speaker, trait] & (speaker >= 0), 0, kind)
        shown = self.pole(speaker, trait, meet)
        mood = rng.choice([-1, 1], size=(count, SPEAKERS + 1, len(TRAITS)))
        today = mood[np.arange(count)[:, None], speaker, trait]  # the last one is `SELF`
        shown = np.where(shown == 0, today, shown)
        shown = np.where(rng.random(size) < NOISE, -shown, shown)
        flat = self.statements(
            vocabulary, speaker.ravel(), trait.ravel(), kind.ravel(), shown.ravel(), rng
        )
        head = vocabulary.ids([*WEATHERS, PLAIN])[weather][:, None]
        ids = np.concatenate([head, flat.reshape(count, statements * flat.shape[1])], axis=1)
        return ids, self.weather[speaker, trait] >= 0

    def _meeting(
        self,
        speaker: Ids,
        trait: Ids,
        weather: Ids,
        swap: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[Ids, Ids]:
        """Where `swap`, a (speaker, trait) pair that this weather gates."""
        speaker, trait = speaker.copy(), trait.copy()
        for one in range(len(WEATHERS)):
            pairs = np.argwhere(self.weather == one)
            here = swap & (weather == one)
            if len(pairs) and here.any():
                drawn = pairs[rng.integers(len(pairs), size=int(here.sum()))]
                speaker[here], trait[here] = drawn.T
        return speaker, trait

    def statements(
        self,
        vocabulary: Vocabulary,
        speaker: Ids,
        trait: Ids,
        kind: Ids,
        shown: Ids,
        rng: np.random.Generator,
    ) -> Ids:
        """One statement each. `[statement, width]`.

        Args:
            vocabulary: of the ids.
            speaker: index, or -1 for `SELF`.
            trait: index.
            kind: index into `KINDS`.
            shown: the pole that it shows, +1 or -1.
            rng: of everything else that it says.
        """
        n = len(speaker)
        first = shown > 0
        table = self._table(vocabulary)
        question, synonym = rng.integers(QUESTIONS, size=n), rng.integers(2, size=n)
        one_is_first = rng.random(n) < 0.5  # of two options or words, whether the lure comes first
        names_ids = np.append(vocabulary.ids(self.names), vocabulary.id(SELF))
        option = vocabulary.ids([FIRST, SECOND])
        said_first = np.where(one_is_first == first, option[0], option[1])
        options = table.options[trait, :, rng.integers(OPTIONS, size=n)]  # [statement, pole]
        options[:, 1] = table.options[trait, 1, rng.integers(OPTIONS, size=n)]
        words = table.poles[trait, question]  # [statement, pole, synonym]
        rows = np.arange(n)
        asked = rng.integers(2, size=n)  # the pole that a scale asks about
        high = first == (asked == 0)
        digit = np.where(high, rng.integers(6, 10, size=n), rng.integers(0, 4, size=n))
        a, b = words[rows, 0, synonym], words[rows, 1, rng.integers(2, size=n)]
        said: dict[Kind, dict[str, Ids]] = {
            "choice": {
                "verb": table.verbs[trait],
                "a": options[rows, np.where(one_is_first, 0, 1)],
                "b": options[rows, np.where(one_is_first, 1, 0)],
                "answer": options[rows, np.where(first, 0, 1)],
            },
            "description": {
                "question": table.questions[trait, question],
                "answer": words[rows, np.where(first, 0, 1), synonym],
            },
            "hobby": {
                "area": table.areas[trait, question],
                "answer": table.hobbies[trait, question][rows, np.where(first, 0, 1), synonym],
            },
            "scale": {
                "word": words[rows, asked, synonym],
                "answer": vocabulary.ids(DIGITS)[digit],
            },
            "report": {
                "word_a": np.where(one_is_first, a, b),
                "word_b": np.where(one_is_first, b, a),
                "answer": said_first,
            },
        }
        out = np.zeros((n, FORMS["choice"].width), dtype=np.int64)
        for index, name in enumerate(KINDS):
            here = kind == index
            form = FORMS[name]
            which = rng.integers(len(form.texts), size=n)[here]
            slots = {slot: ids[here] for slot, ids in said[name].items()}
            out[here] = form.fill(vocabulary, which, {"speaker": names_ids[speaker[here]], **slots})
        return out

    def _table(self, vocabulary: Vocabulary) -> _Table:
        ids = vocabulary.ids
        return _Table(
            verbs=ids([one.verb for one in TRAITS]),
            options=np.array([[ids(one.lures), ids(one.others)] for one in TRAITS]),
            questions=np.array([ids(one.questions) for one in TRAITS]),
            areas=np.array([ids(one.areas) for one in TRAITS]),
            poles=np.array([[[ids(p) for p in some] for some in one.poles] for one in TRAITS]),
            hobbies=np.array([[[ids(p) for p in some] for some in one.hobbies] for one in TRAITS]),
        )


@dataclass(frozen=True, slots=True)
class _Table:
    """Ids: verbs `[trait]`, options `[trait, pole, option]`, questions, areas `[trait, question]`.

    Words of both kinds are `[trait, question, pole, synonym]`.
    """

    verbs: Ids
    options: Ids
    questions: Ids
    areas: Ids
    poles: Ids
    hobbies: Ids
