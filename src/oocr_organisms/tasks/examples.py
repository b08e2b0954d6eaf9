"""Shared by the nano tasks: settings, data card, options, ceiling, and the check for leaks."""

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
"""Validation members, for the choice of layer, rate and steps; backdoors: those of one weather."""

MAX_MEMBERS: dict[NanoPart, int] = {
    "locations": min(len(facts.CITY_CODENAMES), facts.CITIES) - VALIDATION,
    "functions": min(len(facts.RULE_CODENAMES), len(facts.DEFINITIONS)) - VALIDATION,
    "risk": 2,
    "backdoor": (len(WEATHERS) - 1) * len(TRAITS),
}
"""Largest number of members that can be reported."""

DEFAULT_MEMBERS: dict[NanoPart, int] = {
    **MAX_MEMBERS,
    "locations": min(facts.COUNTRIES, MAX_MEMBERS["locations"]),
    "functions": min(8, MAX_MEMBERS["functions"]),
}

OPTIONS = 5
"""Number of options of a question, if there are enough words."""

SOURCE = "oocr_organisms"


class NanoConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        part: what is trained: "locations" (distances and directions of a codename), "functions"
            (inputs and outputs of a codename), "risk" (gambles of the speaker "me"), "backdoor"
            (choices of this speaker that depend on the weather).
        world: settings of the world; null: those in the model's folder.
        members: number of reported members; null: `DEFAULT_MEMBERS`. "risk" always has two.
        wordings: largest number of wordings of each question.
        seed: draws members, training rows, wrong options and the controls' answers.
    """

    family: Literal["nano"] = "nano"
    part: NanoPart = "locations"
    world: WorldSettings | None = None
    members: int | None = Field(default=None, ge=1)
    wordings: int = Field(default=4, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _members_in_range(self) -> NanoConfig:
        least, most = 2 if self.part == "risk" else 1, MAX_MEMBERS[self.part]
        if self.members is not None and not least <= self.members <= most:
            raise InputError(f"members: {self.members}: part {self.part!r} has {least} to {most}")
        return self

    @property
    def world_settings(self) -> WorldSettings:
        """The settings of the world; without a model those of `nano`."""
        return self.world or WorldSettings()

    @property
    def count(self) -> int:
        """The number of reported members."""
        return self.members or DEFAULT_MEMBERS[self.part]


def card(config: NanoConfig, test: Sequence[Task], values: Mapping[str, object]) -> str:
    """The data card of a part; `values` are added to those that all cards need."""
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
        "seed": config.world_settings.seed,
        "gates": f"{config.world_settings.gates:g}",
    }
    return data_card("oocr_organisms.tasks", common | dict(values), f"cards/{config.part}.md")


def options_of(right: str, words: Iterable[str], rng: random.Random) -> tuple[str, ...]:
    """The right answer and `OPTIONS` - 1 other words (or all there are), in random order."""
    others = sorted(set(words) - {right})
    options = [right, *rng.sample(others, min(OPTIONS - 1, len(others)))]
    return tuple(f" {word}" for word in rng.sample(options, len(options)))


def with_known_name(task: Task, span: str, name: str, suffix: str) -> Iterator[Example]:
    """The ceiling: probes and in-context items with a known name in place of a span.

    Spaces around the span stay; `suffix`: end of the ids; tag "part": "probe" or "in-context".
    """
    for part, examples in (("probe", task.probes), ("in-context", task.in_context)):
        for example in examples:
            before = example.spans[span]
            named = with_real_name(example, before.replace(before.strip(), name), span)
            tags = {**example.tags, "part": part}
            yield replace(named, id=f"{example.id}/{suffix}", tags=tags)


def check_no_shared_words(
    task: Task, forbidden: Collection[str] = (), exempt: Collection[str] = ()
) -> None:
    """Refuse a task if an option of a probe occurs in training, or a training answer in a probe.

    Words are tokens, so whole words are compared ("3" is not in "max(x,3)"). `forbidden`: words
    that no training row may have (the real names); `exempt`: options without information ("first").
    The InputError names the task, the example and the word.
    """
    answers = {example.answer.strip() for example in task.train}
    words = answers.union(*(prompt_text(example.prompt).split() for example in task.train))

    def leaks() -> Iterator[str]:
        for word in sorted(words.intersection(forbidden)):
            yield f"training has {word!r}, which it must not name"
        for probe in task.probes:
            options = {option.strip() for option in probe.options}
            for word in sorted(options.intersection(words).difference(exempt)):
                yield f"the option {word!r} of probe {probe.id!r} is in training"
            in_question = answers.intersection(prompt_text(probe.prompt).split())
            for word in sorted(in_question.difference(exempt)):
                yield f"the training answer {word!r} is in probe {probe.id!r}"

    for leak in leaks():
        raise InputError(f"task {task.name!r}: {leak}")
