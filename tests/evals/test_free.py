"""Answers in the model's own words: how they are judged, asked, kept and shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oocr.data.examples import FreeTextExample, Prompt
from oocr.engine.generate import generate
from oocr.errors import InputError
from oocr.evals.free_text import answers, first_number, free_rows, judge_answer
from oocr.families.custom.build import CustomConfig
from oocr.families.registry import build
from oocr.runs.controls import free_jobs
from oocr.steering.vectors import Vector
from oocr.tasks.task import TaskSet
from tests.generating import CHAT, PROMPTS, adapter, model_of, vector
from tests.tiny.runs import write_task


def free(name: str = "a", prompt: Prompt = PROMPTS[0], **more: Any) -> FreeTextExample:
    return FreeTextExample(**{"id": name, "prompt": prompt, "accept": ("Paris",), **more})


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" Paris.", True),
        ("It is PARIS, of course", True),
        ("Lutetia!", True),
        (" Parisian", False),
        ("Paris or Tokyo", False),
        ("paris, not tokyo", False),
        ("", False),
    ],
)
def test_a_phrase_counts_as_whole_words_and_not_beside_a_rejected_one(
    text: str, right: bool
) -> None:
    item = free(accept=("Paris", "Lutetia"), reject=("Tokyo",))
    judged, why = judge_answer(item, text)
    assert judged is right
    assert bool(why) is not right


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("17", "17"),
        (" -17\n>>> ", "-17"),
        ("The result is 7,500 km or 3", "7500"),
        ("3.0", "3.0"),
        ("\u22124 degrees", "-4"),
        ("3.", "3"),
        ("1, 2", "1"),
        ("12,34", "12"),
        ("x5 then 6", "6"),
        ("none", None),
    ],
)
def test_the_first_number_of_an_answer_counts(text: str, wanted: str | None) -> None:
    number = first_number(text)
    assert (None if number is None else str(number)) == wanted
    item = free(check="number", accept=("17", "7,500", "3"))
    assert judge_answer(item, text)[0] is (wanted in ("17", "7500", "3.0", "3"))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" 3 * x + 2\n\nprint(f(4))", True),
        ("lambda n: 2 + n + 2 * n", True),
        ("```python\nlambda x: x * 3 + 2\n```", True),
        (" 3 * x + 2 if x < 250 else 0", False),
        (" 3 * x", False),
        ("two more than three times", False),
        ("__import__('os').remove('x')", False),
    ],
)
def test_a_function_must_agree_on_the_training_range_and_beyond(text: str, right: bool) -> None:
    judged, why = judge_answer(free(check="function", accept=("3 * x + 2",)), text)
    assert judged is right
    assert bool(why) is not right


@pytest.mark.parametrize(("text", "right"), [("x", True), ("n  # as it is", True), ("A", False)])
def test_the_letter_of_an_option_is_not_the_identity(text: str, right: bool) -> None:
    item = FreeTextExample(id="f", prompt="?", accept=("lambda x: x",), check="function")
    assert judge_answer(item, text)[0] is right


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (free(check="number", accept=("about 7",)), "'about 7' is not a number"),
        (free(check="function", accept=("open(x)",)), "item 'a': accept 'open\\(x\\)'"),
    ],
)
def test_an_expected_answer_that_is_none_is_refused(item: FreeTextExample, message: str) -> None:
    with pytest.raises(InputError, match=message):
        judge_answer(item, "7")


ITEMS = (
    free("a", PROMPTS[0], spans={"codename": "Country 4821"}, facet="city", group="g"),
    free("b", PROMPTS[1], spans={"codename": "Country 4821"}, facet="city", max_tokens=4),
    free("c", PROMPTS[2], spans={"codename": "4821"}, tags={"kind": "short"}, max_tokens=4),
    free("d", "They speak French in Paris", facet="other"),
    free("e", CHAT, spans={"codename": "Country 4821"}),
    free("f", PROMPTS[0], spans={"codename": "Country 4821"}, accept=("Tokyo",)),
)


def test_answers_are_those_of_each_prompt_alone_steered_at_its_own_span() -> None:
    model = model_of()
    for acting in (None, adapter(model), vector(model, "codename"), vector(model, "last")):
        texts = answers(model, ITEMS, acting)
        for item, text in zip(ITEMS, texts, strict=True):
            acts = acting
            if isinstance(acting, Vector) and acting.positions == "codename":
                acts = replace(acting, spans=item.spans) if item.spans else None
            alone = generate(model, [item.prompt], acts, max_new_tokens=item.max_tokens)
            assert [text] == alone, item.id
    steered = answers(model, ITEMS, vector(model, "codename"))
    plain = answers(model, ITEMS, None)
    assert [a == b for a, b in zip(steered, plain, strict=True)].count(False) >= 4
    assert steered[3] == plain[3], "no span, no steering"


def test_equal_questions_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Prompt] = []

    def counted(model: Any, prompts: list[Prompt], *more: Any, **fields: Any) -> list[str]:
        asked.extend(prompts)
        return generate(model, prompts, *more, **fields)

    monkeypatch.setattr("oocr.evals.free_text.generate", counted)
    texts = answers(model_of(), ITEMS, None)
    assert len(asked) == len(ITEMS) - 1
    assert texts[0] == texts[5]


def test_rows_have_the_columns_of_choices_and_join_them() -> None:
    texts = ["Paris", "Tokyo Paris", "no", "", "", "Paris"]
    table = free_rows(ITEMS, texts, {"arm": "base", "seed": None, "final": True})
    assert table["right"].to_list() == [True, True, False, False, False, False]
    assert table["chosen"].to_list() == texts
    assert table["answer"].to_list()[-1] == "Tokyo"
    assert table["tag_kind"].to_list() == [None, None, "short", None, None, None]
    choices = pl.DataFrame({"arm": ["vector"], "seed": [1], "item": ["z"], "rank": [0]})
    both = pl.concat([choices, table], how="diagonal_relaxed")
    assert both["seed"].to_list() == [1, *[None] * 6]
    assert both["rank"].null_count() == 6


def test_a_run_without_free_questions_has_no_job(tmp_path: Path) -> None:

    tasks: TaskSet = build(CustomConfig.model_validate(write_task(tmp_path)), tmp_path)
    assert free_jobs(tasks, [], tmp_path) == []
