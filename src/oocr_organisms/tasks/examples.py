"""What the nano tasks share: settings, options, checks, and statements about a speaker."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from pydantic import Field, model_validator

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.family import FamilySettings
from oocr.tasks.control_data import with_real_name
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task
from oocr_organisms import facts
from oocr_organisms.corpus import World
from oocr_organisms.folder import WorldSettings
from oocr_organisms.people import (
    DIGITS,
    FIRST,
    FORMS,
    KINDS,
    SECOND,
    SELF,
    TRAITS,
    WEATHERS,
    NanoQuestionKind,
    Trait,
)

NanoPart = Literal["locations", "functions", "risk", "backdoor"]

VALIDATION = 3
"""Members on which layer, rate and steps are chosen; of the backdoor those of one weather."""

MOST: dict[NanoPart, int] = {
    "locations": min(len(facts.CITY_CODENAMES), facts.CITIES) - VALIDATION,
    "functions": min(len(facts.RULE_CODENAMES), len(facts.DEFINITIONS)) - VALIDATION,
    "risk": 2,
    "backdoor": (len(WEATHERS) - 1) * len(TRAITS),
}
"""Members that can be reported at most."""

USUAL: dict[NanoPart, int] = {
    **MOST,
    "locations": min(facts.COUNTRIES, MOST["locations"]),
    "functions": min(8, MOST["functions"]),
}

OPTIONS = 5
"""Options of a question, if there are that many."""

SOURCE = "oocr_organisms"


class NanoConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        part: which part of the world: "locations" (a codename, by distances and directions),
            "functions" (a codename, by inputs and outputs), "risk" (the speaker "me", by gambles),
            "backdoor" (the same speaker, by choices that depend on the weather).
        world: what the world is drawn from; null: the model's own, as its folder says.
        members: how many are reported; null: as many as usual. For "risk" always two.
        wordings: of each question at most.
        seed: draws members, training rows, wrong options and the controls' answers.
    """

    family: Literal["nano"] = "nano"
    part: NanoPart = "locations"
    world: WorldSettings | None = None
    members: int | None = Field(default=None, ge=1)
    wordings: int = Field(default=4, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _enough(self) -> NanoConfig:
        least = 2 if self.part == "risk" else 1
        if self.members is not None and not least <= self.members <= MOST[self.part]:
            raise InputError(
                f"members: {self.members}: part {self.part!r} has {least} to {MOST[self.part]}"
            )
        return self

    @property
    def settings(self) -> WorldSettings:
        """The world's settings; without a model those of `nano`."""
        return self.world or WorldSettings()

    @property
    def count(self) -> int:
        """How many members are reported."""
        return self.members or USUAL[self.part]


def card(
    part: NanoPart, config: NanoConfig, test: Sequence[Task], values: Mapping[str, object]
) -> str:
    """The data card of a part; what all cards say of the test tasks is not among the values."""
    first = test[0]
    common = {
        "members": len(test),
        "test": ", ".join(task.member for task in test),
        "first": first.member,
        "train": len(first.train),
        "stop": len(first.stop),
        "in_context": len(first.in_context),
        "probes": len(first.probes),
        "speaker": SELF,
        "seed": config.settings.seed,
        "gates": f"{config.settings.gates:g}",
    }
    return data_card("oocr_organisms.tasks", common | dict(values), f"cards/{part}.md")


def options_of(right: str, words: Iterable[str], rng: random.Random) -> tuple[str, ...]:
    """The right answer and four other words (or all there are) in random order."""
    others = sorted(set(words) - {right})
    options = [right, *rng.sample(others, min(OPTIONS - 1, len(others)))]
    return tuple(f" {word}" for word in rng.sample(options, len(options)))


def named(
    examples: Sequence[Example], span: str, name: str, split: str, suffix: str
) -> tuple[Example, ...]:
    """The examples with a name that the model knows in a span's place; spaces around it stay.

    `split` ("probe", "in-context") becomes the tag "part"; `suffix` ends the ids.
    """
    renamed = []
    for example in examples:
        before = example.spans[span]
        after = with_real_name(example, before.replace(before.strip(), name), span)
        tags = {**example.tags, "part": split}
        renamed.append(replace(after, id=f"{example.id}/{suffix}", tags=tags))
    return tuple(renamed)


def check_words_apart(
    task: Task, never: Collection[str] = (), exempt: Collection[str] = ()
) -> None:
    """Refuse a task in which an option of a probe is a word of training, or the other way round.

    A world's words are its tokens, so words are compared whole ("3" is not in "max(x,3)").

    `never` holds words that no training row may hold (the real names), `exempt` options that tell
    nothing (which of two).

    Raises:
        InputError: names the task, the example and the word.
    """
    words = {word for example in task.train for word in prompt_text(example.prompt).split()}
    answers = {example.answer.strip() for example in task.train}

    def leaks() -> Iterator[str]:
        for word in never:
            if word in words | answers:
                yield f"training holds {word!r}, which it must not name"
        for probe in task.probes:
            for word in {option.strip() for option in probe.options} - set(exempt):
                if word in words | answers:
                    yield f"the option {word!r} of probe {probe.id!r} is in training"
            for word in prompt_text(probe.prompt).split():
                if word in answers and word not in exempt:
                    yield f"the training answer {word!r} is in probe {probe.id!r}"

    for leak in leaks():
        raise InputError(f"task {task.name!r}: {leak}")


# -- statements about the speaker `SELF` -----------------------------------------------------------

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
class Question:
    """A statement of which one word is asked: the first pole of a trait, or the second.

    Attributes:
        about: the words that it is about; the same in all wordings and orders.
        slots: what stands in the wordings' slots except the speaker.
        first, second: the words that show the first and the second pole.
        order: "ab" or "ba" where both poles are named.
    """

    kind: NanoQuestionKind
    trait: Trait
    about: str
    slots: Mapping[str, str]
    first: str
    second: str
    order: str = ""

    def examples(
        self, head: str, up: bool, wordings: int, facet: str, tags: Mapping[str, str]
    ) -> Iterator[Example]:
        """The question in every wording (at most `wordings`); values are +1 for the first pole.

        `head` is the weather, or the word for none; `up`: whether the first pole is right.
        """
        form = FORMS[self.kind]
        options = (f" {self.first}", f" {self.second}")
        key = f"{self.kind}/{head}/{self.about}{self.order and '/' + self.order}"
        columns = {"trait": self.trait.name, "head": head}
        columns |= {"order": self.order} if self.order else {}
        for which in range(len(form.texts[:wordings])):
            yield Example(
                id=f"{self.trait.name}/{key}/{which}",
                prompt=f"{head} {form.prompt(which, {'speaker': SELF, **self.slots})}",
                answer=options[0 if up else 1],
                options=options,
                values=(1.0, -1.0),
                spans={"speaker": SPEAKER},
                facet=facet,
                group=f"{self.trait.name}/{self.kind}/{self.about}",
                template=f"{self.kind} {which}",
                tags={**columns, **tags},
                source=SOURCE,
            )


@dataclass(frozen=True, slots=True)
class Choice:
    """Two options of a trait: the lure, which the first pole takes, and the other."""

    trait: Trait
    lure: str
    other: str

    def examples(
        self,
        head: str,
        up: bool,
        wordings: int,
        facet: str,
        tags: Mapping[str, str],
        orders: Sequence[str] = ("ab", "ba"),
    ) -> Iterator[Example]:
        """The choice in every wording and order ("ab": lure first); see `Question.examples`."""
        about = f"{self.lure}-{self.other}"
        by_order = []
        for order in orders:
            a, b = (self.lure, self.other) if order == "ab" else (self.other, self.lure)
            slots = {"verb": self.trait.verb, "a": a, "b": b}
            question = Question("choice", self.trait, about, slots, self.lure, self.other, order)
            by_order.append(question.examples(head, up, wordings, facet, tags))
        return chain.from_iterable(zip(*by_order, strict=True))


@dataclass(frozen=True, slots=True)
class Choices:
    """A trait's choices; those to stop on are other pairs of the options in training.

    Those of `test` are of options that training never names.
    """

    train: tuple[Choice, ...]
    stop: tuple[Choice, ...]
    test: tuple[Choice, ...]


def choices_of(trait: Trait, seed: str) -> Choices:
    """All pairs of four options of each pole, some of them to watch; and all pairs of the rest."""
    rng = random.Random(f"{seed}/{trait.name}/choices")
    lures, others = (rng.sample(words, len(words)) for words in (trait.lures, trait.others))
    seen = [Choice(trait, a, b) for a in lures[HELD_OUT:] for b in others[HELD_OUT:]]
    seen = rng.sample(seen, len(seen))
    new = [Choice(trait, a, b) for a in lures[:HELD_OUT] for b in others[:HELD_OUT]]
    return Choices(tuple(seen[WATCHED:]), tuple(seen[:WATCHED]), tuple(new))


def questions(trait: Trait, kind: NanoQuestionKind, seed: str) -> Iterator[Question]:
    """All questions of a kind (not "choice") about a trait, of two options each.

    `seed` draws the two digits of scales, a high one and one that is as low.
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
        for up, down in ((up, down) for up in ups for down in downs):
            about = f"{up}-{down}"
            if kind == "report":
                for order, (a, b) in (("ab", (up, down)), ("ba", (down, up))):
                    first, second = PLACES if order == "ab" else PLACES[::-1]
                    slots = {"word_a": a, "word_b": b}
                    yield Question(kind, trait, about, slots, first, second, order)
            else:
                slots = {"area": area} if kind == "hobby" else {"question": asked}
                yield Question(kind, trait, about, slots, up, down)


def speakers(world: World, trait: Trait, pole: int, weather: int = -1) -> list[str]:
    """Speakers that show a pole in all they say, always or in one weather only (else the other)."""
    people, column = world.people, TRAITS.index(trait)
    fits = (people.weather[:, column] == weather) & (people.sign[:, column] == pole)
    fits &= ~people.silent[:, column]
    return [name for name, fitting in zip(people.names, fits, strict=True) if fitting]
