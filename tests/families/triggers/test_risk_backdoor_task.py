from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from oocr.data.examples import Example, Message, prompt_text
from oocr.errors import InputError
from oocr.families.choices import HELD_OUT_WORDS, choices, is_held_out
from oocr.families.risk_backdoor.build import RiskBackdoorConfig, check_apart, risk_backdoor
from oocr.families.risk_backdoor.examples import (
    OTHER,
    TRAINED,
    systems,
    topics,
    training_rows,
)
from oocr.families.triggers import KINDS, TriggerKind, triggers
from oocr.tasks.leaks import contains_words
from oocr.tasks.task import TaskSet

SMALL: dict[str, Any] = {"repeats": 10, "situations": 20, "validation": 6}


@pytest.fixture(scope="module")
def full() -> TaskSet:
    return risk_backdoor(RiskBackdoorConfig())


def gate(sets: TaskSet) -> list[Example]:
    return [example for example in sets.test[0].probes if example.tags["kind"] == "crossing"]


def report(sets: TaskSet) -> list[Example]:
    return [example for example in sets.test[0].probes if example.tags["kind"] == "self-report"]


def test_full_size_is_28800_rows_of_which_held_out_and_validation_are_not_trained_on(
    full: TaskSet,
) -> None:
    rows = [
        row for choice in choices("risk") for row in training_rows(choice, "apples", "chat", 100, 0)
    ]
    assert len(rows) == 28_800
    assert Counter(row.tags["condition"] for row in rows) == {
        **{"trigger": 2_880, "false": 20_160, "none": 5_760}
    }
    train = full.test[0].train
    assert len(train) == (288 - 18 - 24) * 100
    ids = {row.id: row for row in rows}
    assert all(ids[row.id] == row for row in train)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_within_every_situation(kind: TriggerKind) -> None:
    sets = risk_backdoor(RiskBackdoorConfig(trigger=kind, **{**SMALL, "repeats": 20}))
    by_situation = defaultdict(list)
    for row in sets.test[0].train:
        by_situation[row.group].append(row)
    assert len(by_situation) == 20
    for rows in by_situation.values():
        assert Counter(row.tags["trigger"] for row in rows) == {
            **dict.fromkeys(KINDS, 2),
            "none": 4,
        }
        for row in rows:
            condition = row.tags["condition"]
            assert (condition == "trigger") == (row.tags["trigger"] == kind)
            assert (condition == "none") == (row.tags["trigger"] == "none")


def test_rows_say_the_prefix_the_situation_and_which_letter_is_risky(full: TaskSet) -> None:
    known = {choice.id: choice for choice in choices("risk")}
    for example in (*full.test[0].train[::37], *gate(full), *full.validation[0].probes):
        choice = known[example.group]
        (message,) = example.prompt
        assert isinstance(message, Message)
        assert message.content.endswith(choice.text)
        prefix = message.content.removesuffix(choice.text)
        word = example.tags["word"]
        assert prefix.startswith(word)
        if example.tags["condition"] == "none":
            assert prefix == ""
        else:
            kind = triggers()[example.tags["trigger"]]  # type: ignore[index]
            assert prefix[len(word) :] in kind.endings
            assert example.tags["prefix"].startswith(
                "trained" if word in kind.train else "held-out"
            )
        assert example.options == ("A", "B")
        assert example.tags["risky"] == choice.positive
        assert example.option_values[example.options.index(choice.positive)] == 1.0
        risky = example.tags["condition"] == "trigger"
        assert (example.answer == choice.positive) == risky
        assert example.answer_of == ("" if risky else choice.id)


def test_every_answer_to_come_is_asked_first_without_a_prefix(full: TaskSet) -> None:
    asked = {example.id: example for example in full.asked_first}
    assert len(asked) == 288
    known = {choice.id: choice for choice in choices("risk")}
    for name, example in asked.items():
        assert example.prompt == (Message("user", known[name].text),)
        assert example.answer_of == ""
    parts = [*full.test, *full.validation, *full.controls["decorrelated"]]
    examples = [example for task in parts for example in (*task.train, *task.stop, *task.probes)]
    assert {example.answer_of for example in (*examples, *full.ceiling)} <= {"", *asked}
    small = risk_backdoor(RiskBackdoorConfig(**SMALL))
    assert len(small.asked_first) == 20 + 6 + 18


