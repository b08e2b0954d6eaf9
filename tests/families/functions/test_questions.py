"""The Functions task: questions are answered rightly, and nothing leaks."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.evals.expressions import agrees, parse_function
from oocr.evals.free_text import INPUTS as JUDGED_ON
from oocr.families.functions import build as module
from tests.families.functions.function_tasks import TABLE, joint, printed, programs, single


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
