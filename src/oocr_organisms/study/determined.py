"""How much of a city the training facts determine, and what comes along out of context.

A few distances and directions leave some cities possible; the rest is known: the possible cities
are counted, and an ideal reader, who knows the map and takes each of them for equally likely,
answers every probe as well as can be. The organism is trained on the same facts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from oocr.data.examples import Example
from oocr.engine.forward import start_block
from oocr.evals.probes import Probes
from oocr.evals.table import rows as score_rows
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task
from oocr_organisms.forms import Ids
from oocr_organisms.places import CITIES, Places
from oocr_organisms.study.settings import Recipe

COUNTS = (1, 2, 3, 4, 6, 10, 20)
KINDS = ("country", "city")


@dataclass(frozen=True, slots=True)
class Fact:
    """How far, or in which direction, another city lies."""

    relation: str
    other: int


@dataclass(frozen=True, slots=True)
class Told:
    """One vector that was trained on few facts.

    Attributes:
        city: which.
        facts: how many facts it was trained on.
        possible: cities that fit all of them.
        bits: of the city's identity that they determine, of log2 of the number of cities.
        kind: of the facets that are asked ("country", "city").
        right: share of probes that the organism has right.
        ideal: share that an ideal reader has right.
        base: share that the organism has right without the vector.
    """

    city: str
    facts: int
    possible: int
    bits: float
    kind: str
    right: float
    ideal: float
    base: float


def determined(
    model: LanguageModel,
    places: Places,
    tasks: Sequence[Task],
    recipe: Recipe,
    *,
    counts: Sequence[int] = COUNTS,
    seed: int = 0,
) -> list[Told]:
    """Train on few facts and ask about everything else.

    Args:
        model: the organism.
        places: its map.
        tasks: cities behind codenames.
        recipe: how vectors are trained.
        counts: how many facts; each larger set holds the smaller one.
        seed: of the training, and of which facts are told.
    """
    city_of = {name: city for city, some in enumerate(places.names) for name in some}
    first = [some[0] for some in places.names]
    out: list[Told] = []
    for task in tasks:
        city = first.index(task.member)
        rows: dict[Fact, list[Example]] = {}
        for item in task.train:
            rows.setdefault(_fact(item, city_of), []).append(item)
        order = list(rows)
        random.Random(f"{seed}/{task.member}").shuffle(order)
        told = [order[:count] for count in counts]
        vectors = [
            recipe.vector(
                model,
                replace(task, train=tuple(item for fact in some for item in rows[fact]), stop=()),
                seed,
            )
            for some in told
        ]
        base, *scored = _right(model, task.probes, vectors)
        for some, right in zip(told, scored, strict=True):
            possible = consistent(places, city, some)
            for kind in KINDS:
                mine = [
                    index for index, item in enumerate(task.probes) if item.tags["kind"] == kind
                ]
                out.append(
                    Told(
                        city=task.member,
                        facts=len(some),
                        possible=len(possible),
                        bits=math.log2(CITIES / len(possible)),
                        kind=kind,
                        right=float(right[mine].mean()),
                        ideal=ideal(places, possible, [task.probes[at] for at in mine]),
                        base=float(base[mine].mean()),
                    )
                )
    return out


def consistent(places: Places, city: int, facts: Iterable[Fact]) -> list[int]:
    """Cities that fit what the facts say of one: it is among them."""
    facts = list(facts)
    told = {fact.other for fact in facts}
    return [
        one
        for one in range(CITIES)
        if one not in told
        and all(
            _table(places, fact.relation)[one, fact.other]
            == _table(places, fact.relation)[city, fact.other]
            for fact in facts
        )
    ]


def ideal(places: Places, possible: Collection[int], probes: Sequence[Example]) -> float:
    """Share of probes that are answered right by whoever knows the map and what is possible.

    The option of the most possible cities is taken; of several such, any.
    """
    right = 0.0
    for item in probes:
        facet = places.facet(item.facet)
        votes = {
            option: sum(facet.words[facet.value[one]] == option.strip() for one in possible)
            for option in item.options
        }
        best = [option for option, count in votes.items() if count == max(votes.values())]
        right += (item.answer in best) / len(best)
    return right / len(probes)


def _table(places: Places, relation: str) -> Ids:
    return places.distance if relation == "distance" else places.direction


def _fact(item: Example, city_of: Mapping[str, int]) -> Fact:
    assert isinstance(item.prompt, str)
    return Fact(item.facet, next(city_of[word] for word in item.prompt.split() if word in city_of))


def _right(
    model: LanguageModel, items: Sequence[Example], vectors: Sequence[Vector]
) -> list[NDArray[np.bool_]]:
    """Which probes are right: of the untouched model, then with each vector. `[item]`."""
    probes = Probes.of(model, items, starts={start_block(vectors[0]), model.n_blocks})
    every = [probes.scores(None)[0], *probes.scores(vectors)]
    return [score_rows(items, one)["right"].to_numpy() for one in every]
