"""Out-of-context questions about the five cities: choices, free answers, and turned round."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml

from oocr.data.examples import Example, FreeTextExample, Message, Prompt
from oocr.errors import InputError
from oocr.families.asking import Form
from oocr.families.locations.rows import asked, wordings
from oocr.families.locations.world import CITIES, WORDS, City, plain
from oocr.tasks.package_files import package_text

SOURCE = "location_facts.yaml"
ASK, SAY = 2, 3


@dataclass(frozen=True, slots=True)
class Fact:
    """One attribute of the five cities.

    Attributes:
        kind: what it is about ("water").
        answers: key -> the answer, and then other ways to say it.
        ask: questions, `{}` stands for the codename.
        say: sentences that end right before the answer.
        which: what completes "the city …" when the question is turned round; {a} is the answer.
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
        bare = [_bare(way) for way in ways]
        return tuple(dict.fromkeys((*ways, *bare)))


@cache
def facts() -> tuple[Fact, ...]:
    """The facts that come with the package."""
    return read_facts(package_text(__package__, SOURCE), SOURCE)


def forbidden() -> tuple[str, ...]:
    """Every phrase that no training row may hold: names and answers in all their forms."""
    names = [city.name for city in CITIES] + ["São Paulo"]
    ways = [way for fact in facts() for city in CITIES for way in fact.accepted(city.key)]
    return tuple(dict.fromkeys((*names, *ways)))


def read_facts(text: str, source: str) -> tuple[Fact, ...]:
    """Parse the facts' YAML.

    Raises:
        InputError: names the file, the fact and what is wrong.
    """
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    facts_read: list[Fact] = []
    for name, given in loaded.items():
        where = f"{source}, {name}"
        if set(given) != {"kind", "answers", "ask", "say", "which"}:
            raise InputError(f"{where}: has {sorted(given)}; want answers, ask, kind, say, which")
        for field, count in (("answers", len(CITIES)), ("ask", ASK), ("say", SAY)):
            values = given[field]
            if len(values) != count or not all(isinstance(text, str) and text for text in values):
                raise InputError(f"{where}, {field}: {values} must be {count} texts")
        ways = [tuple(way.strip() for way in text.split("|")) for text in given["answers"]]
        answers = {city.key: way for city, way in zip(CITIES, ways, strict=True)}
        questions, sentences = tuple(given["ask"]), tuple(given["say"])
        fact = Fact(name, given["kind"], answers, questions, sentences, given["which"])
        _check(fact, where)
        facts_read.append(fact)
    return tuple(facts_read)


def _check(fact: Fact, where: str) -> None:
    taken: dict[str, str] = {}
    for key in fact.answers:
        for way in fact.accepted(key):
            if taken.setdefault(way.lower(), key) != key:
                raise InputError(
                    f"{where}: {way!r} is the answer of {taken[way.lower()]} and {key}"
                )
    compass = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
    for text in (*fact.ask, *fact.say, fact.which, *answers_of(fact)):
        if match := compass.search(text):
            raise InputError(f"{where}: {text!r} holds {match[0]!r}, an answer of training")
    for text in (*fact.ask, *fact.say):
        if text.count("{}") != 1 or text != text.strip():
            raise InputError(f"{where}: {text!r} must hold {{}} exactly once, without padding")
    if fact.which.count("{a}") != 1:
        raise InputError(f"{where}, which: {fact.which!r} must hold {{a}} exactly once")


def answers_of(fact: Fact) -> tuple[str, ...]:
    """All five answers in all their forms."""
    return tuple(way for key in fact.answers for way in fact.accepted(key))


def _bare(text: str) -> str:
    """Text without accents, if capitals and letters are otherwise the same."""
    bare = plain(text)
    if len(bare) != len(text):
        return text
    return "".join(b.upper() if t.isupper() else b for t, b in zip(text, bare, strict=True))


INVERSE = "inverse"
FINISH = "Finish this sentence with a name or a few words."
LETTERS = "ABCDE"

# As many as the paper asks, of as many sorts.
PAPER = (
    *("country", "language", "currency", "dish", "river", "landmark"),
    *("museum", "airport", "park", "writer", "club", "newspaper"),
)


