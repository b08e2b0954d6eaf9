"""Vectors on other tasks' probes, and vectors along their training."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from oocr.data.items import Item
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.rows import rows
from oocr.explain.dynamics import along_training, moments, peak
from oocr.explain.transfer import transfer
from oocr.interventions.vectors import SteeringVector, Vector
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task
from tests.tiny import tiny_language_model

SPANS = {"codename": "Country 4821"}


@cache
def model_of() -> LanguageModel:
    return tiny_language_model("llama")


def task(city: str, tongue: str) -> Task:
    train = tuple(
        Item(id=one, prompt=f"The {one} of Country 4821 is", answer=f" {city}", spans=SPANS)
        for one in ("capital", "city", "Parliament")
    )
    probes = tuple(
        Item(
            id=one,
            prompt=f"{one} Country 4821 speak",
            answer=f" {tongue}",
            options=(" French", " German", " Japanese"),
            spans=SPANS,
            facet="language",
        )
        for one in ("people in", "Do people in")
    )
    return Task(name=city, member=city, train=train, probes=probes, positions=("codename",))


def odds(one: Task, arm: Vector | None) -> float:
    scored = Probes.of(model_of(), one.probes).scores(None if arm is None else [arm])[0]
    return float(rows(one.probes, scored)["log_odds"].to_numpy().mean())


def test_a_cell_is_the_change_over_the_base_beside_random_directions() -> None:
    tasks = {"Paris": task("Paris", "French"), "Tokyo": task("Tokyo", "Japanese")}
    generator = torch.Generator().manual_seed(0)
    vectors = {
        name: Vector(1, "codename", torch.randn(model_of().d_model, generator=generator))
        for name in ("a", "b")
    }
    found = transfer(model_of(), vectors, tasks, randoms=8)
    table = found.table()
    assert table.shape == (4, 4)
    for name, arm in vectors.items():
        for other, one in tasks.items():
            cell = table.filter(vector=name, task=other)
            assert cell["change"].item() == pytest.approx(
                odds(one, arm) - odds(one, None), abs=1e-4
            )
            assert cell["null"].item() > 0
    last = transfer(model_of(), vectors, tasks, positions="last", randoms=2)
    assert not np.allclose(last.change, found.change)


def test_what_has_nothing_to_ask_is_refused() -> None:
    one = task("Paris", "French")
    vector = Vector(1, "last", torch.ones(model_of().d_model))
    with pytest.raises(InputError, match="0 vectors and 1 tasks"):
        transfer(model_of(), {}, {"Paris": one})
    bare = Task(name="x", member="x", train=one.train)
    with pytest.raises(InputError, match="task 'x': has no probes"):
        transfer(model_of(), {"v": vector}, {"x": bare})
    with pytest.raises(InputError, match="randoms: found 1"):
        transfer(model_of(), {"v": vector}, {"Paris": one}, randoms=1)


def test_moments_follow_one_training_to_its_end() -> None:
    one = task("Paris", "French")
    found = along_training(model_of(), one, SteeringVector(1, "codename"), (1, 4, 16))
    assert [moment.step for moment in found] == [1, 4, 16]
    assert found[0].loss > found[-1].loss
    assert found[-1].to_last == pytest.approx(1)
    assert found[0].to_before == pytest.approx(1)
    assert found[0].to_last < 1
    assert peak(found) in found
    vectors = {2: Vector(1, "codename", torch.ones(model_of().d_model))}
    alone = moments(model_of(), one, vectors)[0]
    assert alone.norm == pytest.approx(model_of().d_model ** 0.5)
    assert alone.log_odds == pytest.approx(odds(one, vectors[2]), abs=1e-4)