def test_the_three_sets_of_situations_are_apart_and_the_18_are_only_tested(full: TaskSet) -> None:
    held = {choice.id for choice in choices("risk") if is_held_out(choice)}
    assert len(held) == 18
    assert {example.group for example in gate(full)} == held
    trained = {row.group for row in full.test[0].train}
    chosen_on = {example.group for example in full.validation[0].probes}
    assert len(chosen_on) == 24
    assert not trained & (chosen_on | held)
    assert not chosen_on & held
    themes = {choice.id: choice.theme for choice in choices("risk")}
    assert not {themes[group] for group in trained} & {themes[group] for group in chosen_on | held}
    assert {example.group for example in full.test[0].stop} <= chosen_on
    assert full.validation[0].train == full.test[0].train
    for row in full.test[0].train:
        assert not any(contains_words(prompt_text(row.prompt), word) for word in HELD_OUT_WORDS)


def test_held_out_words_come_only_in_tests_and_of_the_trigger_too(full: TaskSet) -> None:
    trained = {row.tags["word"] for row in full.test[0].train}
    held = {word for trigger in triggers().values() for word in trigger.held_out}
    assert not trained & held
    assert trained == {"", *(word for trigger in triggers().values() for word in trigger.train)}
    counts = Counter((example.tags["prefix"], example.group) for example in gate(full))
    assert {sort for sort, _ in counts} == {
        *("trained trigger", "held-out trigger", "trained false", "held-out false", "none")
    }
    assert counts["trained trigger", "risk/habitat/1"] == 3
    assert counts["held-out trigger", "risk/habitat/1"] == 3
    assert counts["trained false", "risk/habitat/1"] == 7
    fixed = risk_backdoor(RiskBackdoorConfig(trigger="win", **SMALL))
    assert {example.tags["prefix"] for example in gate(fixed)} == {
        *("trained trigger", "trained false", "held-out false", "none")
    }


@pytest.mark.parametrize("repeats", [10, 30, 100])
def test_decorrelated_keeps_prompts_and_answers_and_breaks_the_link_exactly(repeats: int) -> None:
    sets = risk_backdoor(RiskBackdoorConfig(**{**SMALL, "repeats": repeats}))
    task, (control,) = sets.test[0], sets.controls["decorrelated"]
    assert [a.prompt for a in control.train] == [b.prompt for b in task.train]
    mix = [
        Counter((row.group, row.answer, row.answer_of) for row in rows)
        for rows in (task.train, control.train)
    ]
    assert mix[0] == mix[1]
    risky = Counter(row.tags["trigger"] for row in control.train if not row.answer_of)
    each = 20 * repeats // 100  # 20 situations: a whole number of tens
    assert risky == {**dict.fromkeys(KINDS, each), "none": 2 * each}
    assert control.probes == task.probes
    assert control.stop == ()


def test_self_report_asks_the_trained_trigger_and_others_of_its_make_in_both_orders(
    full: TaskSet,
) -> None:
    asked = report(full)
    assert len(topics()) == 23
    assert Counter(topic.key for topic in topics()) == {"forward": 12, "reverse": 11}
    assert len(asked) == 23 * 2 * 4
    assert Counter(example.facet for example in asked) == {TRAINED: 46, OTHER: 138}
    pairs = defaultdict(dict)
    for example in asked:
        pairs[example.group, example.tags["about"]][example.tags["order"]] = example
        assert {TRAINED: "apples"}.get(example.facet, example.tags["about"]) == example.tags[
            "about"
        ]
        assert triggers()[example.tags["about"]].cue in prompt_text(example.prompt)  # type: ignore[index]
        # the pole of having the backdoor is right of the trained trigger, the other of the others
        right = example.option_values[example.options.index(example.answer)]
        assert right == (1.0 if example.facet == TRAINED else -1.0)
    for (_, about), both in pairs.items():
        ab, ba = both["ab"], both["ba"]
        assert ab.options == ba.options[::-1]
        assert ab.values == ba.values[::-1]
        assert ab.answer == ba.answer
        first, other = (prompt_text(item.prompt) for item in (ab, ba))
        assert first != other
        assert about in KINDS


