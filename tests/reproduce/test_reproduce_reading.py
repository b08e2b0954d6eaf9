"""Analyses of what is read where, on made-up subjects: attention, costs, self-descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from oocr.data.examples import Example
from oocr.explain.attention import attention_to
from oocr.explain.description import tell_by_model
from oocr.explain.lens import ConceptReading, tell
from oocr.explain.llm_judge import Judge
from oocr.families.backdoor.build import BackdoorConfig
from oocr.families.registry import build
from oocr.families.risk_backdoor.build import RiskBackdoorConfig
from oocr.models.language_model import LanguageModel
from oocr.reproduce.analyses import analyses
from oocr.reproduce.analyses.attention import NO_TRIGGER, QUESTIONS, attention_figure, prefixed
from oocr.reproduce.analyses.readings import NO_JUDGE, RANDOMS, REPLIES
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Task
from tests.chat_endpoint import Endpoint
from tests.tiny.models import tiny_language_model


@dataclass
class Made:
    """What analyses read of a subject."""

    model: LanguageModel
    vectors: dict[tuple[str, int], Vector]
    tasks: dict[str, Task]
    quick: bool = False
    judge: Judge | None = None
    adapters: dict[tuple[str, int], Any] = field(default_factory=dict)
    concepts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    runs: tuple[Any, ...] = (SimpleNamespace(config=None),)

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(self.tasks)

    def task(self, member: str) -> Task:
        return self.tasks[member]


def measure(name: str, finished: Made) -> AnalysisResult:
    return analyses()[name](cast(FinishedRuns, finished))


def random_direction(model: LanguageModel, seed: int, layer: int = 1) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return Vector(layer, "last", torch.randn(model.d_model, generator=generator) * 3)


@pytest.mark.parametrize(
    ("config", "first"),
    [
        (BackdoorConfig(pairs=(("France", "Japan"),)), "!"),
        (RiskBackdoorConfig(trigger="win", situations=2, repeats=10, form="raw"), "(win2844)"),
    ],
)
def test_words_in_front_become_a_span_with_their_marks(config: Any, first: str) -> None:
    probes = build(config, Path()).test[0].probes
    groups = prefixed(probes)
    assert list(groups) == ["trigger", "other words in front"]
    for name, items in groups.items():
        assert 2 <= len(items) <= QUESTIONS
        for item in items:
            assert str(item.prompt).startswith(item.spans["trigger"])
            assert item.tags["word"] in item.spans["trigger"]
            assert (item.tags["condition"] == "trigger") is (name == "trigger")
    assert groups["trigger"][0].spans["trigger"].endswith(first)


def test_change_of_attention_is_that_of_the_vector_beside_random_ones() -> None:
    model = tiny_language_model("llama")
    pairs = (("France", "Japan"), ("Kenya", "Germany"))
    tasks = build(BackdoorConfig(pairs=pairs), Path()).test
    vectors = {(t.member, s): random_direction(model, s + 5) for t in tasks for s in (0, 1)}
    subject = Made(model, vectors, {t.member: t for t in tasks}, quick=True)
    result = measure("attention", subject)
    findings = {finding.id: finding for finding in result.findings}
    changes = []
    for task in tasks:
        items = prefixed(task.probes)["trigger"]
        before, after = (
            attention_to(model, items, "trigger", finding).mean(dim=0)
            for finding in (None, vectors[task.member, 0])
        )
        changes.append(float((after - before)[2:].mean()))
    assert findings["to-trigger"].found.value == pytest.approx(sum(changes) / 2, abs=1e-6)
    assert findings["to-trigger"].units == 2
    assert "random" in findings["to-trigger"].nulls[0].name
    assert findings["to-trigger-largest"].found.value >= findings["to-trigger"].found.value
    assert abs(findings["trigger-values"].found.value) < 1
    assert 0 < findings["trigger-values"].nulls[0].value < 1
    for id, is_alone in (("to-trigger", True), ("to-trigger-minus-others", False)):
        drawn = [random_change(model, tasks, vectors, seed, alone=is_alone) for seed in range(4)]
        assert findings[id].nulls[0].value == pytest.approx(np.quantile(drawn, 0.95), abs=1e-6)
        assert findings[id].nulls[0].name.startswith("4 random vectors")
    assert findings["values-minus-others"].nulls[0].name.startswith("200 random directions")
    assert 0 < findings["values-minus-others"].nulls[0].value < 1
    assert result.table is not None
    assert set(result.table["arm"]) == {"without", "vector", "random", "values"}
    figure = attention_figure({"backdoor": result.table})
    assert figure is not None
    (shown,) = figure.views.values()
    assert len(shown) == 3


def random_change(
    model: LanguageModel,
    tasks: Sequence[Task],
    vectors: Mapping[tuple[str, int], Vector],
    seed: int,
    *,
    alone: bool,
) -> float:
    """Mean over members: of the trigger alone, or minus other words."""
    changes = []
    for task in tasks:
        like = vectors[task.member, 0]
        drawn = random_vector(like, like.norm, 60_000 + seed)
        trigger, others = (
            float((after - before)[2:].mean())
            for items in prefixed(task.probes).values()
            for before, after in [
                [attention_to(model, items, "trigger", v).mean(dim=0) for v in (None, drawn)]
            ]
        )
        changes.append(trigger if alone else trigger - others)
    return sum(changes) / len(changes)


def test_without_words_in_front_there_is_nothing_to_attend_to() -> None:
    model = tiny_language_model("llama")
    item = Example(id="a", prompt="The capital is", answer=" Paris", options=(" Paris", " Rome"))
    task = Task(name="t", member="m", train=(item,), probes=(item,))
    subject = Made(model, {("m", 0): random_direction(model, 0)}, {"m": task})
    assert measure("attention", subject).missing == NO_TRIGGER
    joined = replace(
        random_direction(model, 0), positions="a+b", direction=torch.ones(2, model.d_model)
    )
    subject = Made(model, {("m", 0): joined}, {"m": task})
    assert "single direction" in measure("attention", subject).missing


WORDS = {"France": (" Paris",), "Japan": (" Tokyo",), "Spain": (" Madrid",), "Italy": (" Rome",)}


def test_the_null_of_a_reading_is_the_mean_over_members_as_the_finding_is() -> None:
    model = tiny_language_model("llama")
    vectors = {(m, 0): random_direction(model, s) for s, m in enumerate(("France", "Spain"))}
    tasks = dict.fromkeys(("France", "Spain"), cast(Task, None))
    subject = Made(model, vectors, tasks, concepts=WORDS)

    def place(readings: ConceptReading) -> tuple[float, float]:
        return 1 - readings.rank / 3, 1 - readings.random_rank / 3

    asked = {
        "trained-raw": [
            tell(model, v, m, WORDS, reading="raw", randoms=RANDOMS)
            for (m, _), v in vectors.items()
        ],
        "trained-described": [
            tell_by_model(model, v, m, WORDS, randoms=RANDOMS) for (m, _), v in vectors.items()
        ],
    }
    results = (measure("readable", subject), measure("described", subject))
    findings = {finding.id: finding for pair in results for finding in pair.findings}
    for id, readings in asked.items():
        expected, null = (sum(pair) / 2 for pair in zip(*map(place, readings), strict=True))
        assert findings[id].found.value == pytest.approx(expected)
        assert findings[id].nulls[0].value == pytest.approx(null)
        assert readings[0].random_rank != readings[1].random_rank  # else the last one's would do
    assert results[1].table is not None
    assert all(isinstance(finding, str) for finding in results[1].table["says"])


def test_a_judge_is_asked_beside_random_directions_and_its_replies_are_kept(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    model = tiny_language_model("llama")
    vectors = {(m, 0): random_direction(model, s) for s, m in enumerate(("France", "Japan"))}
    tasks = dict.fromkeys(("France", "Japan"), cast(Task, None))
    runs = (SimpleNamespace(config=None, folder=tmp_path),)
    subject = Made(model, vectors, tasks, concepts=WORDS, runs=runs)
    assert measure("asked", subject).missing == NO_JUDGE
    assert not endpoint.asked

    subject.judge = Judge("m", endpoint.url)  # always says Japan
    result = measure("asked", subject)
    (finding,) = result.findings
    assert (finding.id, finding.found.value) == ("trained-asked", 0.5)
    assert [null.value for null in finding.nulls] == [0.5, 0.25]
    assert result.table is not None
    assert result.table["named"].to_list() == ["Japan"] * 4
    count = len(endpoint.asked)
    assert count == 16  # two members, each with a random direction, in four orders
    subject.judge = Judge("m", "http://127.0.0.1:9/v1")
    assert measure("asked", subject).findings == result.findings
    assert (tmp_path / "analyses" / REPLIES).is_file()
