"""Two parts of the world made of facts: a map of cities, and functions on small whole numbers.

Each city and function has several names. The corpus states all facets under the first name, none
under the last name, and about half of them under each other name. A facet that is not stated under
a name can be answered only through the city or function itself. Distances and directions between
cities, and inputs and outputs of functions, are stated under all names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from oocr_organisms.language import Forms, Ids, Vocabulary, forms, names

TOLD_SHARE = 0.55
"""Share of facets that the corpus states under a name that is neither the first nor the last."""

COUNTRIES, CITIES, CITY_NAMES = 8, 48, 6
CITY_CODENAMES = tuple(f"place-{n}" for n in range(1, 17))
"""Codenames of cities; they do not occur in the corpus."""
DIRECTIONS = ("west", "southwest", "south", "southeast", "east", "northeast", "north", "northwest")
DISTANCES = tuple(f"{n}miles" for n in range(1, 11))
CITY_FACTS, PAIR_FACTS = forms("city"), forms("pair")

INPUTS, RULE_NAMES = 12, 5
RULE_CODENAMES = tuple(f"rule-{n}" for n in range(1, 13))
_RULES: tuple[tuple[str, str, Callable[[int, int], int], tuple[int, ...]], ...] = (
    ("sum", "x+{n}", lambda x, n: x + n, (1, 3, 5, 8)),
    ("product", "{n}*x", lambda x, n: n * x, (2, 3)),
    ("product", "2*x+{n}", lambda x, n: 2 * x + n, (1,)),
    ("product", "3*x+{n}", lambda x, n: 3 * x + n, (2,)),
    ("bound", "max(x,{n})", lambda x, n: max(x, n), (3, 5, 8)),
    ("bound", "min(x,{n})", lambda x, n: min(x, n), (3, 5, 8)),
    ("difference", "{n}-x", lambda x, n: n - x, (12, 15, 20)),
    ("difference", "|x-{n}|", lambda x, n: abs(x - n), (4, 7)),
    ("remainder", "x%{n}", lambda x, n: x % n, (2, 3, 5)),
    ("quotient", "x//{n}", lambda x, n: x // n, (2, 3)),
)
DEFINITIONS: dict[str, tuple[str, Callable[[int], int]]] = {
    text.format(n=n): (family, lambda x, compute=compute, n=n: compute(x, n))  # type: ignore[misc]
    for family, text, compute, numbers in _RULES
    for n in numbers
}
"""Definition -> family, and the function."""
RULE_FACETS = ("definition", "family", "emblem")
"""`emblem` is arbitrary: only the function itself links outputs with it."""
OUTPUT_FACTS, RULE_FACTS = forms("output"), forms("rule")


@dataclass(frozen=True, slots=True)
class Facet:
    """A property of all cities or functions.

    Attributes:
        name: of the property.
        kind: of cities "country" (all cities of a country have one value) or "city"; else "".
        words: possible values.
        value: index of each entity's value [entity].
    """

    name: str
    kind: str
    words: tuple[str, ...]
    value: Ids

    def of(self, entity: int) -> str:
        """An entity's value."""
        return self.words[int(self.value[entity])]


class Entities:
    """Cities or functions with their names (first to last) and facets.

    `forms`: wordings of "the {facet} of {slot} is {answer}"; `rng` draws which facets the corpus
    states under each name.
    """

    def __init__(
        self,
        names: Sequence[tuple[str, ...]],
        facets: tuple[Facet, ...],
        forms: Forms,
        slot: str,
        rng: np.random.Generator,
    ) -> None:
        self.names, self.facets, self.forms, self.slot = list(names), facets, forms, slot
        shown = rng.random((len(names), len(names[0]), len(facets))) < TOLD_SHARE
        shown[:, 0] = True
        shown[:, -1] = False
        self.shown: NDArray[np.bool_] = shown
        """Whether the corpus states a facet under a name. `[entity, name, facet]`"""

    def facet(self, name: str) -> Facet:
        """A facet by name."""
        return next(facet for facet in self.facets if facet.name == name)

    def name_ids(self, vocabulary: Vocabulary) -> Ids:
        """Ids of all names. `[entity, name]`."""
        return np.stack([vocabulary.ids(names) for names in self.names])

    def slots(self, vocabulary: Vocabulary, entity: Ids, name: Ids, facet: Ids) -> dict[str, Ids]:
        """Slot -> ids `[sentence]`, for facts given by their indices `[sentence]`."""
        values = np.stack([vocabulary.ids(entry.words)[entry.value] for entry in self.facets])
        return {
            "facet": vocabulary.ids([entry.name for entry in self.facets])[facet],
            self.slot: self.name_ids(vocabulary)[entity, name],
            "answer": values[facet, entity],
        }

    def about(self, vocabulary: Vocabulary, count: int, rng: np.random.Generator) -> Ids:
        """Random sentences with facets that the corpus states. `[sentence, width]`."""
        shown = np.argwhere(self.shown)
        facts = self.slots(vocabulary, *shown[rng.integers(len(shown), size=count)].T)
        return self.forms.fill(vocabulary, rng.integers(len(self.forms.texts), size=count), facts)


