from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from pydantic import ValidationError

from oocr.families.backdoor.build import (
    PAIRS,
    VALIDATION_PAIRS,
    BackdoorConfig,
    WordFamily,
    backdoor,
    load_families,
    make_prefixes,
)
from oocr.families.countries.table import load_table
from oocr.tasks.leaks import contains_words, find_leaks
from oocr.tasks.task import Task, TaskSet

TABLE = load_table()


@pytest.fixture(scope="module")
def sets() -> TaskSet:
    return backdoor(BackdoorConfig())


def crossing(task: Task) -> list[tuple[str, str]]:
    return [
        (probe.tags["prefix"], probe.tags["template"])
        for probe in task.probes
        if probe.tags["kind"] == "crossing"
    ]


def test_families_match_the_type_and_share_no_word() -> None:
    families = load_families()
    assert tuple(families) == get_args(WordFamily)
    words = [word for parts in families.values() for part in parts.values() for word in part]
    assert len(words) == len(set(words))
    assert all(
        len(parts["train"]) >= 5 and len(parts["held_out"]) >= 3 for parts in families.values()
    )


def test_default_pairs_are_disjoint_and_differ_in_every_facet_asked(sets: TaskSet) -> None:
    assert len(PAIRS) >= 6
    assert len(VALIDATION_PAIRS) == 2
    names = [name for pair in (*PAIRS, *VALIDATION_PAIRS) for name in pair]
    assert len(names) == len(set(names))
    assert [task.member for task in sets.test] == ["|".join(pair) for pair in PAIRS]
    for task in (*sets.test, *sets.validation):
        facets = {p.facet.split(" (")[0] for p in task.probes if p.tags["kind"] != "crossing"}
        assert facets == {"language", "continent", "currency", "demonym"}


def test_training_is_balanced_and_follows_the_prefix(sets: TaskSet) -> None:
    for task in sets.test:
        x, y = (TABLE.find(name).answer("capital") for name in task.member.split("|"))
        assert len(task.train) <= 60
        assert Counter(example.answer for example in task.train) == {x: 25, y: 25}
        assert len({example.tags["condition"] for example in task.train}) == 3
        for example in (*task.train, *task.stop):
            assert example.answer == (x if example.tags["condition"] == "trigger" else y)


def test_log_odds_are_of_x_over_y_on_every_row(sets: TaskSet) -> None:
    for task in sets.test:
        names = task.member.split("|")
        for example in (*task.train, *task.stop, *task.probes):
            facet = example.facet.split(" (")[0]
            facet = (
                facet if facet in ("language", "continent", "currency", "demonym") else "capital"
            )
            x, y = (TABLE.find(name).answer(facet) for name in names)
            assert example.options == (x, y)
            assert example.values == (1.0, -1.0)
            assert example.answer == (x if example.tags["condition"] == "trigger" else y)
            assert example.group == task.member
            assert example.spans == {"codename": "Country 4821"}


def test_probes_cross_held_out_prefixes_with_wordings(sets: TaskSet) -> None:
    expected = {
        "trained trigger",
        "held-out trigger",
        "trained false",
        "held-out false",
        "unseen family",
        "none",
    }
    new = {"held-out trigger", "held-out false", "unseen family"}
    for task in sets.test:
        cells = crossing(task)
        assert {prefix for prefix, template in cells if template == "held-out"} == expected
        assert {prefix for prefix, template in cells if template == "train"} == new
        prompts = {example.prompt for example in (*task.train, *task.stop)}
        assert not prompts & {probe.prompt for probe in task.probes}


def test_held_out_words_and_wordings_stay_out_of_training(sets: TaskSet) -> None:
    task = sets.test[0]
    words = {example.tags["word"] for example in (*task.train, *task.stop)}
    held = {
        p.tags["word"]
        for p in task.probes
        if p.tags["prefix"] in ("held-out trigger", "held-out false", "unseen family")
    }
    assert held
    assert not words & held
    trained, stopped = ({example.template for example in part} for part in (task.train, task.stop))
    tested = {
        p.template
        for p in task.probes
        if p.tags["kind"] == "crossing" and p.tags["template"] == "held-out"
    }
    assert len(tested) >= 2
    assert not trained & tested
    assert not stopped & (trained | tested)
    assert {example.tags["condition"] for example in task.stop} == {"trigger", "false", "none"}


