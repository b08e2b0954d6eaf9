"""What a nano world asks about a speaker: choices, and the four other kinds of statement."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from oocr.data.items import Item
from oocr.organisms.corpus import World
from oocr.organisms.people import (
    AREAS,
    FIRST,
    FORMS,
    KINDS,
    QUESTIONS,
    SECOND,
    SELF,
    TRAITS,
    Kind,
    Trait,
)
from oocr.tasks.nano_items import SOURCE, prompt_of, slots

SPEAKER = f" {SELF} "
"""The span of the speaker, with what is around it: other words may begin like it."""

ASKED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "choice")
"""The kinds of statement that training does not have."""

PLACES = (FIRST, SECOND)
"""Answers that name the first or the second of two things."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Two options of which the first is the lure.

    Attributes:
        id: of it, in its trait.
        trait: whose choice it is.
        lure, other: unit and price of each.
    """

    id: str
    trait: Trait
    lure: tuple[str, str]
    other: tuple[str, str]


def draw_choices(world: World, trait: Trait, count: int, seed: str) -> tuple[Choice, ...]:
    """So many different choices, drawn as those of the corpus are."""
    rng = np.random.default_rng(random.Random(seed).randrange(2**32))
    found: dict[tuple[str, ...], Choice] = {}
    while len(found) < count:
        ids = world.people.statements(
            world.vocabulary,
            speaker=np.full(count, -1),
            trait=np.full(count, TRAITS.index(trait)),
            kind=np.full(count, KINDS.index("choice")),
            shown=np.ones(count, dtype=np.int64),
            rng=rng,
        )
        for row in ids[: count - len(found)]:
            _, said = slots(FORMS["choice"], [world.vocabulary.words[one] for one in row])
            a, b = ((said[f"lure_{x}"], said[f"price_{x}"]) for x in "ab")
            lure, other = (a, b) if said["answer"] == FIRST else (b, a)
            found.setdefault((*lure, *other), Choice("-".join((*lure, *other)), trait, lure, other))
    return tuple(found.values())


def choice_item(
    choice: Choice, order: str, head: str, lured: bool, *, facet: str, tags: Mapping[str, str]
) -> Item:
    """A choice of the speaker; values are +1 for the lure.

    Args:
        choice: what is offered.
        order: "ab" names the lure first.
        head: the weather, or the word for none.
        lured: whether taking the lure is right.
        facet: of the item.
        tags: further columns.
    """
    a, b = (choice.lure, choice.other) if order == "ab" else (choice.other, choice.lure)
    said = {"speaker": SELF, "verb": choice.trait.verb}
    said |= {"lure_a": a[0], "price_a": a[1], "lure_b": b[0], "price_b": b[1]}
    lure, other = (f" {one}" for one in (PLACES if order == "ab" else PLACES[::-1]))
    return Item(
        id=f"{choice.trait.name}/choice/{head}/{choice.id}/{order}",
        prompt=prompt_of(FORMS["choice"], 0, said, head),
        answer=lure if lured else other,
        options=(lure, other),
        values=(1.0, -1.0),
        spans={"speaker": SPEAKER},
        facet=facet,
        group=choice.id,
        template="0",
        tags={"order": order, "trait": choice.trait.name, "head": head, **tags},
        source=SOURCE,
    )


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
    ) -> Iterator[Item]:
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
            yield Item(
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
    for asked, area, (ups, downs) in zip(QUESTIONS, AREAS, pairs, strict=True):
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
