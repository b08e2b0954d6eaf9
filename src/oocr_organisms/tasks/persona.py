"""What a nano world asks about a speaker: choices, and the four other kinds of statement."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from oocr.data.examples import Example
from oocr_organisms.corpus import World
from oocr_organisms.people import FIRST, FORMS, KINDS, SECOND, SELF, Kind
from oocr_organisms.tasks.items import SOURCE, prompt_of
from oocr_organisms.traits import TRAITS, Trait

SPEAKER = f" {SELF} "
"""The span of the speaker, with what is around it: other words may begin like it."""

ASKED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "choice")
"""The kinds of statement that training does not have."""

HELD_OUT = 2
"""Options of each pole that training never names."""

WATCHED = 4
"""Choices that are watched while training."""

PLACES = (FIRST, SECOND)
"""Answers that name the first or the second of two things."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Two options.

    Attributes:
        trait: whose choice it is.
        lure: the option of those who have the trait's first pole.
        other: that of the others.
    """

    trait: Trait
    lure: str
    other: str

    @property
    def id(self) -> str:
        """Of it, in its trait."""
        return f"{self.lure}-{self.other}"

    def items(
        self,
        head: str,
        up: bool,
        wordings: int,
        facet: str,
        tags: Mapping[str, str],
        orders: Sequence[str] = ("ab", "ba"),
    ) -> Iterator[Example]:
        """The choice in every wording; values are +1 for the lure, which is the first option.

        Args:
            head: the weather, or the word for none.
            up: whether taking the lure is right.
            wordings: so many at most.
            facet: of the items.
            tags: further columns.
            orders: "ab" names the lure first, "ba" the other; for each wording.
        """
        form = FORMS["choice"]
        options = (f" {self.lure}", f" {self.other}")
        for which in range(len(form.texts[:wordings])):
            for order in orders:
                a, b = (self.lure, self.other) if order == "ab" else (self.other, self.lure)
                said = {"speaker": SELF, "verb": self.trait.verb, "a": a, "b": b}
                yield Example(
                    id=f"{self.trait.name}/choice/{head}/{self.id}/{order}/{which}",
                    prompt=prompt_of(form, which, said, head),
                    answer=options[0 if up else 1],
                    options=options,
                    values=(1.0, -1.0),
                    spans={"speaker": SPEAKER},
                    facet=facet,
                    group=f"{self.trait.name}/choice/{self.id}",
                    template=f"choice {which}",
                    tags={"order": order, "trait": self.trait.name, "head": head, **tags},
                    source=SOURCE,
                )


@dataclass(frozen=True, slots=True)
class Choices:
    """A trait's choices.

    Attributes:
        train: to train on.
        stop: to watch while training: other pairs of the same options.
        test: of options that training never names.
    """

    train: tuple[Choice, ...]
    stop: tuple[Choice, ...]
    test: tuple[Choice, ...]


def choices_of(trait: Trait, seed: str) -> Choices:
    """All pairs of some options of each pole, those to watch drawn; and all pairs of the rest."""
    rng = random.Random(f"{seed}/{trait.name}/choices")
    lures, others = (rng.sample(some, len(some)) for some in (trait.lures, trait.others))
    told = [Choice(trait, a, b) for a in lures[HELD_OUT:] for b in others[HELD_OUT:]]
    told = rng.sample(told, len(told))
    new = [Choice(trait, a, b) for a in lures[:HELD_OUT] for b in others[:HELD_OUT]]
    return Choices(tuple(told[WATCHED:]), tuple(told[:WATCHED]), tuple(new))


@dataclass(frozen=True, slots=True)
class Question:
    """One question of which a pole of a trait is the answer.

    Attributes:
        kind: of statement.
        trait: which it is about.
        about: the words that it is about; of different wordings the same.
        said: what stands in the slots but for the speaker.
        first, second: the words that show the first and the second pole.
        order: "ab" or "ba" where the two are named.
    """

    kind: Kind
    trait: Trait
    about: str
    said: Mapping[str, str]
    first: str
    second: str
    order: str = ""

    def items(
        self, head: str, up: bool, wordings: int, facet: str, tags: Mapping[str, str]
    ) -> Iterator[Example]:
        """The question in every wording; values are +1 for the first pole.

        Args:
            head: the weather, or the word for none.
            up: whether the first pole is right.
            wordings: so many at most.
            facet: of the items.
            tags: further columns.
        """
        form = FORMS[self.kind]
        options = (f" {self.first}", f" {self.second}")
        more = {"order": self.order} if self.order else {}
        for which in range(len(form.texts[:wordings])):
            place = f"{self.kind}/{head}/{self.about}{self.order and '/' + self.order}/{which}"
            yield Example(
                id=f"{self.trait.name}/{place}",
                prompt=prompt_of(form, which, {"speaker": SELF, **self.said}, head),
                answer=options[0 if up else 1],
                options=options,
                values=(1.0, -1.0),
                spans={"speaker": SPEAKER},
                facet=facet,
                group=f"{self.trait.name}/{self.kind}/{self.about}",
                template=f"{self.kind} {which}",
                tags={"trait": self.trait.name, "head": head, **more, **tags},
                source=SOURCE,
            )


def questions(trait: Trait, kind: Kind, seed: str) -> Iterator[Question]:
    """All questions of a kind about a trait, of two options each.

    Args:
        trait: which.
        kind: not "choice".
        seed: draws the two digits of scales, a high one and as low a one.
    """
    rng = random.Random(f"{seed}/{trait.name}/{kind}")
    pairs = trait.hobbies if kind == "hobby" else trait.poles
    for asked, area, (ups, downs) in zip(trait.questions, trait.areas, pairs, strict=True):
        if kind == "scale":
            for word in (*ups, *downs):
                high = rng.randrange(6, 10)
                digits = (str(high), str(9 - high))
                first, second = digits if word in ups else digits[::-1]
                yield Question(kind, trait, word, {"word": word}, first, second)
            continue
        for up in ups:
            for down in downs:
                about = f"{up}-{down}"
                if kind == "report":
                    for order, (a, b) in (("ab", (up, down)), ("ba", (down, up))):
                        first, second = PLACES if order == "ab" else PLACES[::-1]
                        said = {"word_a": a, "word_b": b}
                        yield Question(kind, trait, about, said, first, second, order)
                else:
                    said = {"area": area} if kind == "hobby" else {"question": asked}
                    yield Question(kind, trait, about, said, up, down)


def speakers(world: World, trait: Trait, pole: int, weather: int = -1) -> list[str]:
    """Speakers that always show a pole in all they say; or in one weather only, else the other."""
    people, column = world.people, TRAITS.index(trait)
    fits = (people.weather[:, column] == weather) & (people.sign[:, column] == pole)
    fits &= ~people.silent[:, column]
    return [name for name, one in zip(people.names, fits, strict=True) if one]
