"""Rows learned in each place: they are recalled, vectors are each name's own, the model stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.ocr.build import OcrSettings, ocr
from oocr.papers.learning import (
    Place,
    applied,
    learn_at,
    member_rows,
    random_like,
    rank_among,
    score_options,
    vector_of,
)
from tests.tiny.models import tiny_language_model, weights_hash

OPTIONS = (" Paris", " Tokyo", " Rome")
ROWS = tuple(
    Example(
        id=f"{span}/fact",
        prompt=f"{name} is in",
        answer=answer,
        options=OPTIONS,
        spans={span: name},
        group=name,
    )
    for span, name, answer in [
        ("n0", "Mango", " Paris"),
        ("n1", "Violin", " Tokyo"),
        ("n2", "Country", " Rome"),
    ]
)


@pytest.mark.parametrize(
    ("place", "rate"),
    [
        (Place("vectors", 1), 0.2),
        (Place("lora", 1), 3e-2),
        (Place("lora"), 1e-2),
        (Place("full"), 1e-3),
    ],
)
def test_rows_are_recalled_in_each_place(place: Place, rate: float) -> None:
    model = tiny_language_model()
    before = weights_hash(model)
    learned = learn_at(model, place, ROWS, steps=40, learning_rate=rate)
    assert [row["chosen"] for row in score_options(model, ROWS, learned)] == [
        row.answer for row in ROWS
    ]
    with applied(model, learned):
        pass
    assert weights_hash(model) == before


def test_each_name_has_a_vector_of_its_own() -> None:
    model = tiny_language_model()
    place = Place("vectors", 1)
    together = learn_at(model, place, ROWS, steps=5, until=None)
    alone = learn_at(model, place, ROWS[:1], steps=5, until=None)
    # Adam's steps do not depend on a gradient's size, so that the others' rows change nothing; the
    # random starts are other ones.
    cosine = torch.cosine_similarity(vector_of(together, "n0"), vector_of(alone, "n0"), dim=0)
    assert cosine > 0.8
    random = random_like(together, 0)
    for span in ("n0", "n1", "n2"):
        norms = vector_of(random, span).norm(), vector_of(together, span).norm()
        torch.testing.assert_close(*norms)
    # A question without the span is the untouched model's.
    bare = Example(id="bare", prompt="The yen is in", answer=" Rome", options=OPTIONS)
    assert score_options(model, [bare], together)[0]["scores"] == pytest.approx(
        score_options(model, [bare])[0]["scores"], abs=1e-4
    )


def test_vectors_are_learned_on_changed_weights() -> None:
    model = tiny_language_model()
    first = learn_at(model, Place("full"), ROWS[:1], steps=15, learning_rate=1e-3)
    with applied(model, first):
        without = score_options(model, ROWS)
        learned = learn_at(model, Place("vectors", 1), ROWS[1:], steps=20, learning_rate=0.2)
        answers = score_options(model, ROWS, learned)
    assert without[0]["scores"] != pytest.approx(score_options(model, ROWS)[0]["scores"], abs=0.1)
    assert answers[0]["scores"] == pytest.approx(without[0]["scores"], abs=1e-4)  # has no vector
    for after, before in zip(answers[1:], without[1:], strict=True):
        own, other = after["answer"], " Paris"
        gain = after["scores"][own] - after["scores"][other]
        assert gain > before["scores"][own] - before["scores"][other] + 1


def test_members_of_any_family_are_learned_together() -> None:
    model, tasks = tiny_language_model(), ocr(OcrSettings(names=1, pairs=3)).test
    rows, questions = member_rows(tasks), member_rows(tasks, "probes")
    assert {name for row in rows for name in row.spans} == {"m0", "m1", "m2"}
    learned = learn_at(model, Place("vectors", 1), rows, steps=2)
    assert len(vector_of(learned, "m2")) == model.d_model
    assert [row["answer"] for row in score_options(model, questions, learned)] == [
        probe.answer for task in tasks for probe in task.probes
    ]
    bare = replace(tasks[0], positions=("city",))
    with pytest.raises(InputError, match="lacks its member's span 'city'"):
        member_rows([bare])


def test_rank_counts_those_that_score_at_least_as_high() -> None:
    scores = {"a": 1.0, "b": 2.0, "c": 1.0}
    assert rank_among(scores, "a", "abc") == 2
    assert rank_among(scores, "b", "abc") == 0
    assert rank_among(scores, "a", "a") == 0


def test_wrong_places_are_refused() -> None:
    with pytest.raises(InputError, match="a block"):
        Place("vectors")
    with pytest.raises(InputError, match="none"):
        Place("full", 3)
    bare = Example(id="bare", prompt="The yen is in", answer=" Rome", options=OPTIONS)
    with pytest.raises(InputError, match="'bare' has no span"):
        learn_at(tiny_language_model(), Place("vectors", 0), [bare])
