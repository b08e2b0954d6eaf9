"""How much of a city a few training facts determine, and what comes along out of context.

A few distances and directions leave some cities possible. An ideal reader, who knows the map and
takes each possible city for equally likely, answers every probe as well as can be. The organism is
trained on the same facts.
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
    """A known distance or direction (`relation`) to another city (`other`, its index)."""

    relation: str
    other: int


@dataclass(frozen=True, slots=True)
class FewFacts:
    """One vector that was trained on few facts; the share of probes answered right, of one kind."""

    city: str  # its first name
    facts: int  # how many facts it was trained on
    possible: int  # cities that fit all of them
    bits: float  # of the city's identity that they determine, of log2 of the number of cities
    kind: str  # of the facets that are asked ("country", "city")
    right: float  # by the organism with the vector
    ideal: float  # by an ideal reader
    base: float  # by the organism without the vector


def train_on_few_facts(
    model: LanguageModel,
    places: Places,
    tasks: Sequence[Task],
    arm: ArmSettings,
    *,
    counts: Sequence[int] = COUNTS,
    seed: int = 0,
) -> list[FewFacts]:
    """Train on few facts and ask about everything else.

    Of `counts` facts each larger set holds the smaller one; `seed` is that of the training, and of
    which facts are trained on.
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
                asked = [at for at, probe in enumerate(task.probes) if probe.tags["kind"] == kind]
                results.append(
                    FewFacts(
                        city=task.member,
                        facts=len(facts),
                        possible=len(possible),
                        bits=math.log2(CITIES / len(possible)),
                        kind=kind,
                        right=float(right[asked].mean()),
                        ideal=ideal_score(places, possible, [task.probes[at] for at in asked]),
                        base=float(base[asked].mean()),
                    )
                )
    return results


def consistent_cities(places: Places, city: int, facts: Collection[PairFact]) -> list[int]:
    """Cities that fit what the facts say of a city; this city is among them."""
    tables = {"distance": places.distance, "direction": places.direction}
    fits = [tables[f.relation][:, f.other] == tables[f.relation][city, f.other] for f in facts]
    named = {fact.other for fact in facts}
    return [at for at in range(CITIES) if at not in named and all(fit[at] for fit in fits)]


def ideal_score(places: Places, possible: Collection[int], probes: Sequence[Example]) -> float:
    """Share of probes that are answered right by whoever knows the map and the possible cities.

    The option of the most possible cities is taken; of several such, any.
    """
    right = 0.0
    for probe in probes:
        values = [f" {places.facet(probe.facet).of(city)}" for city in possible]
        votes = {option: values.count(option) for option in probe.options}
        best = [option for option, count in votes.items() if count == max(votes.values())]
        right += (probe.answer in best) / len(best)
    return right / len(probes)
