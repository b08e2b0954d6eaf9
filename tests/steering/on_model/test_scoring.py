"""Scores and training of a model that a vector is on."""

from __future__ import annotations

import pytest
import torch

from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.engine.training import fit
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.generating import PROMPTS, SPANS, model_of, vector
from tests.steering.on_model.calls import alone, asked


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_scores_under_a_vector_are_the_vectors(family: str, positions: str) -> None:
    model = model_of(family)
    steering = vector(model, positions)
    expected = Probes.of(model, asked()).scores([steering])[0]
    with steering.on(model):
        scores = Probes.of(model, asked()).scores(None)
    torch.testing.assert_close(scores.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_vectors_may_be_scored_and_trained_beside_the_one_that_is_on() -> None:
    model = model_of()
    first = vector(model, "last")
    second = Vector(1, "last", first.direction.flip(0))
    expected = Probes.of(model, asked()).scores([first + second, first + 2 * second])
    with first.on(model):
        scores = Probes.of(model, asked()).scores([second, 2 * second])
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", ["last", "codename"])
def test_training_under_a_vector_trains_what_is_missing_beside_it(positions: str) -> None:
    model = model_of()
    steering = vector(model, positions, size=1.0)
    train = tuple(Example(id=text, prompt=text, answer=" Paris", spans=SPANS) for text in PROMPTS)
    task, spec = Task(name="t", member="x", train=train), SteeringVector(2, "last", init_scale=0.0)
    losses = []
    for prompt in PROMPTS:
        start = encode_prompt(model.tokenizer, prompt)
        answer = model.tokenizer(" Paris", add_special_tokens=False)["input_ids"]
        logp = alone(model, steering, prompt)[-1].log_softmax(-1)
        assert len(answer) == 1, start
        losses.append(-float(logp[answer[0]].detach()))
    with steering.on(model):
        trained = fit(model, task, spec, steps=3)
    assert trained.losses[0] == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert trained.losses[-1] < trained.losses[0]


def test_batches_that_were_recorded_without_the_vector_are_refused_under_it() -> None:
    from oocr.engine.training_batches import prepare

    model = model_of()
    train = (Example(id="a", prompt=PROMPTS[0], answer=" Paris"),)
    task, spec = Task(name="t", member="x", train=train), SteeringVector(2, "last")
    prepared = prepare(model, task, [3])
    with (
        vector(model, "all").on(model),
        pytest.raises(InputError, match="recorded with 0 ablations or vectors"),
    ):
        fit(model, task, spec, prepared=prepared)
