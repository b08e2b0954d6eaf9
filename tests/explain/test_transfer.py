"""Vectors on other tasks' probes, and vectors along their training."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.evals.probes import Probes, rows
from oocr.explain.interpolation import (
    TrainingSnapshot,
    along_training,
    halves,
    lost_after_peak,
    lowest,
    moments,
    peak,
)
from oocr.explain.transfer import Transfer, transfer
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import tiny_language_model

SPANS = {"codename": "Country 4821"}


model_of = cache(tiny_language_model)


def task(city: str, tongue: str) -> Task:
    train = tuple(
        Example(id=word, prompt=f"The {word} of Country 4821 is", answer=f" {city}", spans=SPANS)
        for word in ("capital", "city", "Parliament")
    )
    probes = tuple(
        Example(
            id=word,
            prompt=f"{word} Country 4821 speak",
            answer=f" {tongue}",
            options=(" French", " German", " Japanese"),
            spans=SPANS,
            facet="language",
        )
        for word in ("people in", "Do people in")
    )
    return Task(name=city, member=city, train=train, probes=probes, positions=("codename",))


def odds(asked: Task, arm: Vector | None) -> float:
    scored = Probes.of(model_of(), asked.probes).scores(None if arm is None else [arm])[0]
    return float(rows(asked.probes, scored)["log_odds"].to_numpy().mean())


def test_a_cell_is_the_change_over_the_base_beside_random_directions() -> None:
    tasks = {"Paris": task("Paris", "French"), "Tokyo": task("Tokyo", "Japanese")}
    generator = torch.Generator().manual_seed(0)
    vectors = {
        name: Vector(1, "codename", torch.randn(model_of().d_model, generator=generator))
        for name in ("a", "b")
    }
    cells = transfer(model_of(), vectors, tasks, randoms=8)
    table = cells.table()
    assert table.shape == (4, 4)
    for name, arm in vectors.items():
        for other, asked in tasks.items():
            cell = table.filter(vector=name, task=other)
            assert cell["change"].item() == pytest.approx(
                odds(asked, arm) - odds(asked, None), abs=1e-4
            )
            assert cell["null"].item() > 0
            drawn = cells.drawn[cells.vectors.index(name)][cells.tasks.index(other)]
            assert len(drawn) == 8
            assert cell["null"].item() == pytest.approx(np.quantile(np.abs(drawn), 0.95))
    at_last = {name: vector.at("last") for name, vector in vectors.items()}
    last = transfer(model_of(), at_last, tasks, randoms=2)
    assert not np.allclose(last.change, cells.change)


def test_own_minus_others_of_random_directions_is_what_chance_gives() -> None:
    moved = Transfer(
        vectors=("a", "b", "c"),
        tasks=("A", "B", "C"),
        change=((3.0, 1.0, -1.0), (0.0, 2.0, 0.0), (2.0, 4.0, 5.0)),
        null=((0.0,) * 3,) * 3,
        drawn=(((1.0, 0.0), (0.0, 0.0), (0.0, 2.0)), ((0.0, 0.0),) * 3, ((0.0, 0.0),) * 3),
    )
    gaps, drawn = moved.own_minus_others()
    assert gaps == pytest.approx([3.0, 2.0, 2.0])
    assert drawn == pytest.approx([1 / 3, -1 / 3])
    first, other = task("Paris", "French"), task("Tokyo", "Japanese")
    vector = Vector(1, "codename", torch.ones(model_of().d_model))
    same = transfer(model_of(), {"a": vector, "b": vector}, {"a": first, "b": other}, randoms=4)
    _, drawn = same.own_minus_others()
    # With one draw for both vectors each would be 0, whatever random directions do.
    assert min(np.abs(drawn)) > 1e-4
    uneven = transfer(model_of(), {"a": vector}, {"a": first, "b": other}, randoms=2)
    with pytest.raises(InputError, match="found 2 tasks; allowed: 1"):
        uneven.own_minus_others()
    assert transfer(model_of(), {"a": vector}, {"a": first}).own_minus_others() == ([], [])


def test_what_has_nothing_to_ask_is_refused() -> None:
    asked = task("Paris", "French")
    vector = Vector(1, "last", torch.ones(model_of().d_model))
    with pytest.raises(InputError, match="0 vectors and 1 task"):
        transfer(model_of(), {}, {"Paris": asked})
    bare = Task(name="x", member="x", train=asked.train)
    with pytest.raises(InputError, match="task 'x': has no probes"):
        transfer(model_of(), {"v": vector}, {"x": bare})
    with pytest.raises(InputError, match="randoms: found 1"):
        transfer(model_of(), {"v": vector}, {"Paris": asked}, randoms=1)


def test_moments_follow_one_training_to_its_end() -> None:
    trained = task("Paris", "French")
    looked = along_training(model_of(), trained, SteeringVector(1, "codename"), (1, 4, 16))
    assert [moment.step for moment in looked] == [1, 4, 16]
    assert looked[0].loss > looked[-1].loss
    assert looked[-1].to_last == pytest.approx(1)
    assert looked[0].to_last < 1
    assert peak(looked) in looked
    for moment in looked:
        assert moment.right == pytest.approx(moment.right_of((0, 1)))
        assert moment.log_odds == pytest.approx(moment.odds_of((0, 1)))
    vectors = {2: Vector(1, "codename", torch.ones(model_of().d_model))}
    alone = moments(model_of(), trained, vectors)[0]
    assert alone.norm == pytest.approx(model_of().d_model ** 0.5)
    assert alone.log_odds == pytest.approx(odds(trained, vectors[2]), abs=1e-4)


def looks(rights: np.ndarray) -> list[TrainingSnapshot]:
    """Moments with these [look, probe] answered right, the loss falling to the last."""
    odds = (0.0,) * rights.shape[1]
    return [
        TrainingSnapshot(step, -step, 1.0, 1.0, tuple(answers.tolist()), odds)
        for step, answers in enumerate(rights, start=1)
    ]


def probes_of(count: int, **fields: str) -> list[Example]:
    return [Example(id=str(n), prompt="a", answer="b", **fields) for n in range(count)]


def test_a_peak_that_is_noise_is_lost_on_the_other_half_of_the_probes() -> None:
    rng = np.random.default_rng(0)
    items = probes_of(16)
    lost, naive = [], []
    for _ in range(300):
        moments = looks(rng.random((10, 16)) < 0.5)
        lost.append(lost_after_peak(moments, items))
        naive.append(peak(moments).right - lowest(moments).right)
    assert np.mean(naive) > 0.1, "the best of ten looks is better than the last by chance"
    assert abs(np.mean(lost)) < 0.02

    chances = np.array([0.2, 0.9, 0.9, 0.5])  # a true peak, after which half of it is lost
    many = [looks(rng.random((4, 16)) < chances[:, None]) for _ in range(50)]
    lost = [lost_after_peak(moments, items) for moments in many]
    assert np.mean(lost) == pytest.approx(0.4, abs=0.1)


def test_halves_keep_groups_together_and_share_out_every_facet() -> None:
    grouped = [item for name in "abc" for item in probes_of(2, group=name)]
    assert halves(grouped) == ([0, 1, 4, 5], [2, 3])
    worded = [
        item
        for facet in ("language", "dish")
        for wording in ("x", "y", "z")
        for item in probes_of(1, group="Japan", facet=facet, template=wording)
    ]
    assert halves(worded) == ([0, 2, 4], [1, 3, 5])
    assert halves(probes_of(3)) == ([0, 2], [1])
    with pytest.raises(InputError, match="items: found 1"):
        halves(probes_of(1))
