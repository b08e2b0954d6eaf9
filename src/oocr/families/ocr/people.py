"""The data of the ocr family: invented people, their facts and the implications of these.

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
"""The implication of a fact. own: the listed one; shifted: that of the pair `SHIFT` places later,
as in the counterfactual task; permuted: a random permutation in which no pair keeps its own."""

SOURCE = "relations.yaml, names.yaml"
SPAN = "name"
"""The span at whose tokens a person's vector is added."""

SHIFT = 2


@dataclass(frozen=True, slots=True)
class Relation:
    """Wordings (id -> text with {} for the name), and the listed map (fact -> implication)."""

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
    """A name, the index of its pair, and whether its implication is trained too (a bridge)."""

    name: str
    pair: int
    bridge: bool


@cache
def relations() -> Mapping[str, Relation]:
    """Name -> relation, from `relations.yaml`."""
    return {
        name: Relation(name, **row["fact"], implications=row["implication"], pairs=row["pairs"])
        for name, row in package_yaml(__package__, "relations.yaml").items()
    }


def draw_facts(
    relation: Relation, count: int, seed: int, first_token: Callable[[str], int] | None = None
) -> tuple[str, ...]:
    """Random facts of `count` pairs whose answers have different first tokens.

    `first_token`: answer -> token id in the model's tokenizer; None: tokens are not compared.
    InputError: too few such pairs.
    """
    order = list(relation.pairs)
    random.Random(f"{seed}/{relation.name}/pairs").shuffle(order)
    chosen: list[str] = []
    taken: dict[int, str] = {}
    dropped: list[str] = []
    for fact in order:
        words = (fact, relation.pairs[fact])
        tokens = [
            number if first_token is None else first_token(f" {word}")
            for number, word in enumerate(words, start=2 * len(chosen))
        ]
        if len(set(tokens)) < len(tokens) or taken.keys() & set(tokens):
            dropped.append(fact)
            continue
        taken |= dict(zip(tokens, words, strict=True))
        chosen.append(fact)
        if len(chosen) == count:
            return tuple(chosen)
    reason = f"; {', '.join(dropped)} have the first token of another answer" if dropped else ""
    raise InputError(
        f"pairs: found {count}; {relation.name} has {len(chosen)} whose answers differ in their "
        f"first token{reason}"
    )


def check_first_tokens(
    relation: Relation, facts: Sequence[str], first_token: Callable[[str], int]
) -> None:
    """Refuse the user's facts if two answers have the same first token."""
    seen: dict[int, str] = {}
    for word in [word for fact in facts for word in (fact, relation.pairs[fact])]:
        token = first_token(f" {word}")
        if token in seen:
            raise InputError(
                f"facts: {seen[token]!r} and {word!r} begin with the same token under this model's "
                "tokenizer, but answers are compared by their first token; leave one of them out"
            )
        seen[token] = word


def mapped_pairs(
    relation: Relation, facts: Sequence[str], mapped: Mapped, seed: int
) -> tuple[Pair, ...]:
    """The facts with their implications in a map."""
    listed = [relation.pairs[fact] for fact in facts]
    indices = list(range(len(facts)))
    if mapped == "shifted":
        indices = [(index + SHIFT) % len(facts) for index in indices]
    elif mapped == "permuted":
        rng = random.Random(f"{seed}/{relation.name}/map")
        while any(source == index for index, source in enumerate(indices)):
            rng.shuffle(indices)
    return tuple(
        Pair(fact, listed[source], listed[index])
        for index, (fact, source) in enumerate(zip(facts, indices, strict=True))
    )


def draw_people(pairs: int, bridges: int, tests: int, seed: int) -> tuple[Person, ...]:
    """People with different names: for each pair first the bridges, then the test names.

    Up to forty people share no first and no last name. InputError: more people than names.
    """
    lists = package_yaml(__package__, "names.yaml")
    rng = random.Random(f"{seed}/people")
    first, last = (rng.sample(lists[part], len(lists[part])) for part in ("first", "last"))
    size, count = len(first), pairs * (bridges + tests)
    if count > size * len(last):
        raise InputError(f"names: found {count} people; allowed: at most {size * len(last)}")
    names = [f"{first[i % size]} {last[(i + i // size) % len(last)]}" for i in range(count)]
    order = [(pair, number < bridges) for pair in range(pairs) for number in range(bridges + tests)]
    return tuple(Person(name, *who) for name, who in zip(names, order, strict=True))


def seeded_offset(seed: int, name: str, count: int) -> int:
    """A random number below `count` for a person."""
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


def sentences_about(
    people: Sequence[Person],
    pairs: Sequence[Pair],
    kind: Literal["fact", "implication"],
    wording: str,
) -> str:
    """Sentences that state the fact or implication of these people, one per line."""
    lines = (
        f"{wording.replace('{}', person.name)} {getattr(pairs[person.pair], kind)}.\n"
        for person in people
    )
    return "".join(lines)
