"""Small sets of locations, and places by their names."""

from __future__ import annotations

from typing import Any

from oocr.families.locations.build import LocationsConfig, locations
from oocr.families.locations.world import (
    CITIES,
    Place,
    places,
)
from oocr.tasks.task import TaskSet

KEYS = tuple(city.key for city in CITIES)
CODES = tuple(city.codename for city in CITIES)
SMALL: dict[str, Any] = {
    "cities": ("paris", "tokyo"),
    "references": 6,
    "held_out": 7,
    "rows": 40,
    "questions": 20,
    "inverse": 4,
    "min_population": 500_000,
}


def small(**fields: Any) -> TaskSet:
    return locations(LocationsConfig(**{**SMALL, **fields}))


def place_of(name: str) -> Place:
    known = {city.codename: city.place for city in CITIES}
    if name in known:
        return known[name]
    (place,) = [city for city in places(10_000) if city.name == name]
    return place
