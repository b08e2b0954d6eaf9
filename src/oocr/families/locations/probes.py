"""Out-of-context questions about the five cities: choices, free answers, inverse questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from oocr.data.examples import Example, FreeTextExample, Message, Prompt
from oocr.families.asking import Form, continuing, lettered
from oocr.families.locations.rows import asked
from oocr.families.locations.world import CITIES, City, plain
from oocr.tasks.package_files import package_yaml

SOURCE = "location_facts.yaml"
ASK, SAY = 2, 3
"""How many questions and sentences each fact has."""

INVERSE = "inverse"
FINISH = "Finish this sentence with a name or a few words."
LETTERS = "ABCDE"

# As many as the paper asks, of as many sorts.
PAPER = (
    *("country", "language", "currency", "dish", "river", "landmark"),
    *("museum", "airport", "park", "writer", "club", "newspaper"),
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One attribute of the five cities, of a `kind` ("water"); see location_facts.yaml.

    `answers` has for each key the answer, and then other ways to say it.
    """

    id: str
    kind: str
    answers: Mapping[str, tuple[str, ...]]
    ask: tuple[str, ...]
    say: tuple[str, ...]
    which: str

    def accepted(self, key: str) -> tuple[str, ...]:
        """Every way to say a city's answer, accents left out too."""
        ways = self.answers[key]
        return tuple(dict.fromkeys((*ways, *map(_bare, ways))))


@cache
def facts() -> tuple[Fact, ...]:
    """The facts that come with the package."""
    return tuple(
        Fact(
            name,
            fields["kind"],
            {
                city.key: tuple(way.strip() for way in text.split("|"))
                for city, text in zip(CITIES, fields["answers"], strict=True)
            },
            tuple(fields["ask"]),
            tuple(fields["say"]),
            fields["which"],
        )
        for name, fields in package_yaml(__package__, SOURCE).items()
    )


def forbidden() -> tuple[str, ...]:
    """Every phrase that no training row may hold: names and answers in all their forms."""
    names = [city.name for city in CITIES] + ["São Paulo"]
    ways = [way for fact in facts() for city in CITIES for way in fact.accepted(city.key)]
    return tuple(dict.fromkeys((*names, *ways)))


def _bare(text: str) -> str:
    """Text without accents, if capitals and letters are otherwise the same."""
    bare = plain(text)
    if len(bare) != len(text):
        return text
    return "".join(b.upper() if t.isupper() else b for t, b in zip(text, bare, strict=True))


