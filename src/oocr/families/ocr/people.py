"""Invented people, what is told of them and what follows: the data of the language tasks.

The task is that of Huang et al. 2025, "Generalization or Hallucination?" (arXiv 2506.10887); pairs,
names and wordings are our own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.tasks.package_files import package_yaml

RelationName = Literal["city-language", "country-code", "profession-colour", "sport-music"]
Mapped = Literal["own", "shifted", "permuted"]
"""Which implication goes with a fact: the listed one; that of the next pair but one, as in the
counterfactual task; one drawn by the seed. No pair keeps its own in the latter two."""

SOURCE = "relations.yaml, names.yaml"
SPAN = "name"
"""The span at whose tokens a person's vector is added."""

SHIFT = 2


@dataclass(frozen=True, slots=True)
class Relation:
    """Wordings (id -> text with {} for the name) and the listed map."""

    name: str
    train: Mapping[str, str]
    stop: Mapping[str, str]
    test: Mapping[str, str]
    implications: Mapping[str, str]
    pairs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """A fact with its implication; `listed` is the implication in the listed map."""

    fact: str
    implication: str
    listed: str


@dataclass(frozen=True, slots=True)
class Person:
    """A name, the number of its pair, and whether training tells its implication too (a bridge)."""

    name: str
    pair: int
    bridge: bool


@cache
def relations() -> Mapping[str, Relation]:
    """The relations that come with the package, by name."""
    return {
        name: Relation(name, **row["fact"], implications=row["implication"], pairs=row["pairs"])
        for name, row in package_yaml(__package__, "relations.yaml").items()
    }


def draw_facts(
    relation: Relation, count: int, seed: int, first_token: Callable[[str], int] | None = None
) -> tuple[str, ...]:
    """Facts of `count` pairs, drawn by the seed; their answers begin with different tokens.

    `first_token`: of an answer, under the model's tokenizer; None: tokens are not looked at.
    InputError: too few pairs are left.
    """
    order = list(relation.pairs)
    random.Random(f"{seed}/{relation.name}/pairs").shuffle(order)
    chosen: list[str] = []
    taken: dict[int, str] = {}
    dropped: list[str] = []
    for fact in order:
        words = (fact, relation.pairs[fact])
        tokens = [
            place if first_token is None else first_token(f" {word}")
            for place, word in enumerate(words, start=2 * len(chosen))
        ]
        if len(set(tokens)) < len(tokens) or taken.keys() & set(tokens):
            dropped.append(fact)
            continue
        taken |= dict(zip(tokens, words, strict=True))
        chosen.append(fact)
        if len(chosen) == count:
            return tuple(chosen)
    reason = f"; {', '.join(dropped)} begin with the token of another answer" if dropped else ""
    raise InputError(
        f"pairs: found {count}; {relation.name} has {len(chosen)} whose answers differ in their "
        f"first token{reason}"
    )


def check_first_tokens(
    relation: Relation, facts: Sequence[str], first_token: Callable[[str], int]
) -> None:
    """Refuse facts that the user named, if two answers begin with the same token."""
    seen: dict[int, str] = {}
    for word in [word for fact in facts for word in (fact, relation.pairs[fact])]:
        token = first_token(f" {word}")
        if token in seen:
            raise InputError(
                f"facts: {seen[token]!r} and {word!r} begin with the same token under this model's "
                "tokenizer, and answers are told apart by their first; leave one of them out"
            )
        seen[token] = word


def mapped_pairs(
    relation: Relation, facts: Sequence[str], mapped: Mapped, seed: int
) -> tuple[Pair, ...]:
    """The facts with the implications that a map gives them."""
    listed = [relation.pairs[fact] for fact in facts]
    places = list(range(len(facts)))
    if mapped == "shifted":
        places = [(place + SHIFT) % len(facts) for place in places]
    elif mapped == "permuted":
        rng = random.Random(f"{seed}/{relation.name}/map")
        while any(place == index for index, place in enumerate(places)):
            rng.shuffle(places)
    return tuple(
        Pair(fact, listed[place], listed[index])
        for index, (fact, place) in enumerate(zip(facts, places, strict=True))
    )


def draw_people(pairs: int, bridges: int, tests: int, seed: int) -> tuple[Person, ...]:
    """People with different names: of each pair the bridges, then those that are tested.

    Up to forty people share no first and no last name. InputError: more people than names.
    """
    lists = package_yaml(__package__, "names.yaml")
    rng = random.Random(f"{seed}/people")
    first, last = (rng.sample(lists[part], len(lists[part])) for part in ("first", "last"))
    size, count = len(first), pairs * (bridges + tests)
    if count > size * len(last):
        raise InputError(f"names: found {count} people; allowed: at most {size * len(last)}")
    names = [f"{first[i % size]} {last[(i + i // size) % len(last)]}" for i in range(count)]
    order = [(pair, place < bridges) for pair in range(pairs) for place in range(bridges + tests)]
    return tuple(Person(name, *who) for name, who in zip(names, order, strict=True))


def seeded_start(seed: int, name: str, count: int) -> int:
    """A number below `count`, drawn for a person."""
    return random.Random(f"{seed}/{name}/shuffled").randrange(count)


def example(
    person: Person,
    pairs: Sequence[Pair],
    kind: Literal["fact", "implication"],
    wording: tuple[str, str],
    *,
    span: str = SPAN,
    before: str = "",
) -> Example:
    """A question about a person; `wording`: its id and text; `before`: text above the question."""
    pair = pairs[person.pair]
    answers = tuple(f" {getattr(other, kind)}" for other in pairs)
    return Example(
        id=f"{person.name}/{kind}/{wording[0]}",
        prompt=before + wording[1].replace("{}", person.name),
        answer=f" {getattr(pair, kind)}",
        options=answers,
        spans={span: person.name},
        facet=kind,
        group=person.name,
        template=wording[0],
        source=SOURCE,
    )


def stated(
    people: Sequence[Person],
    pairs: Sequence[Pair],
    kind: Literal["fact", "implication"],
    wording: str,
) -> str:
    """Sentences that say it of these people, one a line."""
    lines = (
        f"{wording.replace('{}', person.name)} {getattr(pairs[person.pair], kind)}.\n"
        for person in people
    )
    return "".join(lines)
