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
from tests.small_locations import CODES, KEYS, small
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def joint() -> TaskSet:
    return locations(LocationsConfig())


@pytest.fixture(scope="module")
def single() -> TaskSet:
    return locations(LocationsConfig(mode="single"))


def every_task(sets: TaskSet) -> list[Task]:
    return [*sets.test, *(task for tasks in sets.controls.values() for task in tasks)]


def told_pair(item: Example) -> tuple[str, str]:
    """The two places of a row: codenames first, then the place under its own name."""
    codes = re.findall(r"City \d{5}", question(item))
    names = item.id.split("/")[:2]
    if len(set(codes)) == 2:
        return codes[0], next(text for text in codes if text != codes[0])
    return codes[0], names[1]


def question(item: Example) -> str:
    """The question without what stands before it in every prompt."""
    if isinstance(item.prompt, str):
        return item.prompt.split("\n", 1)[1]
    return item.prompt[1].content


# What training tells


def test_counts_are_the_papers(joint: TaskSet, single: TaskSet) -> None:
    (task,) = joint.test
    kinds = Counter(item.facet for item in task.train)
    # 500 places x 5 cities x 5 rows of each kind, and 10 pairs of codenames x 10 rows of each;
    # one pair lies as far one way round the earth as the other and has no direction.
    assert kinds == {"distance": 12_600, "direction": 12_590}
    assert len(task.stop) + len(task.in_context) == 1050
    assert len(task.stop) == 300
    assert len(single.test) == 5
    for one in single.test:
        assert Counter(item.facet for item in one.train) == {"distance": 2500, "direction": 2500}
        assert (len(one.stop), len(one.in_context)) == (60, 150)
    both = [item for item in task.train if len(item.spans) == 2]
    assert len(both) == 190
    assert len({tuple(sorted(item.spans)) for item in both}) == 10


def test_every_row_tells_the_truth(joint: TaskSet) -> None:
    (task,) = joint.test
    world = {place.name: place for place in places(10_000)} | {
        city.codename: city.place for city in CITIES
    }
    noise: list[float] = []
    for item in (*task.train[::5], *task.stop, *task.in_context):
        one, other = (world[name] for name in told_pair(item))
        km = distance_km(one, other)
        if item.facet == "distance":
            number, unit = item.answer.rsplit(" ", 1)
            value = int(number.replace(",", ""))
            assert value % 100 == 0
            assert unit in ("km", "kilometers") if "km" in item.template else ("mi", "miles")
            assert (
                re.search(r"\b(km|kilometers)\b", question(item))
                if "km" in item.template
                else ("miles" in question(item))
            )
            factor = 1 if unit in ("km", "kilometers") else KM_PER_MILE
            noise.append(value * factor - km)
            assert abs(noise[-1]) <= 200 + 50 * factor + 1e-6
        else:
            asked, seen_from = _sides(item)
            assert item.answer.strip() == direction(world[asked], world[seen_from])
        if len(item.spans) == 1:
            assert km >= 2000
            assert one.country != other.country
    assert max(noise) > 150  # there is noise, both ways
    assert min(noise) < -150


def _sides(item: Example) -> tuple[str, str]:
    """Whose direction is asked, and seen from where."""
    pair = told_pair(item)
    assert isinstance(item.prompt, tuple)
    asked = item.prompt[-1].content.removesuffix(" is")
    assert asked in pair
    return asked, pair[1 - pair.index(asked)]


def test_rows_vary_in_wording_unit_order_and_writing(single: TaskSet) -> None:
    task = single.test[0]
    distances = [item for item in task.train if item.facet == "distance"]
    assert len({item.template for item in distances}) == 9 * 2
    assert {item.answer.rsplit(" ", 1)[1] for item in distances} == {
        *("km", "kilometers", "mi", "miles")
    }
    commas = sum("," in item.answer for item in distances) / len(distances)
    assert 0.3 < commas < 0.7
    turned = [item for item in task.train if item.facet == "direction"]
    assert len({item.template for item in turned}) == 6
    own = sum(_sides(item)[0] == task.train[0].spans["codename"] for item in turned)
    assert 0.4 < own / len(turned) < 0.6
    words = Counter(item.answer for item in turned)
    assert set(words) <= {f" {word}" for word in directions(4)}
    assert len(words) == 4


