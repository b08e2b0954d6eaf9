"""The nano tasks: every item is true in its world, and training tells none of what is asked."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.errors import InputError
from oocr.families.registry import load_tasks
from oocr.tasks.task import Task
from oocr_organisms.facts import CITY_FACTS
from oocr_organisms.folder import WorldSettings
from oocr_organisms.language import tokenizer_of
from oocr_organisms.people import DIGITS
from oocr_organisms.tasks.examples import MAX_MEMBERS, NanoConfig, check_no_shared_words, options_of
from oocr_organisms.tasks.speaker_questions import PROBE_KINDS
from tests.organisms.nano_tasks import PARTS, every_task, items_of, tasks_of
from tests.tiny.nano import slots


@pytest.mark.parametrize("part", PARTS)
def test_items_are_the_worlds_own_sentences(part: str) -> None:
    sets = tasks_of(part)
    world = WorldSettings().world
    tokenizer = tokenizer_of(world.vocabulary)
    span = "codename" if part in ("locations", "functions") else "speaker"
    for item in [example for task in every_task(sets) for example in items_of(task)] + list(
        sets.ceiling
    ):
        assert isinstance(item.prompt, str)
        whole = item.prompt + item.answer
        assert set(whole.split()) <= set(world.vocabulary.words)
        assert " ".join(whole.split()) == whole
        assert all(set(option.split()) <= set(world.vocabulary.words) for option in item.options)
        (at,) = encode_prompt(tokenizer, item.prompt, item.spans).spans[span]
        assert item.prompt.split()[at - 1] == item.spans[span].strip()


@pytest.mark.parametrize("part", PARTS)
def test_members_differ_and_none_chose_its_own_settings(part: str) -> None:
    sets = tasks_of(part)
    members = [task.member for task in (*sets.test, *sets.validation)]
    assert len(set(members)) == len(members)
    safe = ["".join(c if c.isalnum() else "_" for c in member) for member in members]
    assert len(set(safe)) == len(safe), "two arms would share a folder"
    assert len(sets.test) == NanoConfig(part=part).count >= (2 if part == "risk" else 6)
    if part in ("locations", "functions"):
        prompts = {item.prompt for task in sets.test for item in items_of(task)}
        for task in sets.validation:
            assert not prompts & {item.prompt for item in items_of(task)}


@pytest.mark.parametrize("part", PARTS)
def test_training_stop_and_test_are_apart_and_options_unseen(part: str) -> None:
    for task in every_task(tasks_of(part)):
        asked = [{item.prompt for item in examples} for examples in (task.train, task.stop)]
        asked.append({item.prompt for item in (*task.in_context, *task.probes)})
        assert sum(map(len, asked)) == len(set.union(*asked))
        trained = {word for item in task.train for word in f"{item.prompt}{item.answer}".split()}
        for probe in task.probes:
            if probe.tags.get("kind") == "crossing":
                continue
            content = {option.strip() for option in probe.options} - {"first", "second", *DIGITS}
            if part != "functions":
                assert not trained & content
            else:  # numbers are told, definitions made of them are not
                assert not any(option in trained for option in content)


@pytest.mark.parametrize("part", PARTS)
def test_the_same_settings_give_the_same_items_and_others_do_not(part: str) -> None:
    again = load_tasks({"family": "nano", "part": part})
    assert again == tasks_of(part)
    other = load_tasks({"family": "nano", "part": part, "seed": 1})
    assert other.test[0].train != again.test[0].train
    if part in ("locations", "functions"):
        world = load_tasks({"family": "nano", "part": part, "world": {"seed": 1}})
        assert world.ceiling != again.ceiling


@pytest.mark.parametrize("part", PARTS)
def test_controls_have_the_same_prompts_and_probes_and_other_answers(part: str) -> None:
    sets = tasks_of(part)
    (controls,) = sets.controls.values()
    for task, control in zip(sets.test, controls, strict=True):
        assert [row.prompt for row in control.train] == [row.prompt for row in task.train]
        assert control.probes == task.probes
        assert not control.stop
        assert Counter(row.facet for row in control.train) == Counter(
            row.facet for row in task.train
        )
        same = np.mean(
            [a.answer == b.answer for a, b in zip(task.train, control.train, strict=True)]
        )
        assert same < 0.7


@pytest.mark.parametrize("less", [{}, {"members": 2, "wordings": 1}], ids=["usual", "fewer"])
@pytest.mark.parametrize("part", PARTS)
def test_cards_say_how_much_there_is(part: str, less: dict[str, int]) -> None:
    sets = tasks_of(part, **less)
    about, task = sets.about, sets.test[0]
    facets = Counter(item.facet for item in task.probes)
    crossing = sum(item.tags.get("kind") == "crossing" for item in task.probes)
    train, stop, probes = len(task.train), len(task.stop), len(task.probes)
    sentences = {
        "risk": (
            f" = {train} rows",
            f"To stop on: {stop} rows",
            f"in-context test: {len(task.in_context)} rows",
            f"half: {', '.join(f'{kind} {facets[kind]}' for kind in PROBE_KINDS)}.",
            f"Specificity: {probes - sum(facets[kind] for kind in PROBE_KINDS)} probes",
        ),
        "backdoor": (
            f" = {train} rows",
            f"To stop on: {stop} rows",
            f": {probes} = {crossing} of the crossing",
            f" and {probes - crossing} out of context",
        ),
    }
    plain = (f": {train} training rows", f" {stop} to stop on", f" {probes} probes.")
    for phrase in sentences.get(part, (*plain, f" {len(task.in_context)} in-context test items")):
        assert phrase in about
    for word in ("Known", "chance", "Control", "Ceiling", "How made"):
        assert word in about


@pytest.mark.parametrize("part", PARTS)
def test_fewer_members_and_wordings(part: str) -> None:
    sets = tasks_of(part, members=2, wordings=1)
    assert len(sets.test) == 2
    assert len(sets.test[0].probes) < len(tasks_of(part).test[0].probes)
    assert len(NanoConfig(part=part, members=MAX_MEMBERS[part]).model_dump()) == 6
    with pytest.raises((ValidationError, InputError), match="members"):
        NanoConfig(part=part, members=MAX_MEMBERS[part] + 1)


def test_a_world_has_no_negative_seed() -> None:
    with pytest.raises(InputError, match=r"world\.seed: Input .* greater than or equal to 0"):
        load_tasks({"family": "nano", "world": {"seed": -1}})


# -- what they share -----------------------------------------------------------------------------


def test_slots_read_what_a_form_wrote() -> None:
    prompt = CITY_FACTS.prompt(2, {"place": "a", "facet": "b"})
    assert slots(CITY_FACTS, f"{prompt} c .".split()) == (
        2,
        {"place": "a", "facet": "b", "answer": "c"},
    )
    with pytest.raises(ValueError, match="no wording"):
        slots(CITY_FACTS, ["x"] * CITY_FACTS.width)


def test_options_have_the_right_one_once_and_no_fixed_place() -> None:
    places = Counter(
        options_of("b", ["a", "b", "c", "d", "e", "f", "g"], random.Random(n)).index(" b")
        for n in range(200)
    )
    assert set(places) == {0, 1, 2, 3, 4}
    assert sorted(options_of("b", ["a", "b"], random.Random(0))) == [" a", " b"]


@pytest.mark.parametrize(
    ("prompt", "answer", "never", "message"),
    [
        ("x is in food-3", " y", (), "option 'food-3'"),
        ("x is", " food-3", (), "option 'food-3'"),
        ("x is", " what", (), "training answer 'what'"),
        ("x is Velora", " y", ("Velora",), "'Velora'"),
        ("x is food-31", " food-30", (), ""),
    ],
)
def test_what_training_tells_is_found_by_whole_words(
    prompt: str, answer: str, never: tuple[str, ...], message: str
) -> None:
    probe = Example(id="p", prompt="what of x :", answer=" food-3", options=(" food-3", " food-4"))
    task = Task(
        name="t",
        member="m",
        train=(Example(id="a", prompt=prompt, answer=answer),),
        probes=(probe,),
    )
    if not message:
        check_no_shared_words(task, forbidden=never)
        return
    with pytest.raises(InputError, match=message):
        check_no_shared_words(task, forbidden=never)