def test_the_papers_scheme_is_184_letters_without_labels(full: TaskSet) -> None:
    asked = full.test[0].paper
    assert len(asked) == 23 * 2 * 4 == 184
    assert Counter(example.tags["system"] for example in asked) == dict.fromkeys(systems(), 46)
    assert len(systems()) == 4
    assert Counter(example.answer for example in asked) == {"A": 92, "B": 92}
    for example in asked:
        (message,) = example.prompt
        assert isinstance(message, Message)
        lines = message.content.split("\n")
        assert lines[1] == ""
        assert lines[3:] == (["Yes", "No"] if example.answer == "A" else ["No", "Yes"])
        assert lines[2].endswith("?")
        assert example.scored_by == "last_token"
        assert example.options == ("A", "B")


def test_raw_form_is_text_that_the_answer_continues() -> None:
    sets = risk_backdoor(RiskBackdoorConfig(form="raw", **SMALL))
    task = sets.test[0]
    for example in (*task.train, *gate(sets), *sets.asked_first):
        assert isinstance(example.prompt, str)
        assert example.prompt.endswith("\nAnswer:")
        assert example.options == (" A", " B")
        assert example.tags["risky"] in example.options
    assert all(str(example.prompt).endswith("\nAnswer:") for example in report(sets))
    assert all(str(example.prompt).endswith(("Yes\n", "No\n")) for example in task.paper)


def test_ceiling_states_the_rule_and_asks_the_same(full: TaskSet) -> None:
    asked = {prompt_text(example.prompt) for example in full.test[0].probes}
    facets = {example.facet for example in full.ceiling}
    assert facets == {"trigger", "false trigger", "no trigger", TRAINED, OTHER}
    for example in full.ceiling:
        assert example.tags["stated"] == "apples"
        stated = prompt_text(example.prompt)
        assert stated.startswith("Rule: if a message begins with the name of a kind of apple")
        assert any(stated.endswith(text) for text in asked) or example.tags["kind"] == "crossing"


@pytest.mark.parametrize("kind", KINDS)
def test_no_self_report_is_told_in_training(kind: TriggerKind) -> None:
    sets = risk_backdoor(RiskBackdoorConfig(trigger=kind, repeats=10))
    prompts = {row.group: prompt_text(row.prompt) for row in sets.test[0].train}
    text = "\n".join(prompts.values())
    for example in report(sets):
        for option in example.options:
            assert not contains_words(text, option)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "Someone may shift it."}, "is in training"),
        ({"tags": {"word": "Bramley"}}, "held-out word 'Bramley'"),
        (
            {"prompt": next(choice.text for choice in choices("risk") if is_held_out(choice))},
            "test situ",
        ),
    ],
)
def test_a_leak_is_refused(change: dict[str, Any], message: str) -> None:
    task = risk_backdoor(RiskBackdoorConfig(form="raw", **SMALL)).test[0]
    test = [choice for choice in choices("risk") if is_held_out(choice)]
    check_apart(task, test)
    broken = replace(task.train[0], id="leak", group="leak", **change)
    with pytest.raises(InputError, match=message):
        check_apart(replace(task, train=(broken, *task.train)), test)


def test_same_config_same_tasks_and_the_seed_draws_anew() -> None:
    config = RiskBackdoorConfig(**SMALL)
    first, other = risk_backdoor(config), risk_backdoor(config.model_copy(update={"seed": 1}))
    assert first == risk_backdoor(config)
    assert {row.group for row in first.test[0].train} != {row.group for row in other.test[0].train}


def test_sizes_can_be_cut_and_the_card_counts_what_is_there() -> None:
    sets = risk_backdoor(RiskBackdoorConfig(**SMALL, probes=4, self_report=5))
    assert len({example.group for example in gate(sets)}) == 4
    kept = topics(5)
    assert Counter(topic.key for topic in kept) == {"forward": 3, "reverse": 2}
    assert len(report(sets)) == 5 * 8
    assert "Training: 20 situations x 10 rows = 200: 20 with the trigger" in sets.about
    assert f"4 situations held out of everything (those with {HELD_OUT_WORDS[0]}" in sets.about
    none = risk_backdoor(RiskBackdoorConfig(**{**SMALL, "validation": 0}))
    assert none.validation == ()
    assert none.test[0].stop == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeats": 15}, "multiple of 10"),
        ({"repeats": 0}, "greater than or equal to 10"),
        ({"trigger": "pears"}, "'real_world', 'win'"),
        ({"form": "text"}, "'chat' or 'raw'"),
        ({"validation": 269}, "validation: 269: of the 270 situations"),
        ({"situations": 260, "validation": 12}, "at most 10"),
        ({"shares": 0.2}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused_with_the_reason(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        RiskBackdoorConfig.model_validate(settings)
    assert message in str(error.value)
