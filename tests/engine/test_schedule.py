"""How steps are made: warm-up, decay, weight decay, several batches per step, batches used once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from oocr.data.examples import Example
from oocr.engine.recording_cache import RecordingCache, Tier
from oocr.engine.trainable import Schedule
from oocr.engine.training import fit
from oocr.engine.training_batches import prepare
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import tiny_language_model

WORDS = ("The capital", "people", "city", "Parliament", "euro", "yen", "Violin", "of")
SPECS = [
    SteeringVector(1, "codename"),
    SteeringVector(1, "last", site="mlp", init_norm=1.0),
    SteeringVector(0, "codename+word"),
    LowRankAdapter(layers=(1,), rank=2),
]


@cache
def model_of(family: str = "gemma3_text") -> LanguageModel:
    return tiny_language_model(family)


def task(count: int = 8) -> Task:
    examples = tuple(
        Example(
            id=str(i),
            prompt=f"{word} in Country 4821 is",
            answer=(" Paris", " Tokyo yen")[i % 2],
            spans={"codename": "Country 4821", "word": word},
        )
        for i, word in enumerate(WORDS[:count])
    )
    return Task(name="tiny", member="x", train=examples, positions=("codename",))


def value(trained: Vector | Adapter) -> torch.Tensor:
    if isinstance(trained, Vector):
        return trained.direction
    return torch.cat([trained.tensors[name].flatten() for name in sorted(trained.tensors)])


def test_the_rate_rises_and_falls_in_lines() -> None:
    rates = [Schedule(warmup=4, decay="linear").rate(step, 10) for step in range(1, 11)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert [a - b for a, b in pairwise(rates[4:])] == pytest.approx([1 / 6] * 5)
    assert rates[-1] == pytest.approx(1 / 6)
    assert {Schedule().rate(step, 10) for step in range(1, 11)} == {1.0}
    longer = Schedule(decay="linear", length=20)
    assert longer.rate(10, 10) == pytest.approx(0.55)


@pytest.mark.parametrize("spec", SPECS, ids=["span", "mlp", "joined", "lora"])
def test_batches_of_one_step_add_up_to_one_large_batch(
    spec: SteeringVector | LowRankAdapter,
) -> None:
    model = model_of()
    whole = fit(model, task(), spec, steps=3, batch_lines=8)
    four = fit(model, task(), spec, steps=3, batch_lines=2, schedule=Schedule(accumulate=4))
    assert whole.losses == pytest.approx(four.losses, rel=1e-5)
    # a learning rate of a share of the stream makes Adam's first steps sign-like: compare loosely
    torch.testing.assert_close(value(whole.final), value(four.final), rtol=1e-2, atol=1e-3)
    apart = fit(model, task(), spec, steps=3, batch_lines=2)
    assert value(apart.final).sub(value(whole.final)).abs().max() > 1e-2


def test_an_absolute_rate_is_adams_own_and_the_start_has_its_norm() -> None:
    spec = SteeringVector(1, "codename", init_norm=2.0)
    plain = Schedule(absolute=True)
    done = fit(
        model_of(), task(), spec, learning_rate=0.25, steps=1, snapshots=(1,), schedule=plain
    )
    start = fit(model_of(), task(), spec, learning_rate=0.0, steps=1).final
    assert start.norm == pytest.approx(2.0, rel=1e-5)
    assert done.learning_rate == 0.25
    moved = (value(done.final) - value(start)).abs()
    assert moved.max() == pytest.approx(0.25, rel=1e-3), "Adam's first step is the rate"


def test_weight_decay_shrinks_what_is_trained_and_warm_up_holds_it_back() -> None:
    spec = SteeringVector(1, "codename", init_norm=2.0)
    kept = fit(model_of(), task(), spec, learning_rate=0.1, steps=1)
    decayed = Schedule(absolute=True, weight_decay=0.5)
    plain = replace(decayed, weight_decay=0.0)
    at = [
        value(fit(model_of(), task(), spec, learning_rate=0.1, steps=1, schedule=trained).final)
        for trained in (plain, decayed)
    ]
    start = value(fit(model_of(), task(), spec, learning_rate=0.0, steps=1).final)
    torch.testing.assert_close(at[0] - at[1], 0.1 * 0.5 * start)
    slow = Schedule(absolute=True, warmup=10)
    first = value(fit(model_of(), task(), spec, learning_rate=0.1, steps=1, schedule=slow).final)
    torch.testing.assert_close(first - start, (at[0] - start) / 10, rtol=1e-4, atol=1e-5)
    assert kept.learning_rate != 0.1


@pytest.mark.parametrize("spec", SPECS, ids=["span", "mlp", "joined", "lora"])
def test_batches_that_are_used_once_need_no_place(
    spec: SteeringVector | LowRankAdapter, tmp_path: Path
) -> None:
    model, trained = model_of(), []
    for budget in (0, 10**9):
        store = RecordingCache((Tier(budget),), tmp_path)
        prepared = prepare(model, task(), [0, 1, 2], 2, store)
        prepared.recordings.clear()
        store._known.clear()
        store._used.clear()
        done = fit(model, task(), spec, steps=4, prepared=prepared)
        assert len(prepared.recordings) == (4 if budget else 1)
        trained.append((done.losses, value(done.final)))
    assert trained[0][0] == trained[1][0]
    assert torch.equal(trained[0][1], trained[1][1])


def test_joined_spans_each_get_a_direction_that_moves_with_its_own_rows() -> None:
    model = model_of()
    first = replace(
        task(),
        train=tuple(
            replace(vector, spans={"word": vector.spans["word"]}) if i else vector
            for i, vector in enumerate(task().train)
        ),
    )
    done = fit(model, first, SteeringVector(1, "codename+word"), steps=2, batch_lines=1).final
    start = fit(
        model, first, SteeringVector(1, "codename+word"), steps=1, batch_lines=1, learning_rate=0.0
    ).final
    assert isinstance(done, Vector)
    assert value(done).shape == (2, model.d_model)
    assert done.spans == {"word": "The capital", "codename": "Country 4821"}
    moved = (value(done) - value(start)).abs().sum(dim=1)
    assert moved[1] > 0
    vector = done.only("codename")
    assert vector.positions == "codename"
    assert torch.equal(vector.direction, done.direction[0])