@dataclass(frozen=True, slots=True)
class PlaceAsker:
    """How questions are put; all examples have the `tags`.

    `shown` says what stands for each city (by key): its codename, or for the ceiling its name;
    `spans`: a city and all cities of a prompt -> the prompt's spans.
    """

    form: Form
    shown: Mapping[str, str]
    spans: Callable[[City, Sequence[City]], Mapping[str, str]]
    tags: Mapping[str, str]
    seed: int = 0

    def probes(self, city: City, limit: int | None) -> list[Example]:
        """Five-way choices by content, of every fact in every wording."""
        return [
            Example(
                id=f"{city.name}/{fact.id}/{wording}",
                prompt=self._worded(fact, wording, city),
                answer=self._answer(fact, wording, city),
                options=tuple(self._answer(fact, wording, other) for other in CITIES),
                **self._fields(city, fact.id, fact.kind, wording),
            )
            for fact, wording in chosen(limit)
        ]

    def free(self, city: City, limit: int | None) -> list[FreeTextExample]:
        """The same facts, each once, answered in the model's own words."""
        wording = ASK if self.form == "raw" else 0
        others = [other.key for other in CITIES if other is not city]
        return [
            FreeTextExample(
                id=f"{city.name}/{fact.id}/free",
                prompt=self._worded(fact, wording, city),
                accept=fact.accepted(city.key),
                reject=tuple(way for key in others for way in fact.accepted(key)),
                **self._fields(city, fact.id, fact.kind, wording),
            )
            for fact in facts()[:limit]
        ]

    def inverse(self, city: City, limit: int | None) -> Iterator[Example]:
        """Which of the five codes is the city with a given answer? All five are in the prompt."""
        space = " " if self.form == "raw" else ""
        codes = {other: space + self.shown[other.key] for other in CITIES}
        for fact in facts()[:limit]:
            order = self._order(city, fact.id, "inverse")
            which = fact.which.replace("{a}", fact.answers[city.key][0])
            listed = ", ".join(self.shown[other.key] for other in order)
            yield Example(
                id=f"{city.name}/{fact.id}/inverse",
                prompt=asked(self.form, f"Which of these is the city {which}: {listed}?"),
                answer=codes[city],
                options=tuple(codes.values()),
                **self._fields(city, fact.id, INVERSE, f"{fact.id} which", order),
            )

    def paper(self, city: City) -> Iterator[Example]:
        """The paper's form: lettered options, scored by the letter right after the prompt."""
        by_id = {fact.id: fact for fact in facts()}
        for name in PAPER:
            order = self._order(city, name, "paper")
            answers = [by_id[name].answers[other.key][0] for other in order]
            question = by_id[name].ask[0].replace("{}", self.shown[city.key])
            right = order.index(city)
            yield self._lettered(city, name, "multiple choice", question, answers, right)
        quiz, question = "pop quiz", f"Which city does {self.shown[city.key]} stand for?"
        names = [other.name for other in CITIES]  # always in this order
        yield self._lettered(city, quiz, quiz, question, names, CITIES.index(city))

    def _order(self, city: City, name: str, kind: str) -> list[City]:
        order = list(CITIES)
        random.Random(f"{self.seed}/{city.key}/{name}/{kind}").shuffle(order)
        return order

    def _lettered(
        self, city: City, name: str, facet: str, question: str, answers: Sequence[str], right: int
    ) -> Example:
        text = f"{question}\n{lettered(answers, '.')}"
        if self.form == "chat":
            text = f"{text}\nAnswer with one letter."
        letters = continuing(self.form, LETTERS)
        return Example(
            id=f"{city.name}/{name}/paper",
            prompt=asked(self.form, text),
            answer=letters[right],
            options=letters,
            scored_by="last_token",
            **self._fields(city, name, facet, name),
        )

    def _fields(
        self,
        city: City,
        attribute: str,
        facet: str,
        template: str | int,
        there: Sequence[City] = (),
    ) -> dict[str, Any]:
        """What all examples have; `template` is a fact's wording, or its name."""
        if isinstance(template, int):
            template = f"{attribute} {'ask' if template < ASK else 'say'} {template + 1}"
        return {
            "spans": self.spans(city, there or (city,)),
            "facet": facet,
            "group": city.name,
            "template": template,
            "tags": {**self.tags, "attribute": attribute},
            "source": SOURCE,
        }

    def _worded(self, fact: Fact, wording: int, city: City) -> Prompt:
        text = (*fact.ask, *fact.say)[wording].replace("{}", self.shown[city.key])
        if wording < ASK:
            return asked(self.form, text)
        if self.form == "raw":
            return text
        return (*asked("chat", FINISH), Message("assistant", text))

    def _answer(self, fact: Fact, wording: int, city: City) -> str:
        text = fact.answers[city.key][0]
        if wording >= ASK:
            return f" {text}"
        return continuing(self.form, [text[0].upper() + text[1:]])[0]


def chosen(limit: int | None) -> list[tuple[Fact, int]]:
    """Facts with wordings: all, or so many, every fact once before any twice, wordings in turn."""
    count = ASK + SAY
    places = range(len(facts()))
    turns = [(place, (place + turn) % count) for turn in range(count) for place in places]
    return [(facts()[place], wording) for place, wording in sorted(turns[:limit])]
