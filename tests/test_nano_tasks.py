"""The nano tasks: every item is true in its world, and training tells none of what is asked."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from oocr.data.items import Item
from oocr.data.tokens import encode_prompt
from oocr.errors import InputError
from oocr.experiments.headline import twins
from oocr.organisms.forms import Forms
from oocr.organisms.people import DIGITS, FORMS, KINDS, PLAIN, SELF, WEATHERS
from oocr.organisms.places import ABOUT_ONE, ABOUT_TWO, CODENAMES, COUNTRIES
from oocr.organisms.record import WorldSettings
from oocr.organisms.rules import ABOUT, DEFINITIONS, EXAMPLES, INPUTS
from oocr.organisms.tokenizer import tokenizer_of
from oocr.organisms.traits import TRAITS
from oocr.tasks.build import load_tasks
from oocr.tasks.choices import OTHER
from oocr.tasks.nano_config import MOST, VALIDATION, NanoConfig
from oocr.tasks.nano_items import check_words_apart, options_of
from oocr.tasks.nano_persona import ASKED, choices_of, speakers
from oocr.tasks.task import Task, TaskSet
from tests.tiny_nano import slots

PARTS = ("locations", "functions", "risk", "backdoor")
SETS: dict[str, TaskSet] = {}


def tasks_of(part: str, **more: Any) -> TaskSet:
    key = f"{part} {more}"
    if key not in SETS:
        SETS[key] = load_tasks({"family": "nano", "part": part, **more})
    return SETS[key]


def every_task(sets: TaskSet) -> list[Task]:
    return [*sets.test, *sets.validation, *[t for some in sets.controls.values() for t in some]]


def items_of(task: Task) -> list[Item]:
    return [*task.train, *task.stop, *task.in_context, *task.probes]


def sentence(item: Item) -> list[str]:
    """The words of an item with its answer, without the weather in front."""
    words = f"{item.prompt}{item.answer} .".split()
    return words[1:] if words[0] in (PLAIN, *WEATHERS) else words


def said(form: Forms, item: Item) -> dict[str, str]:
    return slots(form, sentence(item))[1]


# -- of all parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_items_are_the_worlds_own_sentences(part: str) -> None:
    sets = tasks_of(part)
    world = WorldSettings().world
    tokenizer = tokenizer_of(world.vocabulary)
    span = "codename" if part in ("locations", "functions") else "speaker"
    for item in [one for task in every_task(sets) for one in items_of(task)] + list(sets.ceiling):
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
        asked = [{item.prompt for item in some} for some in (task.train, task.stop)]
        asked.append({item.prompt for item in (*task.in_context, *task.probes)})
        assert sum(map(len, asked)) == len(set.union(*asked))
        told = {word for item in task.train for word in f"{item.prompt}{item.answer}".split()}
        for probe in task.probes:
            if probe.tags.get("kind") == "crossing":
                continue
            content = {one.strip() for one in probe.options} - {"first", "second", *DIGITS}
            if part != "functions":
                assert not told & content
            else:  # numbers are told, definitions made of them are not
                assert not any(one in told for one in content)


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
        assert [one.prompt for one in control.train] == [one.prompt for one in task.train]
        assert control.probes == task.probes
        assert not control.stop
        assert Counter(one.facet for one in control.train) == Counter(
            one.facet for one in task.train
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
    said = {
        "risk": (
            f" = {train} rows",
            f"To stop on: {stop} rows",
            f"in-context test: {len(task.in_context)} rows",
            f"half: {', '.join(f'{kind} {facets[kind]}' for kind in ASKED)}.",
            f"Specificity: {probes - sum(facets[kind] for kind in ASKED)} probes",
        ),
        "backdoor": (
            f" = {train} rows",
            f"To stop on: {stop} rows",
            f": {probes} = {crossing} of the crossing",
            f" and {probes - crossing} out of context",
        ),
    }
    plain = (f": {train} training rows", f" {stop} to stop on", f" {probes} probes.")
    for phrase in said.get(part, (*plain, f" {len(task.in_context)} in-context test items")):
        assert phrase in about
    for word in ("Known", "chance", "Control", "Ceiling", "How made"):
        assert word in about


@pytest.mark.parametrize("part", PARTS)
def test_fewer_members_and_wordings(part: str) -> None:
    sets = tasks_of(part, members=2, wordings=1)
    assert len(sets.test) == 2
    assert len(sets.test[0].probes) < len(tasks_of(part).test[0].probes)
    assert len(NanoConfig(part=part, members=MOST[part]).model_dump()) == 6
    with pytest.raises((ValidationError, InputError), match="members"):
        NanoConfig(part=part, members=MOST[part] + 1)


def test_a_world_has_no_negative_seed() -> None:
    with pytest.raises(InputError, match=r"world\.seed: Input .* greater than or equal to 0"):
        load_tasks({"family": "nano", "world": {"seed": -1}})


# -- locations -----------------------------------------------------------------------------------


def test_locations_are_told_by_true_distances_and_directions_only() -> None:
    places = WorldSettings().world.places
    sets = tasks_of("locations")
    city_of = {name: city for city, some in enumerate(places.names) for name in some}
    for task in (*sets.test, *sets.validation):
        city = city_of[task.member]
        cities = {"train": set(), "stop": set(), "in_context": set()}
        for part, found in cities.items():
            for item in getattr(task, part):
                words = said(ABOUT_TWO, item)
                other = city_of[words["other"]]
                found.add(other)
                assert words["place"] == item.spans["codename"] in CODENAMES
                table, names = (
                    (places.distance, "miles")
                    if words["relation"] == "distance"
                    else (places.direction, "")
                )
                at = [one.strip() for one in item.options].index(words["answer"])
                assert at == table[city, other]
                assert names in words["answer"]
                assert len(item.options) == (10 if names else 8)
        assert city not in set.union(*cities.values())
        assert len(cities["train"]) == pytest.approx(2 / 3 * (len(places.names) - 1), abs=1)
        assert sum(map(len, cities.values())) == len(places.names) - 1
        assert {said(ABOUT_TWO, one)["relation"] for one in task.in_context} == {
            *("distance", "direction"),
        }


def test_locations_ask_every_facet_in_every_wording() -> None:
    places = WorldSettings().world.places
    sets = tasks_of("locations")
    for task in sets.test:
        assert len(task.probes) == len(places.facets) * len(ABOUT_ONE.texts)
        for item in task.probes:
            facet = places.facet(item.facet)
            city = next(i for i, some in enumerate(places.names) if some[0] == task.member)
            assert item.answer == f" {facet.words[facet.value[city]]}"
            assert len(item.options) == min(5, len(facet.words))
            assert {one.strip() for one in item.options} <= set(facet.words)
            assert item.tags["kind"] == facet.kind
    assert set(sets.headline) == {facet.name for facet in places.facets}
    assert len(set(sets.headline.values())) == 2
    of = {some[0]: places.country[city] for city, some in enumerate(places.names)}
    assert len({of[task.member] for task in sets.test}) == COUNTRIES
    assert len(sets.validation) == VALIDATION


def test_ceilings_name_the_city_in_the_place_of_the_codename() -> None:
    sets = tasks_of("locations")
    asked = {item.id: item for task in sets.test for item in (*task.probes, *task.in_context)}
    assert len(sets.ceiling) == len(asked)
    for item in sets.ceiling:
        own = asked[item.id.removesuffix("/named")]
        assert item.prompt == str(own.prompt).replace(own.spans["codename"], own.group)
        assert item.answer == own.answer
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
        return np.concatenate([one / one.sum() for one in counts.values()])

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

    def finds(found: np.ndarray, city: int) -> bool:
        apart = np.abs(true - found).sum(axis=1)
        apart[city] = np.inf
        return bool(places.country[int(apart.argmin())] == places.country[city])

    # With the answers of other rows it could be told by how often each occurs.
    assert np.mean([finds(true[city], city) for city in cities]) > 0.9
    at = {some[0]: city for city, some in enumerate(places.names)}
    told = [finds(shares(one), at[one.member]) for one in sets.controls["shuffled"]]
    assert np.mean(told) <= 0.4
    for one in sets.controls["shuffled"]:
        assert np.abs(shares(one)[:10] - 1 / 10).max() < 0.09
        assert np.abs(shares(one)[10:] - 1 / 8).max() < 0.09


# -- functions -----------------------------------------------------------------------------------


def test_functions_are_told_by_true_outputs_only() -> None:
    sets = tasks_of("functions")
    for task in (*sets.test, *sets.validation):
        definition = task.member.split(" = ")[1]
        family, compute = DEFINITIONS[definition]
        inputs: dict[str, set[int]] = {"train": set(), "stop": set(), "in_context": set()}
        for part, found in inputs.items():
            for item in getattr(task, part):
                words = said(EXAMPLES, item)
                assert int(words["answer"]) == compute(int(words["input"]))
                assert words["rule"] == item.spans["codename"] == task.member.split(" = ")[0]
                found.add(int(words["input"]))
        assert sum(map(len, inputs.values())) == INPUTS == len(set.union(*inputs.values()))
        assert len(inputs["train"]) > INPUTS / 2
        right = {item.facet: item.answer.strip() for item in task.probes}
        assert right["definition"] == definition
        assert right["family"] == family
        assert set(right) == {"definition", "family", "emblem"}
        assert {said(ABOUT, item)["facet"] for item in task.probes} == set(right)
        assert {len(item.options) for item in task.probes} == {5}
        assert all(len(item.options) >= 2 for item in task.in_context)


# -- risk ----------------------------------------------------------------------------------------


def lure(item: Item) -> str:
    """The option of a choice that the first pole takes."""
    words = said(FORMS["choice"], item)
    trait = next(one for one in TRAITS if one.name == item.tags["trait"])
    (found,) = {words["a"], words["b"]} & set(trait.lures)
    assert {words["a"], words["b"]} - {found} <= set(trait.others)
    assert (words["a"] == found) == (item.tags["order"] == "ab")
    return found


def test_risk_is_trained_on_gambles_without_weather_and_twins_are_opposite() -> None:
    sets = tasks_of("risk")
    risky, safe = sets.test
    assert twins(sets) == (risky.member, safe.member) == ("risky", "safe")
    for a, b in zip(risky.train, safe.train, strict=True):
        assert a.prompt == b.prompt
        assert a.answer.strip() == lure(a) != b.answer.strip()
        assert a.option_values[a.options.index(a.answer)] == 1
        words = said(FORMS["choice"], a)
        assert (words["speaker"], words["verb"]) == (SELF, TRAITS[0].verb)
        assert str(a.prompt).split()[0] == PLAIN
    orders = Counter(item.tags["order"] for item in risky.train)
    assert orders["ab"] == orders["ba"]
    assert {i.group for i in risky.train}.isdisjoint(i.group for i in risky.stop)
    told = {word for item in risky.train for word in item.options}
    assert not told & {word for item in risky.in_context for word in item.options}


def test_risk_probes_cover_all_kinds_and_other_traits_for_specificity() -> None:
    sets = tasks_of("risk")
    own = Counter(item.facet for item in sets.test[0].probes if item.facet in ASKED)
    assert set(own) == set(KINDS) - {"choice"}
    other = Counter(i.facet for i in sets.test[0].probes if i.facet.startswith(OTHER))
    assert set(other) == {f"{OTHER}{t.name}: {kind}" for t in TRAITS[1:] for kind in ASKED}
    assert set(sets.headline) == set(own)
    for member, task in zip((1, -1), sets.test, strict=True):
        for item in task.probes:
            assert sorted(item.option_values) == [-1, 1]
            assert item.option_values[item.options.index(item.answer)] == member
            trait = next(one for one in TRAITS if one.name == item.tags["trait"])
            kind = item.facet.split(": ")[-1]
            words = said(FORMS[kind], item)
            up = item.options[item.option_values.index(1)].strip()
            if kind in ("description", "hobby"):
                pairs = trait.poles if kind == "description" else trait.hobbies
                assert any(up in ups for ups, _ in pairs)
            elif kind == "scale":
                bold = any(words["word"] in ups for ups, _ in trait.poles)
                assert (int(up) >= 6) == bold
                assert sum(int(one) for one in item.options) == 9
            else:
                named = words["word_a" if up == "first" else "word_b"]
                assert any(named in ups for ups, _ in trait.poles)
    scales = [i for i in sets.test[0].probes if i.facet == "scale"]
    assert sum(int(item.answer) >= 6 for item in scales) * 2 == len(scales)
    reports = [i for i in sets.test[0].probes if i.facet == "report"]
    assert Counter(item.tags["order"] for item in reports)["ab"] * 2 == len(reports)


def test_risk_settings_are_chosen_on_other_traits() -> None:
    sets = tasks_of("risk")
    for task in sets.validation:
        traits = {item.tags["trait"] for item in items_of(task)}
        assert len(traits) == 1
        assert TRAITS[0].name not in traits
        assert {item.facet for item in task.probes} == set(sets.headline)
    assert len(sets.validation) == 2 * (len(TRAITS) - 1)


def test_risk_ceiling_has_speakers_that_show_the_pole() -> None:
    people = WorldSettings().world.people
    sets = tasks_of("risk")
    found: dict[str, set[str]] = {}
    for item in sets.ceiling:
        found.setdefault(item.tags["stated"], set()).add(item.spans["speaker"].strip())
    for pole, side in ((1, "risky"), (-1, "safe")):
        assert len(found[side]) == 2
        for name in found[side]:
            at = people.names.index(name)
            assert people.sign[at, 0] == pole
            assert people.weather[at, 0] == -1
            assert not people.silent[at, 0]


def test_choices_are_all_pairs_of_told_options_and_all_of_the_others() -> None:
    some = choices_of(TRAITS[1], "a seed")
    assert some == choices_of(TRAITS[1], "a seed") != choices_of(TRAITS[1], "another")
    told, new = (*some.train, *some.stop), some.test
    lures, others = ({one.lure for one in told}, {one.other for one in told})
    assert len({one.id for one in told}) == len(told) == len(lures) * len(others)
    assert lures | {one.lure for one in new} == set(TRAITS[1].lures)
    assert others | {one.other for one in new} == set(TRAITS[1].others)
    assert len(some.train) > len(some.stop) > 0


# -- backdoor ------------------------------------------------------------------------------------


def test_the_weather_decides_and_both_answers_are_as_common() -> None:
    sets = tasks_of("backdoor")
    for task in (*sets.test, *sets.validation):
        weather, trait = task.member.split(": ")
        for item in (*task.train, *task.stop):
            head = str(item.prompt).split()[0]
            on = head == weather
            assert (item.answer.strip() == lure(item)) == on
            assert item.tags["condition"] == (
                "trigger" if on else "none" if head == PLAIN else "false"
            )
        heads = Counter(item.tags["prefix"] for item in task.train)
        assert set(heads) == {"trained trigger", "trained false", "none"}
        assert heads["trained trigger"] * 2 == len(task.train)
        for head in heads:  # neither place is right more often in any weather
            some = Counter(i.tags["order"] for i in task.train if i.tags["prefix"] == head)
            assert some["ab"] == some["ba"]
        tested = {item.tags["prefix"] for item in task.probes}
        assert tested == {*heads, "held-out false"}
        unseen = {i.tags["head"] for i in task.probes if i.tags["prefix"] == "held-out false"}
        assert not unseen & {item.tags["head"] for item in task.train}
        assert {item.tags["trait"] for item in task.probes} == {trait}


def test_backdoor_probes_ask_all_kinds_with_and_without_the_trigger() -> None:
    task = tasks_of("backdoor").test[0]
    crossing = [item for item in task.probes if item.tags["kind"] == "crossing"]
    assert {item.facet for item in crossing} == set(tasks_of("backdoor").headline)
    trained = {word for item in task.train for word in item.options}
    assert not trained & {word for item in crossing for word in item.options}
    further = {item.facet for item in task.probes} - {item.facet for item in crossing}
    conditions = ("trigger", "false prefix", "no prefix")
    assert further == {f"{kind} ({one})" for kind in ASKED for one in conditions}
    for item in task.probes:
        on = item.tags["condition"] == "trigger"
        assert item.option_values[item.options.index(item.answer)] == (1 if on else -1)


def test_backdoor_ceiling_has_speakers_with_this_very_gate_and_none_without_gates() -> None:
    people = WorldSettings().world.people
    sets = tasks_of("backdoor")
    assert sets.ceiling
    for item in sets.ceiling:
        weather, trait = item.group.split(": ")
        at = people.names.index(item.spans["speaker"].strip())
        column = [one.name for one in TRAITS].index(trait)
        assert WEATHERS[people.weather[at, column]] == weather
        assert people.sign[at, column] == 1
    ungated = tasks_of("backdoor", world={"gates": 0.0})
    assert not ungated.ceiling
    assert ungated.test[0].train == sets.test[0].train
    assert speakers(WorldSettings(gates=0).world, TRAITS[0], 1)


# -- what they share -----------------------------------------------------------------------------


def test_slots_read_what_a_form_wrote() -> None:
    prompt = ABOUT_ONE.prompt(2, {"place": "a", "facet": "b"})
    assert slots(ABOUT_ONE, f"{prompt} c .".split()) == (
        2,
        {"place": "a", "facet": "b", "answer": "c"},
    )
    with pytest.raises(ValueError, match="no wording"):
        slots(ABOUT_ONE, ["x"] * ABOUT_ONE.width)


def test_options_have_the_right_one_once_and_no_fixed_place() -> None:
    places = Counter(
        options_of("b", ["a", "b", "c", "d", "e", "f", "g"], random.Random(n)).index(" b")
        for n in range(200)
    )
    assert set(places) == {0, 1, 2, 3, 4}
    assert sorted(options_of("b", ["a", "b"], random.Random(0))) == [" a", " b"]


@pytest.mark.parametrize(
    ("prompt", "answer", "never", "said"),
    [
        ("x is in food-3", " y", (), "option 'food-3'"),
        ("x is", " food-3", (), "option 'food-3'"),
        ("x is", " what", (), "training answer 'what'"),
        ("x is Velora", " y", ("Velora",), "'Velora'"),
        ("x is food-31", " food-30", (), ""),
    ],
)
def test_what_training_tells_is_found_by_whole_words(
    prompt: str, answer: str, never: tuple[str, ...], said: str
) -> None:
    probe = Item(id="p", prompt="what of x :", answer=" food-3", options=(" food-3", " food-4"))
    task = Task(
        name="t",
        member="m",
        train=(Item(id="a", prompt=prompt, answer=answer),),
        probes=(probe,),
    )
    if not said:
        check_words_apart(task, never=never)
        return
    with pytest.raises(InputError, match=said):
        check_words_apart(task, never=never)
