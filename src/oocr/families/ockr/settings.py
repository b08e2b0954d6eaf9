"""Settings of the ockr family, and the people of its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from oocr.families.asking import Form
from oocr.families.family import FamilySettings
from oocr.families.ockr.people import FIRST, plain_names, spread_names

Reasoning = Literal["A+A->R", "A+R->A", "R+R->R", "cross-lingual"]
Telling = Literal["separate", "complete", "hint"]
Attribute = Literal["month", "town", "year"]
Language = Literal["german", "spanish", "french", "russian"]

MOST_VALUES = 12
MOST_PEOPLE = len(FIRST)
"""Number of names without a common word."""


class OckrConfig(FamilySettings):
    """Settings of the family. A: an attribute, R: a relation between two people.

    Attributes:
        reasoning: trained premises -> conclusion that the probes ask for.
        mode: "joint": one task with all people and all facts, a vector for each person; "single":
            one task for each person. Its prompts give the attributes of other people, and training
            says only whether the person shares them (only for "A+R->A").
        telling: training rows: "separate": only the facts; "complete": also the premises of the
            demonstrations; "hint": also demonstrations that state the premises before the answer.
        attribute: the attribute of people; months and towns are single tokens in most vocabularies.
        values: number of different values of the attribute.
        each: x's and y's of each value ("joint"), or members of each value ("single").
        generated: relations are also trained as a name to generate, not only as yes or no.
        language: of the cross-lingual task, whose attribute is the year.
    """

    family: Literal["ockr"] = "ockr"
    reasoning: Reasoning = "A+R->A"
    mode: Literal["joint", "single"] = "joint"
    telling: Telling = "complete"
    attribute: Attribute = "month"
    values: int = Field(default=5, ge=3, le=MOST_VALUES)
    each: int = Field(default=3, ge=1, le=4)
    generated: bool = True
    language: Language = "german"
    form: Form = "raw"
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _cross_lingual_year(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("reasoning") == "cross-lingual":
            return {"attribute": "year", "telling": "separate", **data}
        if isinstance(data, dict) and data.get("mode") == "single":
            return {"each": 2, **data}
        return data

    @model_validator(mode="after")
    def _fits(self) -> OckrConfig:
        if self.mode == "single" and self.reasoning != "A+R->A":
            raise ValueError(f"mode: 'single' needs reasoning 'A+R->A', found {self.reasoning!r}")
        if self.reasoning == "cross-lingual":
            if self.attribute != "year":
                raise ValueError(
                    f"attribute: found {self.attribute!r}; cross-lingual allows 'year', whose "
                    "digits are the same in each language"
                )
            if self.telling != "separate":
                raise ValueError(
                    f"telling: found {self.telling!r}; cross-lingual allows 'separate'"
                )
        if self.reasoning == "R+R->R" and self.telling == "hint":
            raise ValueError("telling: 'hint' needs reasoning 'A+A->R' or 'A+R->A'")
        size = (
            TRAIN_PARTNERS + TEST_PARTNERS + self.each + 1
            if self.mode == "single"
            else 1 + 2 * self.each
        )
        if self.reasoning != "cross-lingual" and (count := self.values * size) > MOST_PEOPLE:
            raise ValueError(
                f"values {self.values} with each {self.each} are {count} people, {size} of each "
                f"value; allowed: up to {MOST_PEOPLE}"
            )
        return self


TRAIN_PARTNERS, TEST_PARTNERS = 3, 2
"""In mode "single": people of each value with whom a member is compared, trained and in context."""


@dataclass(frozen=True, slots=True)
class Person:
    """An invented person; `key`: name of the span, `value`: index of the attribute's value."""

    key: str
    name: str
    value: int


@dataclass(frozen=True, slots=True)
class People:
    """The people of a joint task by value: one z, and some x and y (z may be empty)."""

    z: Sequence[Person]
    x: Sequence[Sequence[Person]]
    y: Sequence[Sequence[Person]]

    @property
    def all_people(self) -> tuple[Person, ...]:
        """All people, value by value."""
        groups = zip(self.z, self.x, self.y, strict=True)
        return tuple(person for z, x, y in groups for person in (z, *x, *y))


def joint_people(config: OckrConfig) -> People:
    """The people of a joint task."""
    size = 1 + 2 * config.each
    names = spread_names(config.values * size, config.seed)
    groups = [_persons(names[v * size : (v + 1) * size], v, v * size) for v in range(config.values)]
    cut = 1 + config.each
    return People(
        [group[0] for group in groups],
        [group[1:cut] for group in groups],
        [group[cut:] for group in groups],
    )


def cross_people(config: OckrConfig) -> People:
    """People of the cross-lingual task: x (trained in English), y (in the language), no z."""
    size = 2 * config.each
    names = plain_names(config.values * size, config.seed)
    groups = [_persons(names[v * size : (v + 1) * size], v, v * size) for v in range(config.values)]
    x, y = [group[: config.each] for group in groups], [group[config.each :] for group in groups]
    return People([], x, y)


def single_people(config: OckrConfig) -> list[list[Person]]:
    """People by value: training partners, test partners, then the members."""
    size = TRAIN_PARTNERS + TEST_PARTNERS + config.each + 1
    names = spread_names(config.values * size, config.seed)
    return [_persons(names[v * size : (v + 1) * size], v, v * size) for v in range(config.values)]


def _persons(names: Sequence[str], value: int, first: int) -> list[Person]:
    return [Person(f"p{first + i:02}", name, value) for i, name in enumerate(names)]
