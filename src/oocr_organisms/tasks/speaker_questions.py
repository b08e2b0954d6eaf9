"""Questions about the speaker `SELF`: statements without their last word."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
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
"""The span of the speaker, with spaces: other words may begin with the same letters."""
PROBE_KINDS: tuple[NanoQuestionKind, ...] = tuple(kind for kind in KINDS if kind != "choice")
"""Kinds of statement that are not trained; probes ask for these."""
HELD_OUT_OPTIONS = 2
"""Number of options of each pole that are never trained."""
EARLY_STOP_CHOICES = 4
"""Number of choices whose loss is measured during training (for early stopping)."""
PLACES = (FIRST, SECOND)
"""Answers that mean the first or the second of two words."""
EXEMPT = (*PLACES, *DIGITS)
"""Options without information on the answer of a probe."""


@dataclass(frozen=True, slots=True)
class SpeakerQuestion:
    """A question whose answer shows a pole of a trait.

    Attributes:
        kind: of the statement.
        trait: the trait.
        about: the words that it is about; the same in all wordings and orders.
        slots: slot of the wordings -> word, except the speaker.
        first: the answer of the first pole.
        second: the answer of the second pole.
        order: "ab" or "ba" if both poles are named, else "".
    """

    kind: NanoQuestionKind
    trait: Trait
    about: str
    slots: Mapping[str, str]
    first: str
    second: str
    order: str = ""


def question_examples(
    questions: Sequence[SpeakerQuestion],
    head: str,
    first_pole: bool,
    wordings: int,
    facet: str,
    tags: Mapping[str, str],
) -> Iterator[Example]:
    """Questions of one kind in all wordings (at most `wordings`); the first pole has value +1.

    `head`: the weather, or the word for none; `first_pole`: whether the first pole is right.
    """
    form = FORMS[questions[0].kind]
    for which in range(len(form.texts[:wordings])):
        for question in questions:
            options, order = (f" {question.first}", f" {question.second}"), question.order
            key = f"{question.kind}/{head}/{question.about}{order and '/' + order}"
            columns = {"trait": question.trait.name, "head": head}
            columns |= {"order": order} if order else {}
            yield Example(
                id=f"{question.trait.name}/{key}/{which}",
                prompt=f"{head} {form.prompt(which, {'speaker': SELF, **question.slots})}",
                answer=options[0 if first_pole else 1],
                options=options,
                values=(1.0, -1.0),
                spans={"speaker": SPEAKER},
                facet=facet,
                group=f"{question.trait.name}/{question.kind}/{question.about}",
                template=f"{question.kind} {which}",
                tags={**columns, **tags},
                source=SOURCE,
            )


class LureChoice(NamedTuple):
    """Two options of a trait: the lure, which the first pole chooses, and the other option."""

    trait: Trait
    lure: str
    other: str

    def questions(self, *orders: str) -> list[SpeakerQuestion]:
        """The choice in each of these orders; "ab": the lure comes first."""
        trait, lure, other = self
        questions: list[SpeakerQuestion] = []
        for order in orders:
            a, b = in_order((lure, other), order)
            slots, about = {"verb": trait.verb, "a": a, "b": b}, f"{lure}-{other}"
            questions.append(SpeakerQuestion("choice", trait, about, slots, lure, other, order))
        return questions


class TraitChoices(NamedTuple):
    """A trait's choices.

    `train` and `stop` are different pairs of the same options; `test` has options that are never
    trained.
    """

    train: tuple[LureChoice, ...]
    stop: tuple[LureChoice, ...]
    test: tuple[LureChoice, ...]


def choices_of(trait: Trait, seed: str) -> TraitChoices:
    """All pairs of four options of each pole (train and stop), and of the other options (test)."""
    rng = random.Random(f"{seed}/{trait.name}/choices")
    lures, others = (rng.sample(words, len(words)) for words in (trait.lures, trait.others))
    seen = [
        LureChoice(trait, a, b) for a in lures[HELD_OUT_OPTIONS:] for b in others[HELD_OUT_OPTIONS:]
    ]
    seen = rng.sample(seen, len(seen))
    new = [
        LureChoice(trait, a, b) for a in lures[:HELD_OUT_OPTIONS] for b in others[:HELD_OUT_OPTIONS]
    ]
    return TraitChoices(
        tuple(seen[EARLY_STOP_CHOICES:]), tuple(seen[:EARLY_STOP_CHOICES]), tuple(new)
    )


def questions_of(trait: Trait, kind: NanoQuestionKind, seed: str) -> Iterator[SpeakerQuestion]:
    """All questions of a kind (not "choice") about a trait, of two options each.

    `seed` draws the two digits of scales: a high one, and 9 minus this one.
    """
    rng = random.Random(f"{seed}/{trait.name}/{kind}")
    pairs = trait.hobbies if kind == "hobby" else trait.poles
    for question, area, (firsts, seconds) in zip(trait.questions, trait.areas, pairs, strict=True):
        if kind == "scale":
            for word in (*firsts, *seconds):
                high = rng.randrange(6, 10)
                digits = in_order((str(high), str(9 - high)), "ab" if word in firsts else "ba")
                yield SpeakerQuestion(kind, trait, word, {"word": word}, *digits)
            continue
        for first, second in product(firsts, seconds):
            about = f"{first}-{second}"
            if kind == "report":
                for order in ("ab", "ba"):
                    a, b = in_order((first, second), order)
                    slots = {"word_a": a, "word_b": b}
                    places = in_order(PLACES, order)
                    yield SpeakerQuestion(kind, trait, about, slots, *places, order)
            else:
                slots = {"area": area} if kind == "hobby" else {"question": question}
                yield SpeakerQuestion(kind, trait, about, slots, first, second)


def speakers_with(world: World, trait: Trait, pole: int, weather: int = -1) -> list[str]:
    """Speakers who always show a pole, or (gated) only in one weather; silent ones are left out."""
    people, column = world.people, TRAITS.index(trait)
    fits = (people.weather[:, column] == weather) & (people.sign[:, column] == pole)
    fits &= ~people.silent[:, column]
    return [name for name, fitting in zip(people.names, fits, strict=True) if fitting]