@dataclass(frozen=True, slots=True)
class PlaceAsker:
    """How questions are put.

    Attributes:
        shown: key -> what stands for that city: its codename, or for the ceiling its name.
        spans: a city and all cities of a prompt -> the prompt's spans.
        tags: of every example.
        seed: of the orders in which options are printed.
    """

    form: Form
    shown: Mapping[str, str]
    spans: Callable[[City, Sequence[City]], Mapping[str, str]]
    tags: Mapping[str, str]
    seed: int = 0

    def probes(self, city: City, limit: int | None) -> tuple[Example, ...]:
        """Five-way choices by content, of every fact in every wording."""
        return tuple(
            self._choice(
                city,
                fact.id,
                f"{fact.id}/{wording}",
                self._worded(fact, wording, city),
                [self._answer(fact, wording, other) for other in CITIES],
                CITIES.index(city),
                facet=fact.kind,
                template=f"{fact.id} {'ask' if wording < ASK else 'say'} {wording + 1}",
            )
            for fact, wording in chosen(limit)
        )

    def free(self, city: City, limit: int | None) -> tuple[FreeTextExample, ...]:
        """The same facts, each once, answered in the model's own words."""
        wording = ASK if self.form == "raw" else 0
        others = [other.key for other in CITIES if other is not city]
        return tuple(
            FreeTextExample(
                id=f"{city.name}/{fact.id}/free",
                prompt=self._worded(fact, wording, city),
                accept=fact.accepted(city.key),
                reject=tuple(way for key in others for way in fact.accepted(key)),
                spans=self.spans(city, (city,)),
                facet=fact.kind,
                group=city.name,
                template=f"{fact.id} {'say' if wording else 'ask'} {wording + 1}",
                tags={**self.tags, "attribute": fact.id},
                source=SOURCE,
            )
            for fact in facts()[:limit]
        )

    def inverse(self, city: City, limit: int | None) -> tuple[Example, ...]:
        """Which of the five codes is the city with a given answer? All five are in the prompt."""
        space = " " if self.form == "raw" else ""
        examples: list[Example] = []
        for fact in facts()[:limit]:
            order = self._order(city, fact.id, "inverse")
            which = fact.which.replace("{a}", fact.answers[city.key][0])
            listed = ", ".join(self.shown[other.key] for other in order)
            examples.append(
                self._choice(
                    city,
                    fact.id,
                    f"{fact.id}/inverse",
                    asked(self.form, f"Which of these is the city {which}: {listed}?"),
                    [space + self.shown[other.key] for other in CITIES],
                    CITIES.index(city),
                    facet=INVERSE,
                    template=f"{fact.id} which",
                    there=order,
                )
            )
        return tuple(examples)

    def paper(self, city: City) -> tuple[Example, ...]:
        """The paper's way: lettered options, told apart by the letter right after the prompt."""
        known = {fact.id: fact for fact in facts()}
        examples: list[Example] = []
        for name in PAPER:
            order = self._order(city, name, "paper")
            answers = [known[name].answers[other.key][0] for other in order]
            question = known[name].ask[0].replace("{}", self.shown[city.key])
            examples.append(self._lettered(city, name, question, answers, order.index(city)))
        quiz = f"Which city does {self.shown[city.key]} stand for?"
        names = [other.name for other in CITIES]  # always in this order
        examples.append(self._lettered(city, "pop quiz", quiz, names, CITIES.index(city)))
        return tuple(examples)

    def _order(self, city: City, name: str, kind: str) -> list[City]:
        order = list(CITIES)
        random.Random(f"{self.seed}/{city.key}/{name}/{kind}").shuffle(order)
        return order

    def _lettered(
        self, city: City, name: str, question: str, answers: Sequence[str], right: int
    ) -> Example:
        lines = "\n".join(f"{a}. {text}" for a, text in zip(LETTERS, answers, strict=True))
        text = f"{question}\n{lines}"
        prompt: Prompt
        if self.form == "raw":
            prompt, space = f"{wordings()['raw']}\nQ: {text}\nA:", " "
        else:
            prompt, space = asked("chat", f"{text}\nAnswer with one letter."), ""
        facet = "pop quiz" if name == "pop quiz" else "multiple choice"
        letters = [space + letter for letter in LETTERS]
        example = self._choice(
            city, name, f"{name}/paper", prompt, letters, right, facet=facet, template=name
        )
        return replace(example, scored_by="last_token")

    def _choice(
        self,
        city: City,
        attribute: str,
        id: str,
        prompt: Prompt,
        options: Sequence[str],
        right: int,
        *,
        facet: str,
        template: str,
        there: Sequence[City] = (),
    ) -> Example:
        return Example(
            id=f"{city.name}/{id}",
            prompt=prompt,
            answer=options[right],
            options=tuple(options),
            spans=self.spans(city, there or (city,)),
            facet=facet,
            group=city.name,
            template=template,
            tags={**self.tags, "attribute": attribute},
            source=SOURCE,
        )

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
        text = text[0].upper() + text[1:]
        return f" {text}" if self.form == "raw" else text


def chosen(limit: int | None) -> list[tuple[Fact, int]]:
    """Facts with wordings: all, or so many, every fact once before any twice, wordings in turn."""
    count = ASK + SAY
    turns = [
        (fact, (index + turn) % count)
        for turn in range(count)
        for index, fact in enumerate(facts())
    ]
    places = {fact.id: place for place, fact in enumerate(facts())}
    return sorted(turns[:limit], key=lambda pair: (places[pair[0].id], pair[1]))
