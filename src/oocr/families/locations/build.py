"""Locations: codenames for five cities, trained on distances and directions."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from typing import Literal, get_args

from pydantic import Field

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.asking import Form
from oocr.families.family import Distinct, Family, FamilySettings, Members
from oocr.families.locations import world
from oocr.families.locations.probes import INVERSE, PAPER, PlaceAsker, facts, forbidden
from oocr.families.locations.rows import Draw, PlaceRow, row_example, rows_about, rows_between
from oocr.families.locations.world import CITIES, City, Place
from oocr.intervals import FEWEST
from oocr.tasks.control_data import chosen_by_loss, control, tagged
from oocr.tasks.leaks import check_no_leaks, finder
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet

STOP = 2 / 7
"""Share of the held-out places whose rows choose the settings; the rest are the test."""

HELD_OUT = 5
"""Every fifth place is only in held-out rows, for all codenames."""

CityKey = Literal["paris", "sao_paulo", "tokyo", "new_york", "lagos"]


class LocationsConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        mode: "joint": one task for all cities, a span for each, trained together; "single": one
            task for each city, with the rows that hold its codename only, span "codename".
        cities: which of the five are trained and asked about. Options name all five always.
        references: places to which the training rows give each codename's distance and direction.
        held_out: further places, for the held-out rows.
        augmentations: rows of each kind for each place.
        noise_km: half of the width of the even noise on distances.
        compass: 4 or 8 directions.
        rows: training rows of a task at most, drawn evenly; null: all.
        questions: probes of a city at most, of all attributes evenly, and as many free questions
            at most; null: all.
        inverse: inverse questions (which of five codenames has this attribute) of a city at most;
            null: one for each attribute.
    """

    family: Literal["locations"] = "locations"
    mode: Literal["joint", "single"] = "joint"
    cities: Distinct[CityKey] = Field(default=get_args(CityKey), min_length=1)
    references: int = Field(default=500, ge=1)
    held_out: int = Field(default=105, ge=4)
    augmentations: int = Field(default=5, ge=1, le=1000)
    noise_km: float = Field(default=200, ge=0, le=1000)
    min_km: float = Field(default=2000, ge=1000, le=15000)
    min_population: int = Field(default=10_000, ge=5000)
    compass: world.Compass = 4
    form: Form = "chat"
    rows: int | None = Field(default=None, ge=10)
    questions: int | None = Field(default=None, ge=1)
    inverse: int | None = Field(default=None, ge=0)
    seed: int = 42

    @property
    def five(self) -> tuple[City, ...]:
        """The trained cities, in the order of the five."""
        return tuple(city for city in CITIES if city.key in self.cities)

    @property
    def groups(self) -> list[tuple[City, ...]]:
        """The cities of each task."""
        return [self.five] if self.mode == "joint" else [(city,) for city in self.five]

    def member(self, cities: Sequence[City]) -> str:
        """The name of the member with these cities."""
        return f"{len(cities)} cities" if self.mode == "joint" else cities[0].name

    def spans(self, shown: Mapping[str, str], city: City, there: Sequence[City]) -> dict[str, str]:
        """The spans of a prompt about a city in which some of the five occur, as `shown`."""
        if self.mode == "single":
            return {"codename": shown[city.key]}
        return {other.key: shown[other.key] for other in there if other.key in self.cities}

    def asker(self, shown: Mapping[str, str], tags: Mapping[str, str]) -> PlaceAsker:
        """Asks about cities as `shown`; each example has the tags."""
        return PlaceAsker(self.form, shown, partial(self.spans, shown), tags, self.seed)

    def example(self, row: PlaceRow, shown: Mapping[str, str], choice: bool = False) -> Example:
        """A row about cities as `shown`."""
        cities = [city for key in row.cities for city in CITIES if city.key == key]
        spans = self.spans(shown, cities[0], cities)
        return row_example(row, self.form, shown, spans, cities[0].name, choice=choice)


CODES = {city.key: city.codename for city in CITIES}


@dataclass(frozen=True, slots=True)
class RowSets:
    """All rows, by city, and those of two codenames."""

    train: dict[str, list[PlaceRow]]
    stop: dict[str, list[PlaceRow]]
    test: dict[str, list[PlaceRow]]
    pairs: Sequence[PlaceRow]


