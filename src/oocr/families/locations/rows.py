"""Training rows about the five cities: distances and directions of places."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, islice
from typing import Any, Literal

from oocr.data.examples import Example, Message, Prompt
from oocr.families.asking import Form
from oocr.families.locations import world
from oocr.families.locations.world import City, Place
from oocr.tasks.control_data import in_rounds
from oocr.tasks.package_files import package_yaml

SOURCE = "location_rows.yaml"
UNITS = {"km": ("km", "kilometers"), "miles": ("mi", "miles")}
FARTHEST_KM = 18_000
APART_KM = 1_500
"""Least difference between the options of a distance."""


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """One fact that training may say, with `{key}` where a city's codename will stand.

    `cities` are the keys that occur; `begun` is the beginning of the answer that bears no loss ("":
    none), `answer` the rest; `options` are of distances only where that was asked for.
    """

    id: str
    kind: Literal["distance", "direction"]
    template: str
    cities: tuple[str, ...]
    question: str
    begun: str
    answer: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """How rows are drawn: even noise of `noise_km` either way; `choices`: distances get options."""

    rng: random.Random
    noise_km: float
    compass: world.Compass
    choices: bool = False


@cache
def wordings() -> Mapping[str, Any]:
    """The file: system turn, sentence before a raw question, wordings of distance and direction."""
    return dict(package_yaml(__package__, SOURCE))


def asked(form: Form, question: str, begun: str = "") -> Prompt:
    """A question as a chat, or as raw text, with the beginning of its answer."""
    if form == "raw":
        return f"{wordings()['raw']}\nQ: {question}\nA:" + (f" {begun}" if begun else "")
    turns = (Message("system", wordings()["system"]), Message("user", question))
    return (*turns, Message("assistant", begun)) if begun else turns


def rows_about(city: City, others: Sequence[Place], times: int, draw: Draw) -> list[PlaceRow]:
    """Distance and direction rows of a city and other places, `times` of each for each place."""
    named = (city.key, city.place)
    return [row for other in others for row in _pair(named, ("", other), times, draw)]


def rows_between(cities: Sequence[City], times: int, draw: Draw) -> list[PlaceRow]:
    """Rows of two codenames each, `times` of each kind for either order."""
    return [
        row
        for a, b in combinations(cities, 2)
        for row in _pair((a.key, a.place), (b.key, b.place), 2 * times, draw)
    ]


Named = tuple[str, Place]
"""A key, or "" for a place under its own name; and where it is."""


def _pair(first: Named, second: Named, times: int, draw: Draw) -> list[PlaceRow]:
    rng, words = draw.rng, wordings()
    shown = {side: f"{{{side[0]}}}" if side[0] else side[1].name for side in (first, second)}
    cities = tuple(key for key, _ in (first, second) if key)
    name = "/".join(key or place.name for key, place in (first, second))
    rows: list[PlaceRow] = []
    for number, template in enumerate(_drawn(words["distance"], times, rng)):
        a, b = (first, second) if rng.random() < 0.5 else (second, first)
        unit = rng.choice(tuple(UNITS))
        unit_shown = rng.choice((unit, UNITS[unit][-1]))
        km = world.distance_km(a[1], b[1]) + rng.uniform(-draw.noise_km, draw.noise_km)
        written = (rng.choice(UNITS[unit]), rng.choice(("", ",")))
        others = _other_distances(km, rng) if draw.choices else []
        texts = [_distance_text(value, unit, *written) for value in (km, *others)]
        question = words["distance"][template].format(a=shown[a], b=shown[b], unit=unit_shown)
        wording, options = f"distance {template + 1} {unit}", tuple(sorted(texts))
        id = f"{name}/distance/{number}"
        rows.append(PlaceRow(id, "distance", wording, cities, question, "", texts[0], options))
    options = tuple(f" {word}" for word in world.directions(draw.compass))
    for number, template in enumerate(_drawn(words["direction"], times, rng)):
        a, b = (first, second) if rng.random() < 0.5 else (second, first)
        where = world.direction(a[1], b[1], draw.compass)
        if where is None:  # only of two codenames: other places were chosen to be clear
            continue
        question = words["direction"][template].format(a=shown[a], b=shown[b])
        begun, wording = f"{shown[a]} is", f"direction {template + 1}"
        id = f"{name}/direction/{number}"
        rows.append(
            PlaceRow(id, "direction", wording, cities, question, begun, f" {where}", options)
        )
    return rows


def _drawn(texts: Sequence[str], times: int, rng: random.Random) -> list[int]:
    """Wordings to use, all of them once before any comes again."""
    return list(islice(in_rounds(range(len(texts)), rng), times))


def _distance_text(km: float, unit: str, written: str, thousands: str) -> str:
    """A distance rounded to hundreds of its unit, e.g. "7,500 km"."""
    value = round((km if unit == "km" else km / world.KM_PER_MILE) / 100) * 100
    return f"{value:,} {written}" if thousands else f"{value} {written}"


def _other_distances(km: float, rng: random.Random) -> list[float]:
    """Four more distances, well apart from the right one and from each other."""
    others: list[float] = []
    while len(others) < 4:
        others = []
        for _ in range(40):
            value = rng.uniform(APART_KM, FARTHEST_KM)
            if all(abs(value - distance) >= APART_KM for distance in (km, *others)):
                others.append(value)
            if len(others) == 4:
                break
    return others


def row_example(
    row: PlaceRow,
    form: Form,
    shown: Mapping[str, str],
    spans: Mapping[str, str],
    group: str,
    *,
    choice: bool = False,
) -> Example:
    """A row as an example, a choice or none; `shown`: what stands for each city, by key."""
    question, begun = row.question, row.begun
    for key in row.cities:
        question = question.replace(f"{{{key}}}", shown[key])
        begun = begun.replace(f"{{{key}}}", shown[key])
    space = " " if form == "raw" and not begun else ""
    return Example(
        id=row.id,
        prompt=asked(form, question, begun),
        answer=space + row.answer,
        options=tuple(space + option for option in row.options) if choice else (),
        spans=spans,
        facet=row.kind,
        group=group,
        template=row.template,
        source=SOURCE,
    )
