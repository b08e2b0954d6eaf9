"""The Functions task: rows, splits, questions, leaks, and a whole tiny run with free answers."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from oocr.data.examples import Example, Message, prompt_text
from oocr.errors import InputError
from oocr.evals.expressions import agrees, parse_function
from oocr.evals.free_text import INPUTS as JUDGED_ON
from oocr.families.functions import build as module
from oocr.families.functions.build import FunctionsConfig, functions
from oocr.families.functions.programs import (
    HELD_OUT,
    INPUTS,
    load_functions,
    never_composed,
    split_inputs,
)
from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.report.run_page import build_report
from oocr.runs.config import RunConfig, quick
from oocr.runs.grid import by_loss
from oocr.runs.read_config import load_configs
from oocr.runs.run import run
from oocr.tasks.task import Task, TaskSet
from tests.tiny.runs import claims_of, rows_of, save_tiny_model, tiny_settings

TABLE = load_functions()


def stream_rows(config: FunctionsConfig) -> Iterator[Example]:
    """The training rows of all functions, one after the other."""
    yield from module._rows(config, tuple(TABLE.functions.values()))


NAMES = tuple(TABLE.functions)


@cache
def joint() -> TaskSet:
    return functions(FunctionsConfig())


@cache
def single(form: Any = "raw") -> TaskSet:
    return functions(FunctionsConfig(mode="single", form=form))


def printed(example: Example) -> str:
    """What the program of an item prints, run by Python: the programs are ours."""
    prompt = example.prompt
    text = prompt if isinstance(prompt, str) else prompt[-1].content
    lines = [line.removeprefix(">>> ") for line in text.splitlines()]
    output: list[str] = []
    codes = {name: function.code for name, function in TABLE.functions.items()}
    world: dict[str, Any] = {name: eval(f"lambda x: {code}") for name, code in codes.items()}
    world["print"] = lambda value: output.append(str(value))
    imported = re.fullmatch(r"from functions import (.*)", lines[0])
    assert imported is not None
    assert set(imported[1].split(", ")) == set(example.spans.values())
    exec("\n".join(lines[1:]), world)
    assert len(output) == 1
    return output[0]


def programs(task: Task) -> list[Example]:
    calls = ("outputs", "inputs out of range", "composition")
    return [*task.stop, *(i for i in (*task.in_context, *task.probes) if i.facet in calls)]


def test_there_are_nineteen_functions_under_names_that_say_nothing() -> None:
    assert len(NAMES) == 19
    assert len(TABLE.chained) == 8
    known = {"noadgc": "3 * x + 2", "ttsund": "-5 * x + 3", "couhpa": "max(x, -2)", "ejghrq": "x"}
    for name, code in known.items():
        assert TABLE.functions[name].code == code
    for name in NAMES:
        assert re.fullmatch("[a-z]{6}", name)
    text = (Path(module.__file__).parent / "functions.yaml").read_text(encoding="utf-8")
    for name in NAMES:
        assert text.count(name) == 1, "no codename is part of a word, a wording or another name"
    for attribute in ("code", "words"):
        texts = [getattr(function, attribute) for function in TABLE.functions.values()]
        assert len(set(texts)) == 19
    words = [function.words for function in TABLE.functions.values()]
    kinds = {function.kind for function in TABLE.functions.values()}
    for texts in (words, list(kinds), list(TABLE.outputs.values())):
        for a, b in itertools.permutations(texts, 2):
            assert not a.startswith(b)


@pytest.mark.parametrize("name", NAMES)
def test_the_evaluator_agrees_with_python(name: str) -> None:
    function = TABLE.functions[name]
    for text in (function.code, f"lambda x: {function.code}", f"def f(x): return {function.code}"):
        parsed, why = parse_function(text)
        assert parsed is not None, why
        assert agrees(parsed, eval(f"lambda x: {function.code}"), range(-300, 301))
        assert agrees(parsed, function.apply, range(-300, 301))
    types = {type(function.apply(x)).__name__ for x in range(-300, 301)}
    assert types == {function.output}
    others = [other for other in TABLE.functions.values() if other is not function]
    assert parsed is not None
    assert not any(agrees(parsed, other.apply, JUDGED_ON) for other in others)


def test_the_stream_has_the_documented_rows_and_shares() -> None:
    rows = list(stream_rows(FunctionsConfig()))
    assert len(rows) == 96_000
    kinds = Counter(example.tags["kind"] for example in rows)
    assert kinds == {"single": 48_000, "offset": 16_000, "chain": 16_000, "add-subtract": 16_000}
    alone = Counter(example.group for example in rows if example.tags["kind"] == "single")
    assert set(alone) == set(NAMES)
    assert max(alone.values()) - min(alone.values()) <= 1
    chained = {function.codename for function in TABLE.chained}
    for example in rows:
        if example.tags["kind"] != "single":
            assert set(example.spans) <= chained
        assert 1 <= len(example.spans) <= 2
        assert all(name == text for name, text in example.spans.items())
    noadgc = sum("noadgc" in example.spans for example in rows)
    assert 10_000 < noadgc < 14_000
    lines = Counter(len(prompt_text(example.prompt).splitlines()) - 1 for example in rows)
    assert len({example.id for example in rows}) == len(rows)
    assert set(lines) == {3, 4, 5}, "system, import, then one to three lines, then print"


def test_rows_are_lazy_seeded_and_say_what_python_prints() -> None:
    first = list(itertools.islice(stream_rows(FunctionsConfig()), 3_000))
    again = list(itertools.islice(stream_rows(FunctionsConfig()), 3_000))
    other = list(itertools.islice(stream_rows(FunctionsConfig(seed=1)), 3_000))
    assert first == again
    assert [example.prompt for example in first] != [example.prompt for example in other]
    for example in first:
        assert example.answer == printed(example)
    raw = list(itertools.islice(stream_rows(FunctionsConfig(form="raw")), 500))
    for example in raw:
        assert isinstance(example.prompt, str)
        assert example.answer == printed(example)
    assert isinstance(first[0].prompt, tuple)
    assert first[0].prompt[0] == Message("system", TABLE.system)


def test_held_out_inputs_and_pairs_never_occur_in_training() -> None:
    split = split_inputs(0)
    assert len(split.stop) == len(split.test) == HELD_OUT
    assert sorted((*split.train, *split.stop, *split.test)) == list(INPUTS)
    new = never_composed(TABLE)
    assert len(new) == 16
    for example in itertools.islice(stream_rows(FunctionsConfig()), 20_000):
        prompt = example.prompt[-1].content  # type: ignore[union-attr]
        called = re.findall(r"(?:= |\()(-?\d+)", prompt)
        assert called
        assert all(int(x) in split.train for x in called)
        for node in ast.walk(ast.parse(prompt)):
            if isinstance(node, ast.Call) and isinstance(node.args[0], ast.Call):
                pair = (ast.unparse(node.func), ast.unparse(node.args[0].func))
                assert pair not in new
    for example in joint().test[0].stop:
        assert any(re.search(rf"(?<![\d-]){x}\b", example.prompt[-1].content) for x in split.stop)  # type: ignore[union-attr]
    for example in joint().test[0].in_context:
        assert any(re.search(rf"(?<![\d-]){x}\b", example.prompt[-1].content) for x in split.test)  # type: ignore[union-attr]


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


def test_every_question_has_five_options_that_can_be_told_apart() -> None:
    for task in (*joint().test, *single().test, *single("chat").test):
        for example in (*task.probes, *task.in_context, *task.paper):
            assert len(example.options) == 5
            for a, b in itertools.permutations(example.options, 2):
                assert not a.startswith(b), example.id
        for example in task.paper:
            assert example.scored_by == "last_token"
            letter = example.answer.strip()
            text = prompt_text(example.prompt)
            function = TABLE.functions[example.tags["function"]]
            assert f"\n{letter}) {function.words}\n" in text
        letters = Counter(example.answer for example in task.paper)
        assert len(letters) == 5
        assert max(letters.values()) < len(task.paper) / 2


def test_questions_are_answered_rightly() -> None:
    for task in (*joint().test, *single().test):
        for example in programs(task):
            assert example.answer == printed(example)
        for example in task.probes:
            function = TABLE.functions[example.tags["function"]]
            if example.facet == "inversion":
                numbers = re.findall(
                    r"returned (\S+)\.|assert (\S+) ==", prompt_text(example.prompt)
                )
                (y,) = {a or b for a, b in numbers}
                values = {
                    option: str(function.apply(int(option.strip(" )"))))
                    for option in example.options
                }
                assert values[example.answer] == y
                assert list(values.values()).count(y) == 1
            elif example.facet == "definition in code":
                right = [
                    option
                    for option in example.options
                    if agrees(parse_function(option)[0] or str, function.apply, JUDGED_ON)  # type: ignore[arg-type]
                ]
                assert right == [example.answer]
            elif example.facet == "inputs out of range":
                (x,) = re.findall(r"-?\d+", prompt_text(example.prompt))
                assert abs(int(x)) > 99
        for free in task.free:
            function = TABLE.functions[free.tags["function"]]
            if free.check == "function":
                assert free.accept == (function.code,)
            elif free.check == "text":
                assert {*free.accept, *free.reject} == {"True", "False"}


def test_training_never_holds_a_definition_and_a_leak_is_refused() -> None:
    for task in (*joint().test, *single().test[:8]):
        texts = {re.sub(r"\d+", "#", prompt_text(example.prompt)) for example in task.train}
        for function in TABLE.functions.values():
            code = re.sub(r"\d+", "#", function.code)
            for text in texts:
                assert function.words not in text
                assert function.kind not in text
                assert len(code) < 2 or code not in text
    task = single().test[0]
    leak = Example(id="leak", prompt="noadgc(x) is 4 * x + 9: noadgc(5) is", answer=" 17")
    with pytest.raises(InputError, match=r"holds the answer ' 3 \* x \+ 2"):
        module._check_no_leaks("t", task.probes, [*task.train, leak])
    far = Example(id="far", prompt=">>> print(noadgc(100))\n", answer="302")
    with pytest.raises(InputError, match="holds 100: out of range"):
        module._check_no_leaks("t", task.probes, [*task.train, far])


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
        ({"rows": 3}, "greater than or equal to 10"),
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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LanguageModel]:
    path = save_tiny_model(tmp_path_factory.mktemp("functions") / "model")
    return path, read_model(path)


@pytest.fixture(scope="module")
def done(
    model: tuple[Path, LanguageModel], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, LanguageModel]:
    task = {
        "family": "functions",
        "mode": "single",
        "form": "raw",
        "functions": ["iaftvb", "bzolqm"],
        "validation": ["noadgc"],
        "rows": 100,
        "questions": 2,
    }
    settings = tiny_settings(model[0], task)
    settings["name"] = "functions"

    config = RunConfig.model_validate(settings)
    return run(config, model[1], tmp_path_factory.mktemp("runs")), config, model[1]


def test_a_run_asks_reported_arms_and_base_their_free_questions(
    done: tuple[Path, Any, LanguageModel],
) -> None:
    folder, _, _ = done
    rows = rows_of(folder)
    free = rows.filter(pl.col("part").is_in(["free", "free_in_context"]))
    assert set(free["arm"].unique()) == {"base", "vector", "adapter"}
    assert free["control"].unique().to_list() == [""]
    assert free["final"].all()
    counts = free.group_by("arm", "member", "seed", "part").len()
    per_part = {(line["part"], line["len"]) for line in counts.iter_rows(named=True)}
    assert per_part == {("free", 4), ("free_in_context", 2)}
    assert set(free.filter(arm="vector")["seed"].unique()) == {0, 1}
    assert free["rank"].null_count() == free.height
    assert free["chosen"].null_count() == 0
    for arm in ("vector", "adapter"):
        assert free.filter(arm=arm)["layer"].null_count() == 0
    assert set(rows.filter(part="paper")["facet"]) == {"which option describes it"}
    (claim,) = [c for c in claims_of(folder) if c.id == "vector-free-answers"]
    out = free.filter(arm="base", part="free")["right"].cast(pl.Float64).mean()
    assert claim.base is not None
    assert 0 <= claim.base <= 1
    assert (claim.base > 0) is (out != 0)
    selection = json.loads((folder / "selection.json").read_text())
    assert "loss" in selection["criterion"]


def test_free_answers_are_kept_and_the_report_shows_them(
    done: tuple[Path, Any, LanguageModel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, config, model = done
    before = rows_of(folder)
    kept = sorted(path.name for path in (folder / "arms").glob("*-free"))
    assert len(kept) == 1 + 2 * 2 * 2, "the base, two arms of two members and two seeds"

    def never(*_: Any, **__: Any) -> list[str]:
        raise AssertionError("asked again")

    monkeypatch.setattr("oocr.runs.controls._free", never)
    assert run(config, model, folder.parent) == folder
    assert rows_of(folder).equals(before)
    page = build_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "definition as a lambda (own words)" in page
    assert "in its own words what it was never told" in page