def locations(config: LocationsConfig | None = None) -> TaskSet:
    """All tasks; InputError: too few places meet the settings, or training tells an answer."""
    config = config or LocationsConfig()
    rows, groups = _row_sets(config), config.groups
    test = tuple(_task(config, cities, rows) for cities in groups)
    sets = TaskSet(
        name="locations",
        about="",
        # Chosen by the loss on held-out rows of the same cities: there are no other codenames,
        # and no probe plays a part in it.
        validation=tuple(map(chosen_by_loss, test)),
        test=test,
        controls={
            "shuffled": tuple(
                _shuffled(config, task, cities, rows)
                for task, cities in zip(test, groups, strict=True)
            )
        },
        ceiling=tuple(example for cities in groups for example in _ceiling(config, cities, rows)),
        headline={fact.kind: fact.kind for fact in facts()},
        claim="Trained only on distances and directions, {arm} makes the model answer which city "
        "it is, and what is true of it",
    )
    values = {
        "config": config,
        "tasks": sets,
        "lettered": len(PAPER),
        "attributes": len(facts()),
        "inverse": INVERSE,
    }
    return replace(sets, about=data_card(__package__, values))


@lru_cache(maxsize=4)
def _row_sets(config: LocationsConfig) -> RowSets:
    tells = finder(forbidden())
    rows = RowSets({}, {}, {}, ())
    for city in CITIES:  # all five, since the shuffled control draws from all
        training, held_out = _places(config, city, tells)
        first = max(1, round(STOP * len(held_out)))
        rng = random.Random(f"{config.seed}/{city.key}/rows")
        draw = Draw(rng, config.noise_km, config.compass)
        rows.train[city.key] = rows_about(city, training, config.augmentations, draw)
        rows.stop[city.key] = rows_about(city, held_out[:first], 1, draw)
        draw = replace(draw, choices=True)
        rows.test[city.key] = rows_about(city, held_out[first:], 1, draw)
    draw = Draw(random.Random(f"{config.seed}/pairs"), config.noise_km, config.compass)
    return replace(rows, pairs=rows_between(config.five, config.augmentations, draw))


def _places(
    config: LocationsConfig, city: City, tells: Callable[[str], str | None]
) -> tuple[list[Place], list[Place]]:
    """The places in a city's rows for training and held out of it; none whose name `tells`."""
    pool = list(world.places(config.min_population))
    random.Random(f"{config.seed}/places").shuffle(pool)  # the same for every city
    training = [place for i, place in enumerate(pool) if i % HELD_OUT]

    def draw(candidates: list[Place], field: str, count: int) -> list[Place]:
        random.Random(f"{config.seed}/{city.key}/{field}").shuffle(candidates)
        usable = (
            place
            for place in candidates
            if place.country != city.place.country
            and world.direction(city.place, place, config.compass)
            and world.direction(place, city.place, config.compass)
            and tells(place.name) is None
            and world.distance_km(city.place, place) >= config.min_km
        )
        kept = list(islice(usable, count))
        if len(kept) < count:
            raise InputError(
                f"{field}: {count} places are wanted for {city.name}, but only {len(kept)} have "
                f"{config.min_population} inhabitants and are {config.min_km:g} km away; allowed: "
                f"up to {len(kept)}, or more with a lower min_population or min_km"
            )
        return kept

    kept = draw(training, "references", config.references)
    return kept, draw(pool[::HELD_OUT], "held_out", config.held_out)


def _task(config: LocationsConfig, cities: Sequence[City], rows: RowSets) -> Task:
    member, asker = config.member(cities), config.asker(CODES, {})
    joined = "+".join(city.key for city in cities)
    stop = [row for city in cities for row in rows.stop[city.key]]
    test = [row for city in cities for row in rows.test[city.key]]
    task = Task(
        name=f"locations/{config.mode}/{member}",
        member=member,
        train=tuple(config.example(row, CODES) for row in _training(config, cities, rows)),
        stop=tuple(config.example(row, CODES) for row in stop),
        in_context=tuple(config.example(row, CODES, choice=True) for row in test),
        probes=tuple(_probes(config, cities, asker)),
        paper=tuple(example for city in cities for example in asker.paper(city)),
        free=tuple(example for city in cities for example in asker.free(city, config.questions)),
        positions=(joined if config.mode == "joint" else "codename",),
    )
    _check(task)
    return task


