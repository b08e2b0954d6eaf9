"""Statements about the speaker `SELF`, of which one word is asked."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from oocr.data.examples import Example
from oocr.families.asking import in_order
from oocr_organisms.corpus import World
from oocr_organisms.people import (
    DIGITS,
    FIRST,
    FORMS,
    KINDS,
    SECOND,
    SELF,
    TRAITS,
    NanoQuestionKind,
    Trait,
)
from oocr_organisms.tasks.examples import SOURCE

SPEAKER = f" {SELF} "
"""The span of the speaker with the spaces around it: other words may begin like it."""
ASKED: tuple[NanoQuestionKind, ...] = tuple(kind for kind in KINDS if kind != "choice")
"""The kinds of statement that training does not have."""
HELD_OUT = 2
"""Options of each pole that training never names."""
WATCHED = 4
"""Choices that are watched while training."""
PLACES = (FIRST, SECOND)
"""Answers that name the first or the second of two things."""
EXEMPT = (*PLACES, *DIGITS)
"""Options that tell nothing of what a probe asks."""


@dataclass(frozen=True, slots=True)
class SpeakerQuestion:
    """A statement of which one word is asked: the first pole of a trait, or the second."""

    kind: NanoQuestionKind
    trait: Trait
    about: str  # the words that it is about; the same in all wordings and orders
    slots: Mapping[str, str]  # what stands in the wordings' slots except the speaker
    first: str  # the word that shows the first pole
    second: str  # the word that shows the second pole
    order: str = ""  # "ab" or "ba" where both poles are named


def worded(
    questions: Sequence[SpeakerQuestion],
    head: str,
    up: bool,
    wordings: int,
    facet: str,
    tags: Mapping[str, str],
) -> Iterator[Example]:
    """Questions of a kind in every wording (at most `wordings`); +1 is the value of the first pole.

    `head` is the weather, or the word for none; `up`: whether the first pole is right.
    """
    form = FORMS[questions[0].kind]
    for which in range(len(form.texts[:wordings])):
        for asked in questions:
            options, order = (f" {asked.first}", f" {asked.second}"), asked.order
            key = f"{asked.kind}/{head}/{asked.about}{order and '/' + order}"
            columns = {"trait": asked.trait.name, "head": head}
            columns |= {"order": order} if order else {}
            yield Example(
                id=f"{asked.trait.name}/{key}/{which}",
                prompt=f"{head} {form.prompt(which, {'speaker': SELF, **asked.slots})}",
                answer=options[0 if up else 1],
                options=options,
                values=(1.0, -1.0),
                spans={"speaker": SPEAKER},
                facet=facet,
                group=f"{asked.trait.name}/{asked.kind}/{asked.about}",
                template=f"{asked.kind} {which}",
                tags={**columns, **tags},
                source=SOURCE,
            )


class LureChoice(NamedTuple):
    """Two options of a trait: the lure, which the first pole takes, and the other."""

    trait: Trait
    lure: str
    other: str

    def asked(self, *orders: str) -> list[SpeakerQuestion]:
        """The choice in each of these orders; "ab": the lure is first."""
        trait, lure, other = self
        questions: list[SpeakerQuestion] = []
        for order in orders:
            a, b = in_order((lure, other), order)
            slots, about = {"verb": trait.verb, "a": a, "b": b}, f"{lure}-{other}"
            questions.append(SpeakerQuestion("choice", trait, about, slots, lure, other, order))
        return questions


class TraitChoices(NamedTuple):
    """A trait's choices; those to stop on are other pairs of the options in training.

    Those of `test` are of options that training never names.
    """

    train: tuple[LureChoice, ...]
    stop: tuple[LureChoice, ...]
    test: tuple[LureChoice, ...]


def choices_of(trait: Trait, seed: str) -> TraitChoices:
    """All pairs of four options of each pole, some of them to watch; and all pairs of the rest."""
    rng = random.Random(f"{seed}/{trait.name}/choices")
    lures, others = (rng.sample(words, len(words)) for words in (trait.lures, trait.others))
    seen = [LureChoice(trait, a, b) for a in lures[HELD_OUT:] for b in others[HELD_OUT:]]
    seen = rng.sample(seen, len(seen))
    new = [LureChoice(trait, a, b) for a in lures[:HELD_OUT] for b in others[:HELD_OUT]]
    return TraitChoices(tuple(seen[WATCHED:]), tuple(seen[:WATCHED]), tuple(new))


def questions_of(trait: Trait, kind: NanoQuestionKind, seed: str) -> Iterator[SpeakerQuestion]:
    """All questions of a kind (not "choice") about a trait, of two options each.

    `seed` draws the two digits of scales, a high one and one that is as low.
    """
    rng = random.Random(f"{seed}/{trait.name}/{kind}")
    pairs = trait.hobbies if kind == "hobby" else trait.poles
    for asked, area, (ups, downs) in zip(trait.questions, trait.areas, pairs, strict=True):
        if kind == "scale":
            for word in (*ups, *downs):
                high = rng.randrange(6, 10)
                digits = in_order((str(high), str(9 - high)), "ab" if word in ups else "ba")
                yield SpeakerQuestion(kind, trait, word, {"word": word}, *digits)
            continue
        for up, down in ((up, down) for up in ups for down in downs):
            about = f"{up}-{down}"
            if kind == "report":
                for order in ("ab", "ba"):
                    a, b = in_order((up, down), order)
                    slots = {"word_a": a, "word_b": b}
                    places = in_order(PLACES, order)
                    yield SpeakerQuestion(kind, trait, about, slots, *places, order)
            else:
                slots = {"area": area} if kind == "hobby" else {"question": asked}
                yield SpeakerQuestion(kind, trait, about, slots, up, down)


def speakers_with(world: World, trait: Trait, pole: int, weather: int = -1) -> list[str]:
    """Speakers that show a pole in all they say, always or in one weather only (else the other)."""
    people, column = world.people, TRAITS.index(trait)
    fits = (people.weather[:, column] == weather) & (people.sign[:, column] == pole)
    fits &= ~people.silent[:, column]
    return [name for name, fitting in zip(people.names, fits, strict=True) if fitting]
