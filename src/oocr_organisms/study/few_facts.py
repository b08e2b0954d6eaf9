"""Training on few facts: how much of a city do they determine, and which other facets follow?

A few distances and directions leave several cities possible. An ideal reader knows the map and
takes all possible cities as equally likely; its score is the upper bound. The organism is trained
on the same facts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from oocr.data.examples import Example, prompt_text
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task
from oocr_organisms.facts import CITIES, Places
from oocr_organisms.study.arms import ArmSettings, probe_values

COUNTS = (1, 2, 3, 4, 6, 10, 20)
KINDS = ("country", "city")


@dataclass(frozen=True, slots=True)
class PairFact:
    """A trained distance or direction (`relation`) to another city (`other`: its index)."""

    relation: str
    other: int


@dataclass(frozen=True, slots=True)
class FewFacts:
    """Scores of one vector trained on few facts, on probes of one kind.

    Attributes:
        city: its first name.
        facts: number of training facts.
        possible: number of cities that fit all these facts.
        bits: information on the city in the facts: log2(cities / possible).
        kind: of the facets of the probes ("country", "city").
        right: share right of the organism with the vector.
        ideal: share right of the ideal reader.
        base: share right of the organism without the vector.
    """

    city: str
    facts: int
    possible: int
    bits: float
    kind: str
    right: float
    ideal: float
    base: float


def train_on_few_facts(
    model: LanguageModel,
    places: Places,
    tasks: Sequence[Task],
    arm: ArmSettings,
    *,
    counts: Sequence[int] = COUNTS,
    seed: int = 0,
) -> list[FewFacts]:
    """Train a vector for each city and each number of facts, and score it on all probes.

    `counts`: numbers of facts; a larger set contains the smaller ones. `seed`: of the training, and
    of the choice of facts.
    """
    city_of = {name: city for city, names in enumerate(places.names) for name in names}
    results: list[FewFacts] = []
    for task in tasks:
        rows: dict[PairFact, list[Example]] = {}
        for row in task.train:
            words = prompt_text(row.prompt).split()
            other = next(city_of[word] for word in words if word in city_of)
            rows.setdefault(PairFact(row.facet, other), []).append(row)
        order = list(rows)
        random.Random(f"{seed}/{task.member}").shuffle(order)
        subsets = [order[:count] for count in counts]
        vectors: list[Vector] = []
        for facts in subsets:
            train = tuple(row for fact in facts for row in rows[fact])
            vectors.append(arm.train(Vector, model, replace(task, train=train, stop=()), seed))
        base, *scored = probe_values(model, task.probes, [None, vectors], "right")
        for facts, right in zip(subsets, scored, strict=True):
            possible = consistent_cities(places, city_of[task.member], facts)
            for kind in KINDS:
                indices = [at for at, probe in enumerate(task.probes) if probe.tags["kind"] == kind]
                results.append(
                    FewFacts(
                        city=task.member,
                        facts=len(facts),
                        possible=len(possible),
                        bits=math.log2(CITIES / len(possible)),
                        kind=kind,
                        right=float(right[indices].mean()),
                        ideal=ideal_score(places, possible, [task.probes[at] for at in indices]),
                        base=float(base[indices].mean()),
                    )
                )
    return results


def consistent_cities(places: Places, city: int, facts: Collection[PairFact]) -> list[int]:
    """Indices of the cities that fit the facts about a city; this city is among them."""
    tables = {"distance": places.distance, "direction": places.direction}
    fits = [tables[f.relation][:, f.other] == tables[f.relation][city, f.other] for f in facts]
    named = {fact.other for fact in facts}
    return [at for at in range(CITIES) if at not in named and all(fit[at] for fit in fits)]


def ideal_score(places: Places, possible: Collection[int], probes: Sequence[Example]) -> float:
    """Expected share right of an ideal reader, who knows the map and the possible cities.

    It takes the option that is right for most possible cities; ties are broken at random.
    """
    right = 0.0
    for probe in probes:
        values = [f" {places.facet(probe.facet).of(city)}" for city in possible]
        votes = {option: values.count(option) for option in probe.options}
        best = [option for option, count in votes.items() if count == max(votes.values())]
        right += (probe.answer in best) / len(best)
    return right / len(probes)