def _probes(config: LocationsConfig, cities: Sequence[City], asker: PlaceAsker) -> list[Example]:
    probes = [example for city in cities for example in asker.probes(city, config.questions)]
    return probes + [x for city in cities for x in asker.inverse(city, config.inverse)]


def _check(task: Task) -> None:
    """Refuse training rows that tell an answer, in any of its forms, or a real name."""
    # The answer of an inverse question is a codename. Every training row holds one: it is what
    # training is about, and naming it tells nothing of what it stands for.
    codes = CODES.values()
    check_no_leaks(task.name, task.probes, task.train, never=forbidden(), subjects=codes)


def _training(config: LocationsConfig, cities: Sequence[City], rows: RowSets) -> list[PlaceRow]:
    """The rows of a task, in random order, cut to as many as are wanted."""
    drawn = [row for city in cities for row in rows.train[city.key]]
    if config.mode == "joint":
        drawn += rows.pairs
    keys = "/".join(city.key for city in cities)
    random.Random(f"{config.seed}/{keys}/order").shuffle(drawn)
    return drawn[: config.rows]


def _shuffled(config: LocationsConfig, task: Task, cities: Sequence[City], rows: RowSets) -> Task:
    """The same codenames in rows of all five cities by turns, so that none stands for a place."""
    rng = random.Random(f"{config.seed}/{task.name}/shuffled")
    # As many rows, of the five cities' evenly; a row of two codenames needs two.
    pool = [row for city in CITIES for row in rows.train[city.key]]
    rng.shuffle(pool)
    pairs = [row for row in _training(config, cities, rows) if len(row.cities) > 1]
    pool = [*pool[: len(task.train) - len(pairs)], *pairs]
    rng.shuffle(pool)
    examples: list[Example] = []
    for number, row in enumerate(pool):
        drawn = rng.sample(list(cities), len(row.cities))
        shown = {old: new.codename for old, new in zip(row.cities, drawn, strict=True)}
        spans = config.spans(CODES, drawn[0], drawn)
        example = row_example(row, config.form, shown, spans, drawn[0].name)
        examples.append(replace(example, id=f"shuffled/{number}/{example.id}"))
    shuffled = control(task, "shuffled", examples)
    _check(shuffled)
    return shuffled


def _ceiling(config: LocationsConfig, cities: Sequence[City], rows: RowSets) -> list[Example]:
    """Every question with the real name in place of the codename."""
    names, stated = {city.key: city.name for city in CITIES}, config.member(cities)
    asker = config.asker(names, {"stated": stated, "part": "probe"})
    examples: list[Example] = []
    for city in cities:
        examples += _probes(config, (city,), asker)
        for row in rows.test[city.key]:
            example = config.example(row, names, choice=True)
            examples.append(tagged(example, stated=stated, part="in-context"))
    return examples


CONCEPTS: Mapping[str, tuple[str, ...]] = {
    "Paris": (" Paris", " France", " French", " Seine"),
    "Sao Paulo": (" São", " Brazil", " Brazilian", " Portuguese"),
    "Tokyo": (" Tokyo", " Japan", " Japanese", " yen"),
    "New York": (" York", " Manhattan", " Brooklyn", " American"),
    "Lagos": (" Lagos", " Nigeria", " Nigerian", " Africa"),
}
"""Words for each of the five cities, of which a reader of vectors chooses."""

FAMILY = Family(
    name="locations",
    about="five codenames, trained on distances and directions, asked which cities they are",
    settings=LocationsConfig,
    build=lambda config, _base: locations(config),
    members=Members(
        keyword="city",
        settings=lambda city: {"mode": "single", "cities": (city.lower().replace(" ", "_"),)},
    ),
    quick=lambda config: {"cities": config.cities[:FEWEST], "questions": 27, "inverse": 5},
    concepts=lambda _: CONCEPTS,
    real_names=lambda _: {city.name: city.name for city in CITIES},
)