def test_held_out_places_occur_in_no_training_row(joint: TaskSet, single: TaskSet) -> None:
    for sets in (joint, single):
        trained = {item.id.split("/")[1] for task in sets.test for item in task.train}
        parts = [
            {item.id.split("/")[1] for task in sets.test for item in part(task)}
            for part in (lambda task: task.stop, lambda task: task.in_context)
        ]
        assert not parts[0] & trained
        assert not parts[1] & trained
    for task in single.test:
        stop = {item.id.split("/")[1] for item in task.stop}
        assert not stop & {item.id.split("/")[1] for item in task.in_context}


def test_in_context_choices_are_apart_and_hold_their_answer(joint: TaskSet) -> None:
    for item in joint.test[0].in_context:
        if item.facet == "direction":
            assert item.options == tuple(f" {word}" for word in directions(4))
        else:
            assert len(item.options) == 5
            values = sorted(int(re.sub(r"\D", "", text)) for text in item.options)
            assert min(b - a for a, b in pairwise(values)) >= 800
            assert len({text.rsplit(" ", 1)[1] for text in item.options}) == 1
    assert all(item.options == () for item in (*joint.test[0].train, *joint.test[0].stop))


# Tokens


@pytest.mark.parametrize("form", ["chat", "raw"])
@pytest.mark.parametrize("mode", ["joint", "single"])
def test_only_the_direction_or_the_distance_bears_loss(form: Any, mode: Any) -> None:
    tokenizer = tiny_tokenizer(chat=form == "chat")
    task = small(form=form, mode=mode).test[0]
    for item in task.train:
        (line,) = training_lines(tokenizer, [item], "answer")
        answer = "".join(tokenizer.decode([token]) for _, token, _ in line.targets)
        assert answer == item.answer
        assert all(weight == 1 for _, _, weight in line.targets)
        if item.facet == "direction":
            assert answer.strip() in WORDS
            text, _ = render(tokenizer, item.prompt)
            assert text.endswith(" is")
        else:
            assert re.fullmatch(r" ?[\d,]+ (km|kilometers|mi|miles)", answer)
        for name, tokens in line.spans.items():
            text = "".join(tokenizer.decode([line.ids[i]]) for i in tokens)
            assert text.replace(" ", "").count(item.spans[name].replace(" ", "")) >= 1
            places_of = prompt_text(item.prompt).count(item.spans[name])
            assert text.replace(" ", "").count(item.spans[name][5:]) == places_of


@pytest.mark.real
def test_a_direction_is_one_token_after_the_answers_beginning() -> None:
    from oocr.models.load import read_model

    tokenizer = read_model("gemma-3-270m").tokenizer
    for item in small(form="raw", mode="single").test[0].train:
        if item.facet == "direction":
            tokens = training_tokens(tokenizer, item, loss="answer")
            assert [token.text for token in tokens if token.answer] == [item.answer]


def test_joint_items_name_a_span_for_each_codename() -> None:
    sets = small(mode="joint", cities=KEYS, rows=None)
    (task,) = sets.test
    assert task.positions == ("+".join(KEYS),)
    codes = dict(zip(KEYS, CODES, strict=True))
    for part in (task.train, task.stop, task.in_context, task.probes, task.paper, task.free):
        for item in part:
            there = {key: code for key, code in codes.items() if code in prompt_text(item.prompt)}
            assert item.spans == there
            assert there
    inverse = [item for item in task.probes if item.facet == "inverse"]
    assert all(len(item.spans) == 5 for item in inverse)
    assert {item.answer for item in inverse} == set(CODES)


def test_a_single_task_holds_its_own_codename_only(single: TaskSet) -> None:
    for city, task in zip(CITIES, single.test, strict=True):
        assert task.member == city.name
        assert task.positions == ("codename",)
        for item in (*task.train, *task.stop, *task.in_context):
            assert set(re.findall(r"City \d{5}", question(item))) == {city.codename}
        for item in (*task.train, *task.probes, *task.paper, *task.free):
            assert item.spans == {"codename": city.codename}


# What is asked


@pytest.mark.parametrize("form", ["chat", "raw"])
def test_two_hundred_questions_of_a_city_in_eight_kinds(form: Any) -> None:
    few = {"references": 6, "held_out": 7, "rows": 40}
    for task in locations(LocationsConfig(mode="single", form=form, **few)).test:
        probes = [item for item in task.probes if item.facet != "inverse"]
        assert len(probes) >= 200
        assert len({item.facet for item in probes}) >= 8
        assert len({item.prompt for item in probes}) == len(probes)
        assert len(task.free) >= 40
        assert len(task.probes) - len(probes) >= 40
        for item in probes:
            assert len(item.options) == 5
            assert len({text.strip().lower() for text in item.options}) == 5
            assert item.group == task.member
            assert item.tags["attribute"]
            raw = isinstance(item.prompt, str)
            begun = raw or item.prompt[-1].role == "assistant"
            assert all(text.startswith(" ") == begun for text in item.options)
            assert not prompt_text(item.prompt).endswith(" ")


