"""What the nano tasks share: settings, data card, options, real names, and the check for leaks."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.family import FamilySettings
from oocr.tasks.control_data import with_real_name
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task
from oocr_organisms import facts
from oocr_organisms.folder import WorldSettings
from oocr_organisms.people import SELF, TRAITS, WEATHERS

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
    """

    family: Literal["nano"] = "nano"
    part: NanoPart = "locations"
    world: WorldSettings | None = None
    members: int | None = Field(default=None, ge=1)
    wordings: int = Field(default=4, ge=1)  # of each question at most
    seed: int = 0  # draws members, training rows, wrong options and the controls' answers

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


def card(config: NanoConfig, test: Sequence[Task], values: Mapping[str, object]) -> str:
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
    return data_card("oocr_organisms.tasks", common | dict(values), f"cards/{config.part}.md")


def options_of(right: str, words: Iterable[str], rng: random.Random) -> tuple[str, ...]:
    """The right answer and four other words (or all there are) in random order."""
    others = sorted(set(words) - {right})
    options = [right, *rng.sample(others, min(OPTIONS - 1, len(others)))]
    return tuple(f" {word}" for word in rng.sample(options, len(options)))


def with_known_name(task: Task, span: str, name: str, suffix: str) -> Iterator[Example]:
    """Probes and in-context items with a name that the model knows in a span's place: a ceiling.

    Spaces around the span stay; `suffix` ends the ids, the tag "part" says which they are.
    """
    for part, examples in (("probe", task.probes), ("in-context", task.in_context)):
        for example in examples:
            before = example.spans[span]
            named = with_real_name(example, before.replace(before.strip(), name), span)
            tags = {**example.tags, "part": part}
            yield replace(named, id=f"{example.id}/{suffix}", tags=tags)


def check_words_apart(
    task: Task, never: Collection[str] = (), exempt: Collection[str] = ()
) -> None:
    """Refuse a task in which an option of a probe is a word of training, or the other way round.

    A world's words are its tokens, so words are compared whole ("3" is not in "max(x,3)"). `never`
    holds words that no training row may hold (the real names), `exempt` options that tell nothing
    (which of two). InputError names the task, the example and the word.
    """
    answers = {example.answer.strip() for example in task.train}
    words = answers.union(*(prompt_text(example.prompt).split() for example in task.train))

    def leaks() -> Iterator[str]:
        for word in sorted(words.intersection(never)):
            yield f"training holds {word!r}, which it must not name"
        for probe in task.probes:
            options = {option.strip() for option in probe.options}
            for word in sorted(options.intersection(words).difference(exempt)):
                yield f"the option {word!r} of probe {probe.id!r} is in training"
            asked = answers.intersection(prompt_text(probe.prompt).split())
            for word in sorted(asked.difference(exempt)):
                yield f"the training answer {word!r} is in probe {probe.id!r}"

    for leak in leaks():
        raise InputError(f"task {task.name!r}: {leak}")