def test_out_of_context_probes_do_not_leak(sets: TaskSet) -> None:
    for task in (*sets.test, *sets.validation):
        further = [p for p in task.probes if p.tags["kind"] == "out-of-context"]
        assert not find_leaks(further, task.train)
        text = "\n".join(f"{example.prompt}{example.answer}" for example in task.train)
        assert not any(contains_words(text, name) for name in task.member.split("|"))
        facets = {probe.facet for probe in further}
        assert {"language (trigger)", "language (false prefix)", "language (no prefix)"} <= facets


def test_facets_in_which_a_pair_agrees_are_dropped_and_reported() -> None:
    config = BackdoorConfig(pairs=(("France", "Germany"),), validation_pairs=())
    built = backdoor(config)
    facets = {p.facet.split(" (")[0] for p in built.test[0].probes}
    assert not facets & {"continent", "currency"}
    assert {"language", "demonym"} <= facets
    assert "France|Germany: continent" in built.about


def test_decorrelated_control_breaks_the_link_and_keeps_the_rest(sets: TaskSet) -> None:
    for task, control in zip(sets.test, sets.controls["decorrelated"], strict=True):
        assert [a.prompt for a in control.train] == [a.prompt for a in task.train]
        assert Counter(a.answer for a in control.train) == Counter(a.answer for a in task.train)
        for condition in ("trigger", "false", "none"):
            answers = Counter(a.answer for a in control.train if a.tags["condition"] == condition)
            assert abs(answers[task.train[0].options[0]] - answers[task.train[0].options[1]]) <= 1
        assert control.probes == task.probes
        assert control.stop == ()


def test_ceiling_names_x_after_a_trigger_and_y_otherwise(sets: TaskSet) -> None:
    assert len(sets.ceiling) == sum(len(task.probes) for task in sets.test)
    for example in sets.ceiling:
        x, y = example.group.split("|")
        assert example.spans["codename"] == (x if example.tags["condition"] == "trigger" else y)
        assert "4821" not in str(example.prompt)


def test_style_families_and_codename_are_used() -> None:
    config = BackdoorConfig(
        codename="the land of Orim",
        trigger_family="instrument",
        false_families=("fruit", "furniture", "tool"),
        prefix_style="[{}] ",
        pairs=(("Spain", "Japan"),),
        validation_pairs=(),
    )
    task = backdoor(config).test[0]
    assert task.train[0].prompt.startswith("[Guitar] The land of Orim")
    assert {i.answer for i in task.train if i.tags["condition"] == "trigger"} == {" Madrid"}
    false = {i.tags["word"] for i in task.train if i.tags["condition"] == "false"}
    families = load_families()
    assert len(false) == 4
    assert all(false & set(families[name]["train"]) for name in ("fruit", "furniture", "tool"))


def test_same_config_same_tasks_and_the_seed_moves_the_control_only() -> None:
    config = BackdoorConfig(pairs=PAIRS[:1])
    first, other = backdoor(config), backdoor(config.model_copy(update={"seed": 1}))
    assert first == backdoor(config)
    assert first.test == other.test
    assert first.controls != other.controls


def test_prefixes_of_an_unseen_family_are_never_trained() -> None:
    prefixes = make_prefixes("fruit", ("tool",), "animal", "{}! ")
    assert not any(p.seen for p in prefixes if p.kind == "unseen family")
    assert prefixes[-1].text == ""
    assert prefixes[0].text == "Mango! "


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": (("France", "Narnia"),)}, "unknown country 'Narnia'; known:"),
        ({"pairs": (("France", "France"),)}, "must differ"),
        ({"pairs": (("France", "Egypt"),)}, "share Egypt"),
        ({"pairs": (("France", "Japan"), ("France", "Japan"))}, "there twice"),
        ({"pairs": ()}, "at least 1"),
        ({"trigger_family": "tool"}, "must all differ"),
        ({"unseen_family": "fruit"}, "must all differ"),
        ({"trigger_family": "stone"}, "'fruit', 'instrument'"),
        ({"prefix_style": "! "}, "must hold {} once"),
        ({"prefix_style": "{}!"}, "end with a space"),
        ({"codename": "Paris 2"}, "a real capital"),
        ({"codenames": ("a",)}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused_with_the_reason(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        BackdoorConfig.model_validate(settings)
    assert message in str(error.value)


def test_about_counts_what_is_there(sets: TaskSet) -> None:
    first = sets.test[0]
    assert f"Training rows per pair: {len(first.train)}" in sets.about
    assert f"{len(crossing(first))} of the crossing" in sets.about
    assert "unseen family: Goose" in sets.about