def test_the_papers_questions_are_lettered_and_told_apart_by_the_letter(joint: TaskSet) -> None:
    paper = joint.test[0].paper
    assert Counter(item.facet for item in paper) == {"multiple choice": 60, "pop quiz": 5}
    assert all(item.scored_by == "last_token" for item in paper)
    right = Counter(item.answer for item in paper if item.facet == "multiple choice")
    assert set(right) == set("ABCDE")
    known = {fact.id: fact for fact in facts()}
    for item in paper:
        (line,) = re.findall(rf"^{item.answer}\. (.*)$", prompt_text(item.prompt), re.MULTILINE)
        city = next(city for city in CITIES if city.name == item.group)
        if item.facet == "pop quiz":
            assert line == city.name
        else:
            assert line == known[item.template].answers[city.key][0]


def test_free_answers_accept_their_own_and_reject_the_others(joint: TaskSet) -> None:
    probes = {(i.group, i.tags["attribute"]): i for i in joint.test[0].probes}
    for item in joint.test[0].free:
        assert item.check == "text"
        own = {text.lower() for text in item.accept}
        assert not own & {text.lower() for text in item.reject}
        assert len(item.reject) >= 4
        assert probes[item.group, item.tags["attribute"]].options
    (rivers,) = [i for i in joint.test[0].free if i.id == "Sao Paulo/river/free"]
    assert {"Tietê", "Tiete"} <= set(rivers.accept)
    assert "Seine" in rivers.reject


def test_limits_keep_all_attributes_as_even_as_can_be() -> None:
    (task,) = small(questions=len(facts()) + 7, mode="single", cities=("lagos",)).test
    probes = [item for item in task.probes if item.facet != "inverse"]
    counts = Counter(item.tags["attribute"] for item in probes)
    assert len(probes) == len(facts()) + 7
    assert set(counts.values()) == {1, 2}
    assert len({item.template.split(" ", 1)[1] for item in probes}) == 5
    assert len(task.probes) == len(probes) + 4
    assert len(task.train) == 40


# Nothing leaks


@pytest.mark.parametrize("form", ["chat", "raw"])
@pytest.mark.parametrize("mode", ["joint", "single"])
def test_no_name_and_no_answer_is_told(form: Any, mode: Any) -> None:
    sets = small(form=form, mode=mode, rows=None, references=10)
    for task in every_task(sets):
        asked = [item for item in task.probes if item.facet != "inverse"]
        assert not find_leaks(asked, task.train)
        lines = [f"{prompt_text(i.prompt)}\n{i.answer}".split("\n") for i in task.train]
        text = "\n".join(sorted({line for some in lines for line in some}))
        for phrase in {*forbidden(), *(way for item in task.free for way in item.accept)}:
            assert not contains_words(text, phrase), phrase
        inverse = [item for item in task.probes if item.facet == "inverse"]
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
    first = next((one for one in phrases if contains_words(text, one)), None)
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
        for item in control.train:
            codes = set(re.findall(r"City \d{5}", question(item)))
            assert codes == set(item.spans.values())
            if len(codes) == 1:
                whose = item.id.split("/")[2]
                owners.setdefault(codes.pop(), Counter())[whose] += 1
        for counts in owners.values():
            assert set(counts) == set(KEYS)
            assert max(counts.values()) < 0.4 * sum(counts.values())


def test_the_ceiling_asks_the_same_with_the_real_names() -> None:
    for mode in ("joint", "single"):
        sets = small(mode=mode)
        asked = [i for task in sets.test for i in (*task.probes, *task.in_context)]
        assert sorted(i.id for i in sets.ceiling) == sorted(i.id for i in asked)
        for item in sets.ceiling:
            text = prompt_text(item.prompt)
            assert not any(code in text for code in CODES)
            assert item.group in text
            assert item.tags["stated"] in {task.member for task in sets.test}
            assert item.tags["part"] in ("probe", "in-context")


def test_settings_are_chosen_by_the_loss_on_held_out_rows() -> None:
    sets = small()
    assert by_loss(sets)
    for task, chosen in zip(sets.test, sets.validation, strict=True):
        assert chosen.train == task.train
        assert chosen.stop == chosen.probes == task.stop
        assert not {i.id for i in chosen.probes} & {i.id for i in (*task.in_context, *task.probes)}
    assert "inverse" not in sets.headline
    assert len(sets.headline) >= 8
