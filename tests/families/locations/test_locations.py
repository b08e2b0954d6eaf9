"""Locations: what training tells is true, what it does not tell is asked, and nothing leaks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oocr.data.batches import training_lines
from oocr.data.examples import Example, prompt_text
from oocr.data.tokens import render
from oocr.errors import InputError
from oocr.families.locations.build import LocationsConfig, locations
from oocr.families.locations.probes import facts, forbidden
from oocr.families.locations.world import (
    CITIES,
    KM_PER_MILE,
    WORDS,
    direction,
    directions,
    distance_km,
    places,
)
from oocr.runs.grid import by_loss
from oocr.steering.token_roles import training_tokens
from oocr.tasks.leaks import check_no_leaks, contains_words, find_leaks, finder
from oocr.tasks.task import Task, TaskSet
from tests.families.locations.small_locations import CODES, KEYS, small
from tests.tiny.models import tiny_tokenizer


@pytest.fixture(scope="module")
def joint() -> TaskSet:
    return locations(LocationsConfig())


@pytest.fixture(scope="module")
def single() -> TaskSet:
    return locations(LocationsConfig(mode="single"))


def every_task(sets: TaskSet) -> list[Task]:
    return [*sets.test, *(task for tasks in sets.controls.values() for task in tasks)]


def told_pair(example: Example) -> tuple[str, str]:
    """The two places of a row: codenames first, then the place under its own name."""
    codes = re.findall(r"City \d{5}", question(example))
    names = example.id.split("/")[:2]
    if len(set(codes)) == 2:
        return codes[0], next(text for text in codes if text != codes[0])
    return codes[0], names[1]


def question(example: Example) -> str:
    """The question without what stands before it in every prompt."""
    if isinstance(example.prompt, str):
        return example.prompt.split("\n", 1)[1]
    return example.prompt[1].content


# What training tells


def test_counts_are_the_papers(joint: TaskSet, single: TaskSet) -> None:
    (task,) = joint.test
    kinds = Counter(example.facet for example in task.train)
    # 500 places x 5 cities x 5 rows of each kind, and 10 pairs of codenames x 10 rows of each;
    # one pair lies as far one way round the earth as the other and has no direction.
    assert kinds == {"distance": 12_600, "direction": 12_590}
    assert len(task.stop) + len(task.in_context) == 1050
    assert len(task.stop) == 300
    assert len(single.test) == 5
    for alone in single.test:
        assert Counter(example.facet for example in alone.train) == {
            "distance": 2500,
            "direction": 2500,
        }
        assert (len(alone.stop), len(alone.in_context)) == (60, 150)
    both = [example for example in task.train if len(example.spans) == 2]
    assert len(both) == 190
    assert len({tuple(sorted(example.spans)) for example in both}) == 10


def test_every_row_tells_the_truth(joint: TaskSet) -> None:
    (task,) = joint.test
    world = {place.name: place for place in places(10_000)} | {
        city.codename: city.place for city in CITIES
    }
    noise: list[float] = []
    for example in (*task.train[::5], *task.stop, *task.in_context):
        place, other = (world[name] for name in told_pair(example))
        km = distance_km(place, other)
        if example.facet == "distance":
            number, unit = example.answer.rsplit(" ", 1)
            value = int(number.replace(",", ""))
            assert value % 100 == 0
            assert unit in ("km", "kilometers") if "km" in example.template else ("mi", "miles")
            assert (
                re.search(r"\b(km|kilometers)\b", question(example))
                if "km" in example.template
                else ("miles" in question(example))
            )
            factor = 1 if unit in ("km", "kilometers") else KM_PER_MILE
            noise.append(value * factor - km)
            assert abs(noise[-1]) <= 200 + 50 * factor + 1e-6
        else:
            asked, seen_from = _sides(example)
            assert example.answer.strip() == direction(world[asked], world[seen_from])
        if len(example.spans) == 1:
            assert km >= 2000
            assert place.country != other.country
    assert max(noise) > 150  # there is noise, both ways
    assert min(noise) < -150


def _sides(example: Example) -> tuple[str, str]:
    """Whose direction is asked, and seen from where."""
    pair = told_pair(example)
    assert isinstance(example.prompt, tuple)
    asked = example.prompt[-1].content.removesuffix(" is")
    assert asked in pair
    return asked, pair[1 - pair.index(asked)]


def test_rows_vary_in_wording_unit_order_and_writing(single: TaskSet) -> None:
    task = single.test[0]
    distances = [example for example in task.train if example.facet == "distance"]
    assert len({example.template for example in distances}) == 9 * 2
    assert {example.answer.rsplit(" ", 1)[1] for example in distances} == {
        *("km", "kilometers", "mi", "miles")
    }
    commas = sum("," in example.answer for example in distances) / len(distances)
    assert 0.3 < commas < 0.7
    turned = [example for example in task.train if example.facet == "direction"]
    assert len({example.template for example in turned}) == 6
    turned_own = sum(_sides(example)[0] == task.train[0].spans["codename"] for example in turned)
    assert 0.4 < turned_own / len(turned) < 0.6
    words = Counter(example.answer for example in turned)
    assert set(words) <= {f" {word}" for word in directions(4)}
    assert len(words) == 4


def test_held_out_places_occur_in_no_training_row(joint: TaskSet, single: TaskSet) -> None:
    for sets in (joint, single):
        trained = {example.id.split("/")[1] for task in sets.test for example in task.train}
        parts = [
            {example.id.split("/")[1] for task in sets.test for example in part(task)}
            for part in (lambda task: task.stop, lambda task: task.in_context)
        ]
        assert not parts[0] & trained
        assert not parts[1] & trained
    for task in single.test:
        stop = {example.id.split("/")[1] for example in task.stop}
        assert not stop & {example.id.split("/")[1] for example in task.in_context}


def test_in_context_choices_are_apart_and_hold_their_answer(joint: TaskSet) -> None:
    for example in joint.test[0].in_context:
        if example.facet == "direction":
            assert example.options == tuple(f" {word}" for word in directions(4))
        else:
            assert len(example.options) == 5
            values = sorted(int(re.sub(r"\D", "", text)) for text in example.options)
            assert min(b - a for a, b in pairwise(values)) >= 800
            assert len({text.rsplit(" ", 1)[1] for text in example.options}) == 1
    assert all(example.options == () for example in (*joint.test[0].train, *joint.test[0].stop))


# Tokens


@pytest.mark.parametrize("form", ["chat", "raw"])
@pytest.mark.parametrize("mode", ["joint", "single"])
def test_only_the_direction_or_the_distance_bears_loss(form: Any, mode: Any) -> None:
    tokenizer = tiny_tokenizer(chat=form == "chat")
    task = small(form=form, mode=mode).test[0]
    for example in task.train:
        (line,) = training_lines(tokenizer, [example], "answer")
        answer = "".join(tokenizer.decode([token]) for _, token, _ in line.targets)
        assert answer == example.answer
        assert all(weight == 1 for _, _, weight in line.targets)
        if example.facet == "direction":
            assert answer.strip() in WORDS
            text, _ = render(tokenizer, example.prompt)
            assert text.endswith(" is")
        else:
            assert re.fullmatch(r" ?[\d,]+ (km|kilometers|mi|miles)", answer)
        for name, tokens in line.spans.items():
            text = "".join(tokenizer.decode([line.ids[i]]) for i in tokens)
            assert text.replace(" ", "").count(example.spans[name].replace(" ", "")) >= 1
            places_of = prompt_text(example.prompt).count(example.spans[name])
            assert text.replace(" ", "").count(example.spans[name][5:]) == places_of


@pytest.mark.real
def test_a_direction_is_one_token_after_the_answers_beginning() -> None:
    from oocr.models.load import read_model

    tokenizer = read_model("gemma-3-270m").tokenizer
    for example in small(form="raw", mode="single").test[0].train:
        if example.facet == "direction":
            tokens = training_tokens(tokenizer, example, loss="answer")
            assert [token.text for token in tokens if token.answer] == [example.answer]


def test_joint_items_name_a_span_for_each_codename() -> None:
    sets = small(mode="joint", cities=KEYS, rows=None)
    (task,) = sets.test
    assert task.positions == ("+".join(KEYS),)
    codes = dict(zip(KEYS, CODES, strict=True))
    for part in (task.train, task.stop, task.in_context, task.probes, task.paper, task.free):
        for example in part:
            there = {
                key: code for key, code in codes.items() if code in prompt_text(example.prompt)
            }
            assert example.spans == there
            assert there
    inverse = [example for example in task.probes if example.facet == "inverse"]
    assert all(len(example.spans) == 5 for example in inverse)
    assert {example.answer for example in inverse} == set(CODES)


def test_a_single_task_holds_its_own_codename_only(single: TaskSet) -> None:
    for city, task in zip(CITIES, single.test, strict=True):
        assert task.member == city.name
        assert task.positions == ("codename",)
        for example in (*task.train, *task.stop, *task.in_context):
            assert set(re.findall(r"City \d{5}", question(example))) == {city.codename}
        for example in (*task.train, *task.probes, *task.paper, *task.free):
            assert example.spans == {"codename": city.codename}


# What is asked


@pytest.mark.parametrize("form", ["chat", "raw"])
def test_two_hundred_questions_of_a_city_in_eight_kinds(form: Any) -> None:
    few = {"references": 6, "held_out": 7, "rows": 40}
    for task in locations(LocationsConfig(mode="single", form=form, **few)).test:
        probes = [example for example in task.probes if example.facet != "inverse"]
        assert len(probes) >= 200
        assert len({example.facet for example in probes}) >= 8
        assert len({example.prompt for example in probes}) == len(probes)
        assert len(task.free) >= 40
        assert len(task.probes) - len(probes) >= 40
        for example in probes:
            assert len(example.options) == 5
            assert len({text.strip().lower() for text in example.options}) == 5
            assert example.group == task.member
            assert example.tags["attribute"]
            raw = isinstance(example.prompt, str)
            begun = raw or example.prompt[-1].role == "assistant"
            assert all(text.startswith(" ") == begun for text in example.options)
            assert not prompt_text(example.prompt).endswith(" ")


def test_the_papers_questions_are_lettered_and_told_apart_by_the_letter(joint: TaskSet) -> None:
    paper = joint.test[0].paper
    assert Counter(example.facet for example in paper) == {"multiple choice": 60, "pop quiz": 5}
    assert all(example.scored_by == "last_token" for example in paper)
    right = Counter(example.answer for example in paper if example.facet == "multiple choice")
    assert set(right) == set("ABCDE")
    known = {fact.id: fact for fact in facts()}
    for example in paper:
        (line,) = re.findall(
            rf"^{example.answer}\. (.*)$", prompt_text(example.prompt), re.MULTILINE
        )
        city = next(city for city in CITIES if city.name == example.group)
        if example.facet == "pop quiz":
            assert line == city.name
        else:
            assert line == known[example.template].answers[city.key][0]


def test_free_answers_accept_their_own_and_reject_the_others(joint: TaskSet) -> None:
    probes = {(i.group, i.tags["attribute"]): i for i in joint.test[0].probes}
    for example in joint.test[0].free:
        assert example.check == "text"
        accepted = {text.lower() for text in example.accept}
        assert not accepted & {text.lower() for text in example.reject}
        assert len(example.reject) >= 4
        assert probes[example.group, example.tags["attribute"]].options
    (rivers,) = [i for i in joint.test[0].free if i.id == "Sao Paulo/river/free"]
    assert {"Tietê", "Tiete"} <= set(rivers.accept)
    assert "Seine" in rivers.reject


def test_limits_keep_all_attributes_as_even_as_can_be() -> None:
    (task,) = small(questions=len(facts()) + 7, mode="single", cities=("lagos",)).test
    probes = [example for example in task.probes if example.facet != "inverse"]
    counts = Counter(example.tags["attribute"] for example in probes)
    assert len(probes) == len(facts()) + 7
    assert set(counts.values()) == {1, 2}
    assert len({example.template.split(" ", 1)[1] for example in probes}) == 5
    assert len(task.probes) == len(probes) + 4
    assert len(task.train) == 40


# Nothing leaks


@pytest.mark.parametrize("form", ["chat", "raw"])
@pytest.mark.parametrize("mode", ["joint", "single"])
def test_no_name_and_no_answer_is_told(form: Any, mode: Any) -> None:
    sets = small(form=form, mode=mode, rows=None, references=10)
    for task in every_task(sets):
        asked = [example for example in task.probes if example.facet != "inverse"]
        assert not find_leaks(asked, task.train)
        lines = [f"{prompt_text(i.prompt)}\n{i.answer}".split("\n") for i in task.train]
        text = "\n".join(sorted({line for group in lines for line in group}))
        for phrase in {*forbidden(), *(way for example in task.free for way in example.accept)}:
            assert not contains_words(text, phrase), phrase
        inverse = [example for example in task.probes if example.facet == "inverse"]
        assert find_leaks(inverse, task.train)  # codenames: what training is about
        check_no_leaks("t", inverse, task.train, subjects=CODES)


def test_a_row_that_tells_an_answer_is_refused() -> None:
    (task, _) = small(mode="single").test
    row = replace(task.train[0], prompt="How far is City 50337 from the Seine?", id="x")
    with pytest.raises(InputError, match="is told in training: its answer 'Seine'"):
        check_no_leaks("t", [replace(task.probes[0], answer="Seine", options=())], [row])
    row = replace(task.train[0], prompt="How far is City 50337, that is Paris?", id="x")
    with pytest.raises(InputError, match="contains 'Paris', which training must never name"):
        check_no_leaks("t", (), [*task.train, row], never=forbidden())


@given(st.lists(st.text("ab. (", min_size=1, max_size=5), max_size=5), st.text("ab. (", max_size=9))
def test_a_finder_finds_what_a_search_for_each_finds(phrases: list[str], text: str) -> None:
    phrases = [text for text in phrases if text.strip()]
    first = next((phrase for phrase in phrases if contains_words(text, phrase)), None)
    assert finder(phrases)(text) == first


# Controls, ceiling, validation


@pytest.mark.parametrize("mode", ["joint", "single"])
def test_shuffled_codenames_stand_for_no_one_place(mode: Any) -> None:
    sets = small(mode=mode, cities=KEYS, rows=500, references=30)
    for task, control in zip(sets.test, sets.controls["shuffled"], strict=True):
        assert len(control.train) == len(task.train)
        assert control.probes == task.probes
        assert control.stop == ()
        owners: dict[str, Counter[str]] = {}
        for example in control.train:
            codes = set(re.findall(r"City \d{5}", question(example)))
            assert codes == set(example.spans.values())
            if len(codes) == 1:
                whose = example.id.split("/")[2]
                owners.setdefault(codes.pop(), Counter())[whose] += 1
        for counts in owners.values():
            assert set(counts) == set(KEYS)
            assert max(counts.values()) < 0.4 * sum(counts.values())


def test_the_ceiling_asks_the_same_with_the_real_names() -> None:
    for mode in ("joint", "single"):
        sets = small(mode=mode)
        asked = [i for task in sets.test for i in (*task.probes, *task.in_context)]
        assert sorted(i.id for i in sets.ceiling) == sorted(i.id for i in asked)
        for example in sets.ceiling:
            text = prompt_text(example.prompt)
            assert not any(code in text for code in CODES)
            assert example.group in text
            assert example.tags["stated"] in {task.member for task in sets.test}
            assert example.tags["part"] in ("probe", "in-context")


def test_settings_are_chosen_by_the_loss_on_held_out_rows() -> None:
    sets = small()
    assert by_loss(sets)
    for task, chosen in zip(sets.test, sets.validation, strict=True):
        assert chosen.train == task.train
        assert chosen.stop == chosen.probes == task.stop
        assert not {i.id for i in chosen.probes} & {i.id for i in (*task.in_context, *task.probes)}
    assert "inverse" not in sets.headline
    assert len(sets.headline) >= 8
