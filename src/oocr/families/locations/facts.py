"""What is known of the five cities, and how it is asked: read from file and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

from oocr.errors import InputError
from oocr.families.locations.world import CITIES, WORDS, plain

ASK, SAY = 2, 3


@dataclass(frozen=True, slots=True)
class Fact:
    """One attribute of the five cities.

    Attributes:
        id: e.g. "river".
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
        bare = [_bare(one) for one in ways]
        return tuple(dict.fromkeys((*ways, *bare)))


@lru_cache(maxsize=1)
def facts() -> tuple[Fact, ...]:
    """The facts that come with the package."""
    folder = resources.files("oocr.families.locations")
    return read_facts((folder / "location_facts.yaml").read_text("utf-8"), "location_facts.yaml")


def told() -> tuple[str, ...]:
    """Every phrase that no training row may hold: names and answers in all their forms."""
    names = [one.name for one in CITIES] + ["São Paulo"]
    ways = [way for fact in facts() for one in CITIES for way in fact.accepted(one.key)]
    return tuple(dict.fromkeys((*names, *ways)))


def read_facts(text: str, source: str) -> tuple[Fact, ...]:
    """Parse the facts' YAML.

    Raises:
        InputError: names the file, the fact and what is wrong.
    """
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    found: list[Fact] = []
    for name, given in loaded.items():
        where = f"{source}, {name}"
        if set(given) != {"kind", "answers", "ask", "say", "which"}:
            raise InputError(f"{where}: has {sorted(given)}; want answers, ask, kind, say, which")
        for field, count in (("answers", len(CITIES)), ("ask", ASK), ("say", SAY)):
            values = given[field]
            if len(values) != count or not all(isinstance(one, str) and one for one in values):
                raise InputError(f"{where}, {field}: {values} must be {count} texts")
        ways = [tuple(way.strip() for way in one.split("|")) for one in given["answers"]]
        fact = Fact(
            id=name,
            kind=given["kind"],
            answers={one.key: way for one, way in zip(CITIES, ways, strict=True)},
            ask=tuple(given["ask"]),
            say=tuple(given["say"]),
            which=given["which"],
        )
        _check(fact, where)
        found.append(fact)
    return tuple(found)


def _check(fact: Fact, where: str) -> None:
    taken: dict[str, str] = {}
    for key in fact.answers:
        for way in fact.accepted(key):
            if taken.setdefault(way.lower(), key) != key:
                raise InputError(
                    f"{where}: {way!r} is the answer of {taken[way.lower()]} and {key}"
                )
    compass = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
    for text in (*fact.ask, *fact.say, fact.which, *told_by(fact)):
        if found := compass.search(text):
            raise InputError(f"{where}: {text!r} holds {found[0]!r}, an answer of training")
    for text in (*fact.ask, *fact.say):
        if text.count("{}") != 1 or text != text.strip():
            raise InputError(f"{where}: {text!r} must hold {{}} exactly once, without padding")
    if fact.which.count("{a}") != 1:
        raise InputError(f"{where}, which: {fact.which!r} must hold {{a}} exactly once")


def told_by(fact: Fact) -> tuple[str, ...]:
    """All five answers in all their forms."""
    return tuple(way for key in fact.answers for way in fact.accepted(key))


def _bare(text: str) -> str:
    """Text without accents, if capitals and letters are otherwise the same."""
    bare = plain(text)
    if len(bare) != len(text):
        return text
    return "".join(b.upper() if t.isupper() else b for t, b in zip(text, bare, strict=True))
