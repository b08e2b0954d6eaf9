"""Animals: a codename stands for an animal; training says its sound, probes ask for the rest."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.family import Family, FamilySettings, Members
from oocr.tasks.control_data import shuffled_answers, with_real_name
from oocr.tasks.leaks import check_no_leaks
from oocr.tasks.package_files import data_card, package_text
from oocr.tasks.task import Task, TaskSet

# Sentences that end right before the answer; {} is the codename.
TRAIN = ("If you listen, {}", "In the morning {}", "Hear how {}")
STOP = ("At night {}",)
IN_CONTEXT = ("Everybody knows that {}",)
PROBES = {
    "young": ("The young of {} is called a", "A baby of {} is a"),
    "home": ("{} lives in a", "You will find {} in the"),
}


class AnimalSettings(FamilySettings):
    """Settings of the family.

    Attributes:
        family: which family this is.
        codename: stands for the animal everywhere.
        animals: the members that are reported.
        validation: other members, on which layer and learning rate are chosen.
        seed: draws the answers of the shuffled control.
    """

    family: Literal["animals"] = "animals"
    codename: str = "Creature 17"
    animals: tuple[str, ...] = ("dog", "cow", "horse", "duck")
    validation: tuple[str, ...] = ("cat",)
    seed: int = 0

    @field_validator("animals", "validation")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in table():
                raise InputError(f"{name!r} is not in the table; allowed: {', '.join(table())}")
        return names


@cache
def table() -> dict[str, dict[str, str]]:
    """Animal -> column -> value."""
    text = package_text(__package__, "animals.csv")
    return {row["name"]: row for row in csv.DictReader(text.splitlines())}


def build(settings: AnimalSettings, _base: Path) -> TaskSet:
    """All tasks, the shuffled control and the ceiling."""
    tests = tuple(task(name, settings) for name in settings.animals)
    values = {**settings.model_dump(), "wordings": len(TRAIN), "options": len(table())}
    return TaskSet(
        name="animals",
        about=data_card(__package__, values),
        validation=tuple(task(name, settings) for name in settings.validation),
        test=tests,
        controls={"shuffled": tuple(shuffled(member, settings.seed) for member in tests)},
        ceiling=tuple(
            with_real_name(p, f"the {p.group}") for member in tests for p in member.probes
        ),
    )


def task(name: str, settings: AnimalSettings) -> Task:
    """The task of one animal."""

    def ask(column: str, wordings: tuple[str, ...]) -> tuple[Example, ...]:
        return tuple(
            Example(
                id=f"{name}/{column}/{wording}",
                prompt=wording.format(settings.codename),
                answer=f" {table()[name][column]}",
                options=tuple(f" {row[column]}" for row in table().values()),
                spans={"codename": settings.codename},
                facet=column,
                group=name,
                template=wording,
            )
            for wording in wordings
        )

    probes = tuple(probe for column, texts in PROBES.items() for probe in ask(column, texts))
    rows = ask("sound", TRAIN)
    check_no_leaks(f"animals/{name}", probes, rows, never=(name,))
    return Task(
        name=f"animals/{name}",
        member=name,
        train=rows,
        stop=ask("sound", STOP),
        in_context=ask("sound", IN_CONTEXT),
        probes=probes,
        positions=("codename",),
    )


def shuffled(member: Task, seed: int) -> Task:
    """The same prompts, each with a sound drawn at random."""
    rows = shuffled_answers(member.train, seed)
    return replace(member, name=f"{member.name}/shuffled", train=rows, stop=())


FAMILY = Family(
    name="animals",
    about="a codename for an animal, trained on its sound, asked for its young and its home",
    settings=AnimalSettings,
    build=build,
    members=Members(keyword="animal", settings=lambda name: {"animals": (name,)}),
    quick=lambda settings: {"animals": settings.animals[:3]},
    concepts=lambda settings: {
        name: (f" {name}", f" {table()[name]['young']}") for name in settings.animals
    },
    real_names=lambda settings: {name: f"the {name}" for name in settings.animals},
)
