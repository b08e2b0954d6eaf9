"""The public names, as a notebook uses them, on a tiny model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import plotly.graph_objects as go
import polars as pl
import pytest
import torch

import oocr
from oocr.explain import Constancy
from oocr.models.language_model import LanguageModel
from tests.tiny.runs import environment, save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return oocr.load_model(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def task() -> oocr.Task:
    return oocr.load_task("countries", country="Japan", train="capital")


@pytest.fixture(scope="module")
def arms(model, task) -> dict[str, oocr.Vector | oocr.Adapter]:
    vector = oocr.train(model, task, oocr.SteeringVector(1, "codename"), steps=8)
    spec = oocr.LowRankAdapter(layers=(1,), rank=2)
    adapter = oocr.train(model, task, spec, steps=4, learning_rate=0.03)
    swap = oocr.explain.swap(model, adapter, task)[1]
    return {"vector": vector, "LoRA": adapter, "swap": swap}


def test_every_public_name_is_there() -> None:
    for name in oocr.__all__:
        assert getattr(oocr, name) is not None
    assert set(dir(oocr)) == set(oocr.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = oocr.nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, oocr; print([m for m in ('torch', 'polars') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_arms_are_scored_side_by_side(model, task, arms) -> None:
    scores = oocr.evaluate(model, task, {"base": None, **arms})
    assert isinstance(scores, oocr.Scores)
    asked = len(task.probes) + len(task.in_context)
    assert len(scores.rows) == 4 * asked
    table = scores.table()
    arm_names = ["base", "vector", "LoRA", "swap"]
    assert table.columns == ["part", "facet", "counted", "items", *arm_names]
    whole = table["facet"] == "all probes"
    assert int(table.filter(~whole)["items"].sum()) == asked
    assert table.filter(whole)["items"].to_list() == [len(task.probes)]
    assert table.filter(whole)["vector"].item() == scores.accuracy("vector").value
    base = scores.rows.filter(arm="base", part="probes")
    by_facet = base.group_by("facet").agg(pl.col("right").mean())["right"].mean()
    interval = scores.accuracy("base")
    assert interval.low < interval.high, "one member: its probes are what can be drawn"
    assert interval.value == pytest.approx(by_facet)
    assert interval.low <= interval.value <= interval.high
    loss = {
        name: -float(frame["logp"].mean())  # type: ignore[arg-type]
        for (name,), frame in scores.rows.filter(part="in_context").group_by("arm")
    }
    assert loss["vector"] < loss["base"], "it learnt what it was trained on"
    assert loss["LoRA"] < loss["base"]


def test_scores_are_shown_as_a_table_and_a_figure(model, task, arms) -> None:
    scores = oocr.evaluate(model, task, {"base": None, **arms})
    for word in ("language", "in_context", "vector", "LoRA"):
        assert word in repr(scores)
    figure = scores.plot()
    assert isinstance(figure, go.Figure)
    assert [bar.name for bar in figure.data] == ["base", "vector", "LoRA", "swap"]
    assert figure.data[1].y == tuple(scores.table()["vector"])
    assert figure.data[0].x == tuple(scores.table()["facet"])


def test_nothing_to_score_is_refused(model, task) -> None:
    with pytest.raises(oocr.InputError, match="0 arms"):
        oocr.evaluate(model, task, {})


def test_how_constant_a_lora_is(model, task, arms) -> None:
    by_group = oocr.explain.constancy(model, arms["LoRA"], task)
    assert list(by_group) == ["span", "other prompt tokens", "unrelated text"]
    for measures in by_group.values():
        assert isinstance(measures, Constancy)
        assert -1 <= measures.cosine_low <= measures.cosine <= 1
        assert 0 <= measures.energy <= measures.rank1 + 1e-9
        assert measures.norm > 0
    assert by_group["unrelated text"].n >= 1000


def test_the_swaps_are_vectors_at_the_loras_block(model, task, arms) -> None:
    span, everywhere = oocr.explain.swap(model, arms["LoRA"], task)
    assert (span.layer, span.positions) == (1, "codename")
    assert (everywhere.layer, everywhere.positions) == (1, "all")
    assert span.norm > 0
    last, _ = oocr.explain.swap(model, arms["LoRA"], task, positions="last")
    assert last.positions == "last"
    assert last.cosine(span) < 1


def test_the_same_seed_trains_the_same_vector(model, task, arms) -> None:
    again = oocr.train(model, task, oocr.SteeringVector(1, "codename"), steps=8)
    assert torch.equal(again.direction, arms["vector"].direction)
    other = oocr.train(model, task, oocr.SteeringVector(1, "codename"), steps=8, seed=1)
    assert not torch.equal(other.direction, again.direction)


def test_a_vector_changes_what_is_said_and_the_model_stays_as_it_was(model, task, arms) -> None:
    prompt = task.train[0].prompt
    before = oocr.generate(model, prompt)
    strong = arms["vector"] * 8
    assert oocr.generate(model, prompt, strong) != before
    assert oocr.generate(model, prompt) == before


def test_arms_are_saved_and_loaded(arms, tmp_path: Path) -> None:
    vector, adapter = arms["vector"], arms["LoRA"]
    assert torch.equal(
        oocr.Vector.load(vector.save(tmp_path / "v.safetensors")).direction, vector.direction
    )
    loaded = oocr.Adapter.load(adapter.save(tmp_path / "lora"))
    assert all(torch.equal(loaded.tensors[k], adapter.tensors[k]) for k in adapter.tensors)


def test_tasks_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(
        oocr.InputError, match="task 'cities': allowed are 'countries', 'backdoor', 'risk'"
    ):
        oocr.load_task("cities")
    with pytest.raises(oocr.InputError, match="direction 'bold': allowed are 'risky', 'safe'"):
        oocr.load_task("risk", direction="bold")
    with pytest.raises(oocr.InputError, match="Narnia"):
        oocr.load_task("countries", country="Narnia")
