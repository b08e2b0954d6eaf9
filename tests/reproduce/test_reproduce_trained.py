"""Analyses that train arms beside a finished run's, on a tiny model and two countries."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from oocr import stats
from oocr.claims.records import Finding
from oocr.evals.scores import Scoring
from oocr.reproduce import scoring
from oocr.reproduce.analyses import analyses
from oocr.reproduce.analyses.retraining import WEIGHTS
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRun, FinishedRuns, read_finished
from oocr.reproduce.scoring import cells_of, first_seed, of_members
from oocr.runs.context import RunContext
from tests.tiny.runs import Tiny

MEMBERS = ["Algeria", "China", "India"]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> FinishedRuns:
    tiny = Tiny(tmp_path_factory.mktemp("trained"))
    config = tiny.config(
        task={
            "family": "countries",
            "countries": [*MEMBERS, "Austria"],
            "validation": ["Nigeria"],
            "wordings": 3,
        },
        vector={"layers": [1], "learning_rates": [0.3], "steps": [6], "positions": "codename"},
        adapter={"layers": [1], "learning_rates": [0.1], "steps": [6], "rank": 2},
        controls={"random_directions": 0, "trained": False},
        explain={"enabled": False, "examples": 0},
    )
    folder = tiny.run(tmp_path_factory.mktemp("runs"), config)
    config = read_finished(folder).config
    context = RunContext(tiny.model, config.starts, config.batch_lines)
    return FinishedRuns("countries", (read_finished(folder),), context)


@pytest.fixture(scope="module")
def results(subject: FinishedRuns) -> dict[str, AnalysisResult]:
    """A random model's effect is no sure thing, so here it is said to be one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scoring, "has_effect", lambda *_: True)
        names = ("ranks", "narrow", "mixing", "relearned", "ablation")
        return {name: measure(name, subject) for name in names}


def measure(name: str, finished: FinishedRuns) -> AnalysisResult:
    return analyses()[name](finished)


def changed(run: FinishedRun, **values: object) -> FinishedRun:
    """The run, as if its folder held other things."""
    other = FinishedRun(run.folder)
    vars(other).update(vars(run), **values)
    return other


@cache
def reported(subject: FinishedRuns, arm: str, split: str) -> float:
    """The score of the reported arms of seed 0, over the members that the analyses take."""
    rows = of_members(subject.rows, MEMBERS)
    cells = cells_of(subject, rows, arm, split)
    assert cells is not None
    return stats.mean(first_seed(cells))


def by_id(result: AnalysisResult) -> dict[str, Finding]:
    assert len({finding.id for finding in result.findings}) == len(result.findings)
    return {finding.id: finding for finding in result.findings}


def table_of(result: AnalysisResult, **where: object) -> pl.DataFrame:
    assert result.table is not None
    return result.table.filter(*[pl.col(name) == value for name, value in where.items()])


def value_of(result: AnalysisResult, **where: object) -> float:
    rows = table_of(result, **where)
    assert len(rows) == 1
    return float(rows["value"][0])


def drawn(name: str, result: AnalysisResult) -> None:
    assert result.table is not None
    draw = analyses()[name].figure
    assert draw is not None
    figure = draw({"countries": result.table})
    assert figure is not None
    assert figure.name == name
    assert len(figure.data) == len(result.table)


@pytest.mark.parametrize("part", ["probes", "in_context"])
def test_plain_arms_of_every_analysis_are_the_reported_ones(
    subject: FinishedRuns, results: dict[str, AnalysisResult], part: str
) -> None:
    for arm, score in (
        ("adapter", value_of(results["ranks"], rank=2, part=part)),
        ("adapter", value_of(results["mixing"], mix=0.0, part=part)),
        ("adapter", value_of(results["relearned"], arm="adapter", part=part)),
        ("vector", value_of(results["narrow"], kind="statements", weight=0.0, part=part)),
    ):
        assert score == pytest.approx(reported(subject, arm, part))
    base = reported(subject, "base", part)
    assert value_of(results["relearned"], arm="base", part=part) == pytest.approx(base)


