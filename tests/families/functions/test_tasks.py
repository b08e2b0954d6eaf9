"""The Functions task: members, splits, controls, settings."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from oocr.data.examples import prompt_text
from oocr.families.functions.build import FunctionsConfig, functions
from oocr.runs.config import quick
from oocr.runs.grid import by_loss
from oocr.runs.read_config import load_configs
from tests.families.functions.function_tasks import NAMES, TABLE, joint, printed, programs, single


def test_joint_has_one_task_with_a_direction_for_each_codename() -> None:
    tasks = joint()
    (task,) = tasks.test
    assert task.positions == ("+".join(NAMES),)
    assert len(task.train) == 96_000
    assert len(task.paper) == 44 * 19
    per_function = Counter(example.group for example in task.probes)
    assert set(per_function) == set(NAMES)
    assert min(per_function.values()) >= 60
    assert len({example.facet for example in task.probes}) == 7
    for examples in (task.probes, task.in_context, task.stop, task.paper, task.free):
        for example in examples:
            assert example.spans
            assert example.group in example.spans
    assert by_loss(tasks)
    assert tasks.validation[0].train is task.train
    trained = {tuple(example.spans) for example in task.train if example.tags["kind"] == "chain"}
    for example in task.probes:
        if example.facet == "composition":
            text = example.prompt[-1].content  # type: ignore[union-attr]
            pair = re.findall(r"[a-z]{6}(?=\()", text.splitlines()[-1])
            assert tuple(pair) not in trained


@pytest.mark.parametrize("form", ["raw", "chat"])
def test_single_has_a_task_for_each_function(form: str) -> None:
    tasks = single(form)
    assert [task.member for task in tasks.test] == list(NAMES)
    for task in tasks.test:
        assert task.positions == ("codename",)
        assert len(task.train) == 2_400
        assert len(task.probes) >= 60
        assert len(task.paper) == 44
        for examples in (task.train, task.probes, task.in_context, task.stop, task.paper):
            for example in examples:
                assert example.spans == {"codename": task.member}
                named = set(re.findall("|".join(NAMES), prompt_text(example.prompt)))
                assert named == {task.member}
        kinds = Counter(example.tags["kind"] for example in task.train)
        if TABLE.functions[task.member].chained:
            assert kinds["single"] == 1_200
            assert kinds["chain"] == kinds["offset"] == kinds["add-subtract"] == 400
        else:
            assert kinds == {"single": 2_400}
        for example in (*task.train[:200], *programs(task)):
            assert example.answer == printed(example)


def test_the_shuffled_control_keeps_programs_and_outputs_but_not_who_gave_which() -> None:
    for tasks in (joint(), single()):
        for task, mixed in zip(tasks.test, tasks.controls["shuffled"], strict=True):
            assert [i.prompt for i in mixed.train] == [i.prompt for i in task.train]
            for name in {example.group for example in task.train}:
                old, new = (
                    [example.answer for example in member.train if example.group == name]
                    for member in (task, mixed)
                )
                assert sorted(old) == sorted(new)
                if TABLE.functions[name].output == "int" and len(set(old)) > 20:
                    same = sum(a == b for a, b in zip(old, new, strict=True))
                    assert same < 0.6 * len(old)


def test_the_ceiling_states_the_definition_and_keeps_the_question() -> None:
    for tasks in (joint(), single("chat")):
        asked = {i.id: i for task in tasks.test for i in (*task.probes, *task.in_context)}
        assert len(tasks.ceiling) == len(asked)
        for example in tasks.ceiling:
            text = prompt_text(example.prompt)
            for name in example.spans.values():
                assert f"# {name}(x) returns {TABLE.functions[name].code}\n" in text
            assert example.options == asked[example.id].options
            assert example.tags["stated"] in {task.member for task in tasks.test}


def test_the_same_configuration_gives_the_same_tasks_and_fewer_questions_fewer() -> None:
    config = FunctionsConfig(mode="single", functions=("ejghrq",), rows=200, questions=2)
    assert functions(config) == functions(config)
    (task,) = functions(config).test
    assert Counter(Counter(example.facet for example in task.probes).values()) == {2: 7}
    assert (len(task.train), len(task.paper), len(task.stop)) == (200, 2, 2)
    other = functions(config.model_copy(update={"seed": 1})).test[0]
    assert other.train != task.train


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "joint", "functions": ("noadgc",)}, "mode 'joint' has all of them"),
        ({"mode": "single", "functions": ("abcdef",)}, "'abcdef' is no function; known: noadgc"),
        ({"mode": "single", "functions": ("noadgc", "noadgc")}, "noadgc is there twice"),
        ({"rows": 1}, "greater than or equal to 2"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FunctionsConfig.model_validate(fields)


def test_the_built_in_run_is_small_and_its_quick_form_smaller() -> None:
    (config,) = load_configs("functions")
    cut = quick(config)
    assert isinstance(config.task, FunctionsConfig)
    assert isinstance(cut.task, FunctionsConfig)
    assert config.task.functions is not None
    assert cut.task.functions == config.task.functions[:3]
    assert config.task.form == "raw"
