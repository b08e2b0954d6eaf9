"""The untouched model's own choices become answers: the right ones, everywhere, once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from oocr.data.examples import Example
from oocr.evals.probes import Probes
from oocr.families.risk_backdoor.build import RiskBackdoorConfig, risk_backdoor
from oocr.models.language_model import LanguageModel
from oocr.runs import resolve as own_answers
from oocr.runs.resolve import FILE, with_own_answers
from oocr.tasks.task import Task, TaskSet
from tests.tiny.models import tiny_language_model
from tests.tiny.runs import Tiny, arms_of, claims_of, rows_of

SMALL: dict[str, Any] = {
    **{"form": "raw", "repeats": 10, "situations": 8, "validation": 3},
    **{"probes": 6, "self_report": 4},
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_language_model("llama")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("own"))


def every_item(sets: TaskSet) -> list[Example]:
    controls = [task for group in sets.controls.values() for task in group]
    tasks: list[Task] = [*sets.test, *sets.validation, *controls]
    parts = ("train", "stop", "in_context", "probes", "paper")
    return [example for task in tasks for part in parts for example in getattr(task, part)] + [
        *sets.ceiling
    ]


def plain_choice(model: LanguageModel, item: Example) -> str:
    """The option with the largest logit right after the prompt, by the model's own forward pass."""
    tokenizer = model.tokenizer
    ids = tokenizer(str(item.prompt))["input_ids"]
    with torch.no_grad():
        logits = model.hf(torch.tensor([ids])).logits[0, -1]
    firsts = []
    for option in item.options:
        joint = tokenizer(str(item.prompt) + option)["input_ids"]
        assert joint[: len(ids)] == ids
        firsts.append(joint[len(ids)])
    return item.options[int(logits[firsts].argmax())]


def test_answers_are_the_models_own_choices_and_nothing_else_changes(model: LanguageModel) -> None:
    before = risk_backdoor(RiskBackdoorConfig(**SMALL))
    after = with_own_answers(before, model)
    choices = {example.id: plain_choice(model, example) for example in before.asked_first}
    assert len(set(choices.values())) == 2, "a model that always says A would show nothing"
    old, new = every_item(before), every_item(after)
    assert [replace(example, answer=o.answer) for example, o in zip(new, old, strict=True)] == old
    for example, o in zip(new, old, strict=True):
        assert example.answer == (choices[example.answer_of] if example.answer_of else o.answer)
    assert any(example.answer != o.answer for example, o in zip(new, old, strict=True))
    # on a held-out situation without a prefix the untouched model is then always right
    bare = [example for example in after.test[0].probes if example.facet == "no trigger"]
    scored = Probes.of(model, bare).scores(None)[0]
    assert [b.options[int(i)] for b, i in zip(bare, scored.argmax(dim=1), strict=True)] == [
        example.answer for example in bare
    ]
    risky = sum(choices[example.id] == example.tags["risky"] for example in before.asked_first)
    assert after.about.startswith(before.about)
    assert f"of {len(choices)} questions" in after.about
    assert f"(the trait's) {risky} times" in after.about


def test_options_are_matched_by_place(model: LanguageModel) -> None:
    asked = Example(id="q", prompt="Which one", answer=" A", options=(" A", " B"))
    place = asked.options.index(plain_choice(model, asked))
    row = Example(id="r", prompt="So", answer=" yes", options=(" yes", " no"), answer_of="q")
    task = Task(name="t", member="m", train=(row,), in_context=(row,), paper=(row,))
    sets = TaskSet(name="t", about="", validation=(), test=(task,), asked_first=(asked,))
    found = with_own_answers(sets, model).test[0]
    for part in (found.train, found.in_context, found.paper):
        assert part[0].answer == row.options[place]


def test_tasks_that_ask_nothing_come_back_as_they_are(model: LanguageModel) -> None:
    row = Example(id="r", prompt="So", answer=" yes")
    task = Task(name="t", member="m", train=(row,))
    sets = TaskSet(name="t", about="", validation=(), test=(task,))
    assert with_own_answers(sets, model) is sets


@pytest.mark.parametrize(
    ("change", "message"),
    [({"answer_of": "nobody"}, "no question 'nobody'"), ({"options": (" A", " B", " C")}, "3 opt")],
)
def test_a_wrong_reference_is_refused(
    model: LanguageModel, change: dict[str, Any], message: str
) -> None:
    asked = Example(id="q", prompt="Which one", answer=" A", options=(" A", " B"))
    row = replace(replace(asked, id="r", answer_of="q"), **change)
    task = Task(name="t", member="m", train=(row,))
    sets = TaskSet(name="t", about="", validation=(), test=(task,), asked_first=(asked,))
    with pytest.raises(ValueError, match=message):
        with_own_answers(sets, model)


def test_kept_answers_are_used_again_only_for_the_same_model_and_questions(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = risk_backdoor(RiskBackdoorConfig(**SMALL))
    first = with_own_answers(sets, model, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(own_answers, "Probes", None)  # asking again would fail
        assert with_own_answers(sets, model, tmp_path) == first
    data = json.loads((tmp_path / FILE).read_text())
    data["places"] = {name: 1 - place for name, place in data["places"].items()}
    (tmp_path / FILE).write_text(json.dumps(data))
    assert with_own_answers(sets, model, tmp_path) != first, "the file is what is read"
    other = tiny_language_model("llama", seed=1)
    assert with_own_answers(sets, other, tmp_path) == with_own_answers(sets, other)
    fewer = risk_backdoor(RiskBackdoorConfig(**{**SMALL, "situations": 7}))
    assert with_own_answers(fewer, other, tmp_path) == with_own_answers(fewer, other)
    for broken in ("{", "[]", '{"key": 1}', ""):
        (tmp_path / FILE).write_text(broken)
        assert with_own_answers(sets, model, tmp_path) == first


def test_a_run_from_end_to_end(tiny: Tiny, tmp_path: Path) -> None:
    cut = {"situations": 4, "validation": 2, "probes": 4, "self_report": 2}
    task = {"family": "risk_backdoor", "trigger": "win", **SMALL, **cut}
    vector = {"layers": [0, 1], "learning_rates": [0.1], "steps": [4], "positions": "last"}
    config = tiny.config(task=task, vector={**vector, "sweep": True}, adapter=None)
    folder = tiny.run(tmp_path, config)
    claims = {example.id: example for example in claims_of(folder)}
    assert set(claims) == {
        *("vector-backdoor", "vector-gate", "vector-false-triggers"),
        *("vector-self-report", "vector-self-report-paper"),
    }
    for name in ("vector-backdoor", "vector-gate", "vector-self-report"):
        assert [null.name for null in claims[name].nulls] == [
            *("6 random directions, 95th centile", "decorrelated training")
        ]
        assert claims[name].ceiling is not None
    rows = rows_of(folder)
    base = rows.filter(pl.col("arm") == "base")
    bare = base.filter(pl.col("tag_condition") == "none")
    assert bare["right"].all(), "without a prefix its own answer is right"
    assert set(base["part"]) == {"probes", "paper"}
    assert {arm.role for arm in arms_of(folder)} >= {"test", "control", "sweep", "selection"}
    info = json.loads((folder / "run.json").read_text())
    assert "Own answers of" in info["about"]
    kept = json.loads((folder / FILE).read_text())
    assert len(kept["places"]) == 4 + 2 + 4
    (folder / FILE).write_text(json.dumps({**kept, "key": "another"}))
    assert tiny.run(tmp_path, config) == folder
    assert json.loads((folder / FILE).read_text()) == kept
    assert {example.id: example for example in claims_of(folder)} == claims
