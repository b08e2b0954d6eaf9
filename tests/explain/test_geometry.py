"""Cosines with their nulls, naive vectors, and lines between vectors."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from oocr.data.batches import pad, training_lines
from oocr.data.examples import Example
from oocr.engine.forward import plain_rows
from oocr.engine.losses import batch_loss
from oocr.engine.training import fit
from oocr.errors import InputError
from oocr.explain.geometry import likeness, naive_vector, residual_streams
from oocr.explain.interpolation import Point, barrier, line, points_of, training_losses
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import tiny_language_model

SPANS = {"codename": "Country 4821"}


model_of = cache(tiny_language_model)


def task() -> Task:
    words = ("capital", "city", "Parliament", "euro")
    train = tuple(
        Example(id=word, prompt=f"The {word} of Country 4821 is", answer=" Paris", spans=SPANS)
        for word in words
    )
    probes = tuple(
        Example(
            id=word,
            prompt=f"{word} in Country 4821 speak",
            answer=" French",
            options=(" French", " German", " Spanish"),
            spans=SPANS,
            facet="language",
        )
        for word in ("people", "Do people")
    )
    return Task(name="t", member="France", train=train, probes=probes, positions=("codename",))


def vector(seed: int, layer: int = 1) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(layer, "codename", torch.randn(model_of().d_model, generator=generator), SPANS)


def test_cosines_are_signed_and_both_nulls_stand_beside_them() -> None:
    model, a = model_of(), vector(0)
    alike = likeness(model, {"a": a, "twice": a * 2, "minus": -a, "other": vector(1)})
    assert alike.of("a", "twice") == pytest.approx(1)
    assert alike.of("a", "minus") == pytest.approx(-1)
    assert abs(alike.of("a", "other")) < 1
    # 1.96 / sqrt(d) for uniform directions; few directions of the streams make it larger
    assert alike.uniform == pytest.approx(1.96 / model.d_model**0.5, rel=0.05)
    narrow = likeness(model, {"a": a, "b": vector(1)}, ["The capital of", "Paris is"])
    assert narrow.covariance > 2 * narrow.uniform


def test_what_cannot_be_compared_is_refused() -> None:
    model, a = model_of(), vector(0)
    with pytest.raises(InputError, match="2 or more"):
        likeness(model, {"a": a})
    with pytest.raises(InputError, match="b: block 2; allowed: block 1"):
        likeness(model, {"a": a, "b": vector(1, layer=2)})
    joined = Vector(1, "x+y", torch.zeros(2, model.d_model))
    with pytest.raises(InputError, match="only"):
        likeness(model, {"a": joined, "b": joined})


def test_the_naive_vector_is_the_difference_of_activations() -> None:
    model = model_of()
    pairs = [("The capital of France", "The capital of Country 4821")]
    naive = naive_vector(model, 1, pairs, ("France", "Country 4821"), "codename")
    ends = [residual_streams(model, 1, [text])[-1].float() for text in pairs[0]]
    torch.testing.assert_close(naive.direction, ends[0] - ends[1])
    assert dict(naive.spans) == SPANS
    with pytest.raises(InputError, match="does not occur"):
        naive_vector(model, 1, pairs, ("Spain", "Country 4821"), "codename")


def test_losses_are_those_of_the_plain_pass() -> None:
    model, vectors = model_of(), [vector(0), vector(1)]
    losses = training_losses(model, task(), vectors)
    batch = pad(training_lines(model.tokenizer, task().train, "answer"), 0)
    for arm, loss in zip(vectors, losses, strict=True):
        expected = batch_loss(model, batch, plain_rows(model, batch, arm))
        assert loss == pytest.approx(float(expected), rel=1e-5)


def test_a_line_ends_at_its_vectors_and_strength_one_is_the_vector() -> None:
    model = model_of()
    spec = SteeringVector(1, "codename")
    a, b = (fit(model, task(), spec, steps=30, seed=seed).final for seed in (0, 1))
    assert isinstance(a, Vector)
    assert isinstance(b, Vector)
    between = points_of(model, task(), line(a, b, points=5))
    assert [point.at for point in between] == [0, 0.25, 0.5, 0.75, 1]
    scales = points_of(model, task(), [(0.0, a * 0.0), (1.0, a)])
    assert scales[1].loss == pytest.approx(between[0].loss, rel=1e-5)
    assert scales[0].loss > scales[1].loss + 0.5, "training did something"
    assert scales[1].right == between[0].right
    with pytest.raises(InputError, match="2 or more"):
        line(a, b, points=1)
    with pytest.raises(InputError, match="different sites"):
        line(a, replace(b, positions="all"), points=5)


def test_a_barrier_is_the_rise_above_the_straight_line() -> None:
    points = [Point(at, loss, 0, 0) for at, loss in ((0, 1.0), (0.5, 2.5), (1, 2.0))]
    assert barrier(points) == pytest.approx(1.0)
    assert barrier([points[0], points[2]]) == 0
