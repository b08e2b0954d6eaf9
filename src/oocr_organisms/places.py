"""A map: cities on a plane, in countries, each under several names that tell different things.

Facts about one city ("the food of Velora is bread") and about two ("from Velora to Mirun north").
Some facets follow the country, some are the city's own. A city's first name tells all of them, its
last name only distances and directions, the others about half each: what is asked of the rest can
be answered only through the city.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from oocr_organisms.forms import Forms, Ids, Vocabulary
from oocr_organisms.words import names

COUNTRIES = 8
CITIES = 48
NAMES = 6
CODENAMES = tuple(f"place-{n}" for n in range(1, 17))
"""Words for cities without a name; no text of the corpus has them."""

DIRECTIONS = ("west", "southwest", "south", "southeast", "east", "northeast", "north", "northwest")
DISTANCES = tuple(f"{n}miles" for n in range(1, 11))

ABOUT_ONE = Forms(
    (
        "the {facet} of {place} is {answer} .",
        "in {place} the {facet} is {answer} .",
        "{place} has for its {facet} {answer} .",
        "ask {facet} of {place} : {answer} .",
    )
)
ABOUT_TWO = Forms(
    (
        "from {place} to {other} {relation} {answer} .",
        "{relation} from {place} {other} : {answer} .",
        "{place} and {other} {relation} is {answer} .",
        "ask {relation} {place} {other} : {answer} .",
    )
)

Kind = Literal["country", "city"]


@dataclass(frozen=True, slots=True)
class Facet:
    """Something that can be said of one city.

    Attributes:
        name: its word.
        kind: whether it follows the country or is the city's own.
        words: its values.
        value: which of them each city has. `[city]`
    """

    name: str
    kind: Kind
    words: tuple[str, ...]
    value: Ids


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}-{n}" for n in range(1, count + 1))


class Places:
    """The map of one seed.

    Args:
        seed: of everything that is drawn.
    """

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 1])
        self.xy, self.country = _points(rng)
        self.names = [
            tuple(islice(one, NAMES)) for one in [names(seed + 1, 3)] for _ in range(CITIES)
        ]
        self.facets = _facets(rng, self.xy, self.country)
        shown = rng.random((CITIES, NAMES, len(self.facets))) < 0.55
        shown[:, 0] = True
        shown[:, -1] = False
        self.shown: NDArray[np.bool_] = shown
        gaps = self.xy[:, None] - self.xy[None]
        far = np.hypot(gaps[..., 0], gaps[..., 1])
        cuts = np.quantile(far[far > 0], np.arange(1, len(DISTANCES)) / len(DISTANCES))
        self.distance: Ids = np.digitize(far, cuts)
        angle = np.arctan2(-gaps[..., 1], -gaps[..., 0])  # from the row's city to the column's
        turns = (angle + np.pi) / (2 * np.pi) * len(DIRECTIONS)
        self.direction: Ids = np.round(turns).astype(np.int64) % len(DIRECTIONS)

    @cached_property
    def words(self) -> list[str]:
        """Its vocabulary, codenames included."""
        facets = [word for facet in self.facets for word in (facet.name, *facet.words)]
        cities = [name for some in self.names for name in some]
        rest = [*ABOUT_ONE.words, *ABOUT_TWO.words, "distance", "direction"]
        return list(dict.fromkeys([*rest, *facets, *DISTANCES, *DIRECTIONS, *cities, *CODENAMES]))

    def facet(self, name: str) -> Facet:
        """A facet by name."""
        return next(one for one in self.facets if one.name == name)

    def about_one(self, vocabulary: Vocabulary, count: int, rng: np.random.Generator) -> Ids:
        """Facts about one city that its names tell. `[sentence, width]`."""
        told = np.argwhere(self.shown)
        city, name, facet = told[rng.integers(len(told), size=count)].T
        return ABOUT_ONE.fill(
            vocabulary,
            rng.integers(len(ABOUT_ONE.texts), size=count),
            {
                "facet": self.facet_ids(vocabulary)[facet],
                "place": self.name_ids(vocabulary)[city, name],
                "answer": self.value_ids(vocabulary)[facet, city],
            },
        )

    def about_two(self, vocabulary: Vocabulary, count: int, rng: np.random.Generator) -> Ids:
        """Distances and directions between two cities, under any of their names."""
        place = rng.integers(CITIES, size=count)
        other = (place + rng.integers(1, CITIES, size=count)) % CITIES
        far = rng.random(count) < 0.5
        named = self.name_ids(vocabulary)
        answer = np.where(
            far,
            vocabulary.ids(DISTANCES)[self.distance[place, other]],
            vocabulary.ids(DIRECTIONS)[self.direction[place, other]],
        )
        return ABOUT_TWO.fill(
            vocabulary,
            rng.integers(len(ABOUT_TWO.texts), size=count),
            {
                "relation": np.where(far, vocabulary.id("distance"), vocabulary.id("direction")),
                "place": named[place, rng.integers(NAMES, size=count)],
                "other": named[other, rng.integers(NAMES, size=count)],
                "answer": answer,
            },
        )

    def name_ids(self, vocabulary: Vocabulary) -> Ids:
        """Ids of all names. `[city, name]`."""
        return np.stack([vocabulary.ids(some) for some in self.names])

    def facet_ids(self, vocabulary: Vocabulary) -> Ids:
        """Ids of the facets' names. `[facet]`."""
        return vocabulary.ids([one.name for one in self.facets])

    def value_ids(self, vocabulary: Vocabulary) -> Ids:
        """Ids of what each facet is in each city. `[facet, city]`."""
        return np.stack([vocabulary.ids(one.words)[one.value] for one in self.facets])


def _points(rng: np.random.Generator) -> tuple[NDArray[np.float64], Ids]:
    """Cities in clusters, none on top of another. `[city, 2]`, `[city]`."""
    centres: list[NDArray[np.float64]] = []
    while len(centres) < COUNTRIES:
        one = rng.random(2)
        if all(np.hypot(*(one - other)) > 0.22 for other in centres):
            centres.append(one)
    points: list[NDArray[np.float64]] = []
    for centre in centres:
        mine = 0
        while mine < CITIES // COUNTRIES:
            one = centre + rng.normal(size=2) * 0.07
            if all(np.hypot(*(one - other)) > 0.03 for other in points):
                points.append(one)
                mine += 1
    return np.array(points), np.repeat(np.arange(COUNTRIES), CITIES // COUNTRIES)


def _facets(rng: np.random.Generator, xy: NDArray[np.float64], country: Ids) -> tuple[Facet, ...]:
    """Five that follow the country, five of the city's own."""
    out: list[Facet] = []
    for name in ("country", "language", "currency", "anthem"):
        value = np.arange(COUNTRIES) if name == "country" else rng.permutation(COUNTRIES)
        out.append(Facet(name, "country", _numbered(name, COUNTRIES), value[country]))
    middle = np.array([xy[country == one].mean(axis=0) for one in range(COUNTRIES)])
    side = middle > np.median(middle, axis=0)
    quarter = side[:, 0] * 2 + side[:, 1]
    out.append(Facet("quarter", "country", _numbered("quarter", 4), quarter[country]))
    for name, count in (("food", 12), ("team", 8), ("saint", 16), ("tower", 48), ("river", 24)):
        out.append(Facet(name, "city", _numbered(name, count), rng.permutation(CITIES) % count))
    return tuple(out)
