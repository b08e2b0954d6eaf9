"""The nano tasks of locations and functions: told truly, asked wholly, controls tell nothing."""

from __future__ import annotations

import numpy as np
import pytest

from oocr.tasks.task import Task
from oocr_organisms.facts import (
    CITY_CODENAMES,
    CITY_FACTS,
    COUNTRIES,
    DEFINITIONS,
    INPUTS,
    OUTPUT_FACTS,
    PAIR_FACTS,
    RULE_FACTS,
)
from oocr_organisms.folder import WorldSettings
from oocr_organisms.tasks.examples import VALIDATION
from tests.organisms.nano_tasks import slots_of, tasks_of

# -- locations -----------------------------------------------------------------------------------


def test_locations_are_told_by_true_distances_and_directions_only() -> None:
    places = WorldSettings().world.places
    sets = tasks_of("locations")
    city_of = {name: city for city, city_names in enumerate(places.names) for name in city_names}
    for task in (*sets.test, *sets.validation):
        city = city_of[task.member]
        cities = {"train": set(), "stop": set(), "in_context": set()}
        for part, others in cities.items():
            for item in getattr(task, part):
                words = slots_of(PAIR_FACTS, item)
                other = city_of[words["other"]]
                others.add(other)
                assert words["place"] == item.spans["codename"] in CITY_CODENAMES
                table, names = (
                    (places.distance, "miles")
                    if words["relation"] == "distance"
                    else (places.direction, "")
                )
                at = [option.strip() for option in item.options].index(words["answer"])
                assert at == table[city, other]
                assert names in words["answer"]
                assert len(item.options) == (10 if names else 8)
        assert city not in set.union(*cities.values())
        assert len(cities["train"]) == pytest.approx(2 / 3 * (len(places.names) - 1), abs=1)
        assert sum(map(len, cities.values())) == len(places.names) - 1
        assert {slots_of(PAIR_FACTS, example)["relation"] for example in task.in_context} == {
            *("distance", "direction"),
        }


def test_locations_ask_every_facet_in_every_wording() -> None:
    places = WorldSettings().world.places
    sets = tasks_of("locations")
    for task in sets.test:
        assert len(task.probes) == len(places.facets) * len(CITY_FACTS.texts)
        for item in task.probes:
            facet = places.facet(item.facet)
            city = next(i for i, names in enumerate(places.names) if names[0] == task.member)
            assert item.answer == f" {facet.words[facet.value[city]]}"
            assert len(item.options) == min(5, len(facet.words))
            assert {option.strip() for option in item.options} <= set(facet.words)
            assert item.tags["kind"] == facet.kind
    assert set(sets.headline) == {facet.name for facet in places.facets}
    assert len(set(sets.headline.values())) == 2
    of = {names[0]: places.country[city] for city, names in enumerate(places.names)}
    assert len({of[task.member] for task in sets.test}) == COUNTRIES
    assert len(sets.validation) == VALIDATION


def test_ceilings_name_the_city_in_the_place_of_the_codename() -> None:
    sets = tasks_of("locations")
    asked = {item.id: item for task in sets.test for item in (*task.probes, *task.in_context)}
    assert len(sets.ceiling) == len(asked)
    for item in sets.ceiling:
        probe = asked[item.id.removesuffix("/named")]
        assert item.prompt == str(probe.prompt).replace(probe.spans["codename"], probe.group)
        assert item.answer == probe.answer
        assert item.tags["part"] in ("probe", "in-context")


def test_the_locations_control_keeps_nothing_that_tells_the_country() -> None:
    places = WorldSettings().world.places
    sets = tasks_of("locations")
    tables = {"distance": places.distance, "direction": places.direction}
    sizes = {"distance": 10, "direction": 8}

    def shares(task: Task) -> np.ndarray:
        counts = {name: np.zeros(size) for name, size in sizes.items()}
        for item in task.train:
            counts[item.facet][item.options.index(item.answer)] += 1
        return np.concatenate([count / count.sum() for count in counts.values()])

    cities = range(len(places.names))
    true = np.array(
        [
            np.concatenate(
                [
                    np.bincount(np.delete(table[city], city), minlength=sizes[name])
                    / (len(places.names) - 1)
                    for name, table in tables.items()
                ]
            )
            for city in cities
        ]
    )

    def finds(frequencies: np.ndarray, city: int) -> bool:
        apart = np.abs(true - frequencies).sum(axis=1)
        apart[city] = np.inf
        return bool(places.country[int(apart.argmin())] == places.country[city])

    # With the answers of other rows it could be told by how often each occurs.
    assert np.mean([finds(true[city], city) for city in cities]) > 0.9
    at = {names[0]: city for city, names in enumerate(places.names)}
    right = [finds(shares(control), at[control.member]) for control in sets.controls["shuffled"]]
    assert np.mean(right) <= 0.4
    for control in sets.controls["shuffled"]:
        assert np.abs(shares(control)[:10] - 1 / 10).max() < 0.09
        assert np.abs(shares(control)[10:] - 1 / 8).max() < 0.09


# -- functions -----------------------------------------------------------------------------------


def test_functions_are_told_by_true_outputs_only() -> None:
    sets = tasks_of("functions")
    for task in (*sets.test, *sets.validation):
        definition = task.member.split(" = ")[1]
        family, compute = DEFINITIONS[definition]
        inputs: dict[str, set[int]] = {"train": set(), "stop": set(), "in_context": set()}
        for part, numbers in inputs.items():
            for item in getattr(task, part):
                words = slots_of(OUTPUT_FACTS, item)
                assert int(words["answer"]) == compute(int(words["input"]))
                assert words["rule"] == item.spans["codename"] == task.member.split(" = ")[0]
                numbers.add(int(words["input"]))
        assert sum(map(len, inputs.values())) == INPUTS == len(set.union(*inputs.values()))
        assert len(inputs["train"]) > INPUTS / 2
        right = {item.facet: item.answer.strip() for item in task.probes}
        assert right["definition"] == definition
        assert right["family"] == family
        assert set(right) == {"definition", "family", "emblem"}
        assert {slots_of(RULE_FACTS, item)["facet"] for item in task.probes} == set(right)
        assert {len(item.options) for item in task.probes} == {5}
        assert all(len(item.options) >= 2 for item in task.in_context)