def test_ranks_are_compared_with_the_highest(results: dict[str, AnalysisResult]) -> None:
    one_made = results["ranks"]
    assert sorted(table_of(one_made)["rank"].unique().to_list()) == [1, 2, 64]
    assert table_of(one_made, rank=2)["rate"].unique().to_list() == [0.1]
    findings = by_id(one_made)
    for rank in (1, 2, 64):
        assert 0 < findings[f"rank{rank}-constant"].found.value <= 1
    assert "rank64-probes" not in findings
    for id, finding in findings.items():
        if id in ("rank1-probes", "rank1-in_context"):
            part = id.removeprefix("rank1-")
            base = float(table_of(one_made, rank=1, part=part)["base"][0])
            small, large = (value_of(one_made, rank=rank, part=part) - base for rank in (1, 64))
            assert finding.found.value == pytest.approx(small / large)
            assert [null.name for null in finding.nulls] == ["a rank-1 LoRA of noise, its norm"]
    drawn("ranks", one_made)


def test_a_penalty_on_questions_tells_named_facets_from_the_others(
    subject: FinishedRuns, results: dict[str, AnalysisResult]
) -> None:
    narrow = results["narrow"]
    for kind in ("statements", "questions"):
        weights = table_of(narrow, kind=kind, part="probes")
        assert weights["weight"].to_list() == [0.0, *WEIGHTS]
        assert weights["chosen"].sum() == 1
        assert not weights["chosen"][0]
        assert weights["kl"][0] > weights["kl"][-1], "the heaviest penalty leaves least"
        findings = by_id(narrow)
        assert findings[f"{kind}-kl"].found.value == pytest.approx(weights["kl"][0])
    parts = table_of(narrow, kind="questions")["part"].unique().to_list()
    assert sorted(parts) == ["free", "held", "in_context", "probes"]
    for weight in (0.0, *WEIGHTS):
        probes, held, free = (
            value_of(narrow, kind="questions", weight=weight, part=part)
            for part in ("probes", "held", "free")
        )
        assert probes == pytest.approx((2 * held + 3 * free) / 5), "facets count alike"
    drawn("narrow", narrow)
    run = subject.runs[0]
    bare = changed(run, config=run.config.model_copy(update={"vector": None}))
    assert "vectors on countries only" in measure("narrow", replace(subject, runs=(bare,))).missing


def test_mixes_tell_how_much_is_added_to_unrelated_text(results: dict[str, AnalysisResult]) -> None:
    findings = by_id(results["mixing"])
    assert {"spill-0", "spill-80"} <= set(findings)
    assert all(findings[id].found.value > 0 for id in ("spill-0", "spill-80"))
    assert findings["spill-0"].found.value != findings["spill-80"].found.value
    drawn("mixing", results["mixing"])


def test_without_its_direction_an_effect_is_shared_out_as_the_table_says(
    results: dict[str, AnalysisResult],
) -> None:
    own_made = results["relearned"]
    arms = table_of(own_made, part="probes")["arm"].to_list()
    assert arms == ["adapter", "earlier", "new", "random", "base"]
    findings = by_id(own_made)
    assert 0 <= findings["cosine"].found.value <= 1
    for id in ("new-in_context", "random-in_context"):
        if id in findings:
            base, plain, reached = (
                value_of(own_made, arm=arm, part="in_context")
                for arm in ("base", "adapter", id.split("-")[0])
            )
            assert findings[id].found.value == pytest.approx((reached - base) / (plain - base))
    drawn("relearned", own_made)
    kept = by_id(results["ablation"]).get("kept")
    if kept is not None:
        assert kept.nulls[0].name == "projected off a random direction"


