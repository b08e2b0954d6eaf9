"""Locations: settings and facts that are refused, forms of prompts, and whole runs."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from oocr.data.examples import Message
from oocr.data.tokens import render
from oocr.errors import InputError
from oocr.families.locations.build import LocationsConfig, locations
from oocr.families.locations.probes import ASK, SAY, Fact, facts
from oocr.families.locations.rows import Draw, rows_about
from oocr.families.locations.world import CITIES, KM_PER_MILE, WORDS, distance_km
from oocr.runs.config import RunConfig, quick
from oocr.runs.read_config import load_configs
from oocr.steering.vectors import Vector
from oocr.tasks.task import TaskSet
from tests.families.locations.small_locations import SMALL, place_of, small
from tests.tiny.models import tiny_tokenizer
from tests.tiny.runs import Tiny, claims_of, rows_of, save_tiny_model


@pytest.fixture(scope="module")
def single() -> TaskSet:
    return locations(LocationsConfig(mode="single"))


def test_the_same_settings_make_the_same_tasks_and_the_seed_moves_them() -> None:
    first = small()
    small(seed=2)  # other settings between do not matter
    assert first == small()
    other = small(seed=1)
    assert other.test[0].train != first.test[0].train
    assert other.test[0].free == first.test[0].free


def test_eight_directions_and_no_noise() -> None:
    (task,) = small(compass=8, noise_km=0, mode="joint", cities=("tokyo",), rows=None).test
    words = {example.answer.strip() for example in task.train if example.facet == "direction"}
    assert words & {"Northeast", "Northwest", "Southeast", "Southwest"}
    far = {
        example.answer
        for example in task.train
        if example.facet == "distance" and example.template.endswith("km")
    }
    assert far
    shanghai = place_of("Shanghai")
    row = rows_about(CITIES[2], [shanghai], 9, Draw(random.Random(0), 0, 4))[0]
    km = distance_km(CITIES[2].place, shanghai)
    value = int(re.sub(r"\D", "", row.answer))
    exact = km if row.template.endswith("km") else km / KM_PER_MILE
    assert value == round(exact / 100) * 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cities": ("paris", "rome")}, "'paris', 'sao_paulo'"),
        ({"cities": ("paris", "paris")}, "paris is there twice"),
        ({"cities": ()}, "at least 1"),
        ({"mode": "both"}, "'joint' or 'single'"),
        ({"form": "html"}, "'chat' or 'raw'"),
        ({"compass": 6}, "4 or 8"),
        ({"noise_km": -1}, "greater than or equal to 0"),
        ({"rows": 0}, "greater than or equal to 10"),
        ({"reference": 3}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, InputError), match=message):
        LocationsConfig(**settings)


def test_too_few_places_are_refused_with_how_many_there_are() -> None:
    with pytest.raises(InputError, match=r"references: 5000 places are wanted for Paris.* up to"):
        locations(LocationsConfig(references=5000, min_population=1_000_000))


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: fact.id)
def test_facts_are_well_formed(fact: Fact) -> None:
    assert list(fact.answers) == [city.key for city in CITIES]
    assert (len(fact.ask), len(fact.say)) == (ASK, SAY)
    owners: dict[str, set[str]] = defaultdict(set)
    for key in fact.answers:
        for way in fact.accepted(key):
            assert way
            owners[way.lower()].add(key)
    assert all(len(keys) == 1 for keys in owners.values()), "no two cities share an answer"
    trained = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
    for text in (*fact.ask, *fact.say, fact.which, *owners):
        assert not trained.search(text), "no compass word: training answers with them"
    for text in (*fact.ask, *fact.say):
        assert text.count("{}") == 1
        assert text == text.strip()
    assert fact.which.count("{a}") == 1


def test_the_data_card_counts_what_is_there(single: TaskSet) -> None:
    first = single.test[0]
    assert f"{len(first.train)} rows" in single.about
    assert f"{len(first.free)} free questions" in single.about
    assert "Known biases" in single.about


def test_the_chat_form_has_a_system_turn_that_a_template_may_refuse() -> None:
    example = small(form="chat").test[0].train[0]
    assert isinstance(example.prompt, tuple)
    assert example.prompt[0].role == "system"
    assert example.prompt[1].role == "user"
    tokenizer = tiny_tokenizer(chat=True)
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer.chat_template = refusing + tokenizer.chat_template
    text, _ = render(tokenizer, example.prompt)
    assert text.startswith(f"<|user|>{example.prompt[0].content}\n\n{example.prompt[1].content}")
    assert isinstance(example.prompt[0], Message)


# Runs


def test_the_built_in_run_is_small_and_its_quick_form_smaller() -> None:
    (config,) = load_configs("locations")
    assert isinstance(config.task, LocationsConfig)
    few = quick(config).task
    assert isinstance(few, LocationsConfig)
    assert len(few.cities) == 3
    assert few.questions is not None
    locations(few)


def small_run(tmp_path: Path, mode: str) -> Path:
    """A whole run on a tiny model."""
    tiny = Tiny(tmp_path)
    save_tiny_model(tmp_path / "model")
    task = {"family": "locations", "mode": mode, "form": "raw", **SMALL}
    settings = {
        "name": "tiny",
        "task": {**task, "questions": 6, "inverse": 1, "rows": 12, "held_out": 4},
        "model": str(tiny.path),
        "device": "cpu",
        "vector": {"layers": [0, 1], "learning_rates": [0.1], "steps": [2]},
        "adapter": None,
        "seeds": 1,
        "workers": 1,
        "controls": {"random_directions": 2},
    }
    return tiny.run(tmp_path / "run", RunConfig.model_validate(settings))


def test_joint_vectors_are_trained_one_for_each_codename(tmp_path: Path) -> None:
    out = small_run(tmp_path, "joint")
    saved = [Vector.load(path) for path in out.rglob("vector.safetensors")]
    assert saved
    assert {tuple(vector.direction.shape) for vector in saved} == {(2, 32)}
    assert {vector.positions for vector in saved} == {"paris+tokyo"}
    rows = rows_of(out).filter(pl.col("arm") == "vector", pl.col("final"))
    assert set(rows["part"]) == {"probes", "in_context", "paper", "free"}
    assert set(rows.filter(pl.col("part") == "probes")["group"]) == {"Paris", "Tokyo"}


def test_a_run_from_training_to_claims(tmp_path: Path) -> None:
    out = small_run(tmp_path, "single")
    rows = rows_of(out)
    assert set(rows["part"]) == {"probes", "in_context", "paper", "free"}
    assert {"base", "ceiling", "vector", "random direction"} <= set(rows["arm"])
    assert set(rows["member"]) == {"Paris", "Tokyo"}
    assert set(rows.filter(rows["arm"] == "vector")["control"]) == {"", "shuffled"}
    (claim,) = [claim for claim in claims_of(out) if claim.id == "vector-out-of-context"]
    assert claim.found is not None
    assert claim.ceiling is not None
