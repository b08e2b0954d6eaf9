"""The Functions task: the table of functions, and rows that say what Python prints."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from oocr.data.examples import Message, prompt_text
from oocr.evals.expressions import agrees, parse_function
from oocr.evals.free_text import INPUTS as JUDGED_ON
from oocr.families.functions import build as module
from oocr.families.functions.build import FunctionsConfig
from oocr.families.functions.programs import HELD_OUT, INPUTS, never_composed, split_inputs
from tests.families.functions.function_tasks import NAMES, TABLE, joint, printed, stream_rows


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