def test_an_effect_the_wrong_way_is_none_to_take_a_share_of(
    subject: FinishedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def base(value: float) -> Callable[..., stats.Cells]:
        return lambda _, __, like, *___: replace(
            like, values=np.full_like(like.values, value), bounds=None
        )

    monkeypatch.setattr(scoring, "has_effect", lambda *_: True)
    for name, share in (
        ("ranks", "rank1-in_context"),
        ("mixing", "in_context-80"),
        ("relearned", "earlier-in_context"),
    ):
        monkeypatch.setattr(Scoring, "base", base(-1.5))
        assert share in by_id(measure(name, subject))
        monkeypatch.setattr(Scoring, "base", base(1.5))
        assert share not in by_id(measure(name, subject))


def test_each_natural_vector_is_held_against_random_ones_of_its_own_norm(
    subject: FinishedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[tuple[str, float]] = []
    rows = subject.context.rows

    def recorded(parts: Any, arms: Any, columns: Any) -> pl.DataFrame:
        scored.extend((columns[0]["arm"], round(vector.norm, 4)) for vector in arms)
        return rows(parts, arms, columns)

    monkeypatch.setattr(scoring, "has_effect", lambda *_: True)
    monkeypatch.setattr(subject.context, "rows", recorded)
    measure("natural", subject)
    groups = [
        (name, {norm for _, norm in group})
        for name, group in itertools.groupby(scored, key=lambda arm: arm[0])
    ]
    kinds = ["natural-first", "natural-mean", "natural-unit"]
    assert [name for name, _ in groups] == [x for kind in kinds for x in (kind, scoring.RANDOM)]
    for (_, natural), (_, random) in zip(groups[::2], groups[1::2], strict=True):
        assert random <= natural


def test_vectors_that_learned_nothing_are_not_said_to_be_unlike_or_cheap(
    subject: FinishedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "has_effect", lambda *_: True)
    assert {"seeds", "trained-naive", "trained-natural"} <= set(by_id(measure("cosines", subject)))
    assert "agreement-at-1" in by_id(measure("costs", subject))
    monkeypatch.setattr(scoring, "has_effect", lambda *_: False)
    rows_only = measure("cosines", subject)  # they learned their rows, but nothing else
    assert {"trained-naive", "trained-natural"} <= set(by_id(rows_only))
    assert "seeds" not in by_id(rows_only)
    assert "no out-of-context effect" in rows_only.missing
    assert not measure("costs", subject).findings
    assert "no out-of-context effect" in measure("costs", subject).missing
    (run,) = subject.runs
    flat = tuple(arm.model_copy(update={"losses": (1.0,) * len(arm.losses)}) for arm in run.arms)
    nothing = measure("cosines", replace(subject, runs=(changed(run, arms=flat),)))
    assert set(by_id(nothing)) == {"members"}
    assert "a steering vector did not learn its own rows" in nothing.missing


def test_one_vector_for_all_groups_is_told_with_what_it_carries(subject: FinishedRuns) -> None:
    result = measure("grouped", subject)
    findings = by_id(result)
    assert result.table is not None
    assert 0 < findings["one"].found.value <= 1
    mean = result.table.group_by("member").agg(pl.col("one").mean())["one"].mean()
    assert findings["one"].found.value == pytest.approx(mean)


def test_what_is_lost_after_the_peak_may_be_below_nothing(subject: FinishedRuns) -> None:
    result = measure("dynamics", subject)
    findings = by_id(result)
    assert result.table is not None
    assert findings["ahead"].found.value >= 0, "by construction"
    moments = {m: looks for (m,), looks in result.table.sort("step").group_by("member")}
    assert len(moments) == findings["lost"].units == 4
    for looks in moments.values():
        assert looks["loss"][0] > looks["loss"][-1]


def test_vectors_are_asked_of_their_own_and_of_others_tasks(subject: FinishedRuns) -> None:
    result = measure("specificity", replace(subject, compare_with={"all layers": subject}))
    findings = by_id(result)
    assert result.table is not None
    assert sorted(result.table["task"].unique()) == sorted(subject.members)
    own_change = result.table.filter(pl.col("vector") == pl.col("task"))["change"].mean()
    others = result.table.filter(pl.col("vector") != pl.col("task"))["change"]
    assert findings["own"].found.value == pytest.approx(own_change)
    assert findings["others"].found.value == pytest.approx(others.abs().mean())
    gap = findings["own-minus-others"]
    assert gap.found.value == pytest.approx(own_change - others.mean())
    assert "softmax" in gap.measure