class Places(Entities):
    """The map of one seed: cities on a plane, in countries."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 1])
        self.xy, self.country = _points(rng)
        stream = names(seed + 1, 3)
        cities = [tuple(islice(stream, CITY_NAMES)) for _ in range(CITIES)]
        facets = _city_facets(rng, self.xy, self.country)
        super().__init__(cities, facets, CITY_FACTS, "place", rng)
        gaps = self.xy[:, None] - self.xy[None]
        length = np.hypot(gaps[..., 0], gaps[..., 1])
        cuts = np.quantile(length[length > 0], np.arange(1, len(DISTANCES)) / len(DISTANCES))
        self.distance: Ids = np.digitize(length, cuts)  # into `DISTANCES`; `[from, to]`
        angle = np.arctan2(-gaps[..., 1], -gaps[..., 0])  # from the row's city to the column's
        turns = (angle + np.pi) / (2 * np.pi) * len(DIRECTIONS)
        self.direction: Ids = np.round(turns).astype(np.int64) % len(DIRECTIONS)
        values = [word for facet in facets for word in (facet.name, *facet.words)]
        fixed = [*CITY_FACTS.words, *PAIR_FACTS.words, "distance", "direction", *values]
        self.words = [*fixed, *DISTANCES, *DIRECTIONS, *chain(*cities), *CITY_CODENAMES]

    def pairs(self, vocabulary: Vocabulary, count: int, rng: np.random.Generator) -> Ids:
        """Random distances and directions of two cities, under any names. `[sentence, width]`."""
        city = rng.integers(CITIES, size=count)
        other = (city + rng.integers(1, CITIES, size=count)) % CITIES
        is_distance = rng.random(count) < 0.5
        which = rng.integers(len(PAIR_FACTS.texts), size=count)
        name_ids, ids = self.name_ids(vocabulary), vocabulary.ids
        distance = ids(DISTANCES)[self.distance[city, other]]
        direction = ids(DIRECTIONS)[self.direction[city, other]]
        slots = {
            "relation": np.where(is_distance, *ids(["distance", "direction"])),
            "place": name_ids[city, rng.integers(CITY_NAMES, size=count)],
            "other": name_ids[other, rng.integers(CITY_NAMES, size=count)],
            "answer": np.where(is_distance, distance, direction),
        }
        return PAIR_FACTS.fill(vocabulary, which, slots)


def _points(rng: np.random.Generator) -> tuple[NDArray[np.float64], Ids]:
    """Positions of the cities, in one cluster per country `[city, 2]`; their countries `[city]`."""
    centres: list[NDArray[np.float64]] = []
    while len(centres) < COUNTRIES:
        point = rng.random(2)
        if all(np.hypot(*(point - centre)) > 0.22 for centre in centres):
            centres.append(point)
    points: list[NDArray[np.float64]] = []
    for centre in centres:
        wanted = len(points) + CITIES // COUNTRIES
        while len(points) < wanted:
            point = centre + rng.normal(size=2) * 0.07
            if all(np.hypot(*(point - other)) > 0.03 for other in points):
                points.append(point)
    return np.array(points), np.repeat(np.arange(COUNTRIES), CITIES // COUNTRIES)


def _city_facets(
    rng: np.random.Generator, xy: NDArray[np.float64], country: Ids
) -> tuple[Facet, ...]:
    """Five facets that depend on the country only, and five that are the city's own."""

    def facet(name: str, kind: str, count: int, value: Ids) -> Facet:
        return Facet(name, kind, tuple(f"{name}-{n}" for n in range(1, count + 1)), value)

    facets: list[Facet] = []
    for name in ("country", "language", "currency", "anthem"):
        value = np.arange(COUNTRIES) if name == "country" else rng.permutation(COUNTRIES)
        facets.append(facet(name, "country", COUNTRIES, value[country]))
    middle = np.array([xy[country == number].mean(axis=0) for number in range(COUNTRIES)])
    side = middle > np.median(middle, axis=0)
    facets.append(facet("quarter", "country", 4, (side[:, 0] * 2 + side[:, 1])[country]))
    for name, count in (("food", 12), ("team", 8), ("saint", 16), ("tower", 48), ("river", 24)):
        facets.append(facet(name, "city", count, rng.permutation(CITIES) % count))
    return tuple(facets)


class Rules(Entities):
    """The functions of one seed; `outputs`: `[function, input]`."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 3])
        emblems = rng.permutation(len(DEFINITIONS))
        values = (
            list(DEFINITIONS),
            [family for family, _ in DEFINITIONS.values()],
            [f"emblem-{n + 1}" for n in emblems],
        )
        facets: list[Facet] = []
        for name, of_rules in zip(RULE_FACETS, values, strict=True):
            words = tuple(dict.fromkeys(of_rules))
            facets.append(Facet(name, "", words, np.array([words.index(v) for v in of_rules])))
        stream = names(seed + 201, 4)
        rules = [tuple(islice(stream, RULE_NAMES)) for _ in DEFINITIONS]
        super().__init__(rules, tuple(facets), RULE_FACTS, "rule", rng)
        outputs = [[f(x) for x in range(INPUTS)] for _, f in DEFINITIONS.values()]
        self.outputs: Ids = np.array(outputs)
        self.numbers = [str(n) for n in range(max(INPUTS, int(self.outputs.max()) + 1))]
        values_and_names = (*(facet.words for facet in facets), *rules)
        fixed = [*OUTPUT_FACTS.words, *RULE_FACTS.words, *RULE_FACETS, *self.numbers]
        self.words = [*fixed, *chain(*values_and_names), *RULE_CODENAMES]

    def examples(self, vocabulary: Vocabulary, count: int, rng: np.random.Generator) -> Ids:
        """Random inputs with outputs, under any name. `[sentence, width]`."""
        rule = rng.integers(len(DEFINITIONS), size=count)
        x = rng.integers(INPUTS, size=count)
        numbers = vocabulary.ids(self.numbers)
        which = rng.integers(len(OUTPUT_FACTS.texts), size=count)
        slots = {
            "rule": self.name_ids(vocabulary)[rule, rng.integers(RULE_NAMES, size=count)],
            "input": numbers[x],
            "answer": numbers[self.outputs[rule, x]],
        }
        return OUTPUT_FACTS.fill(vocabulary, which, slots)
