"""What a tracker gets of a finished run is what the run's own files say."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from oocr import stats
from oocr.claims.records import Claim, Estimate, Null
from oocr.runs.folder import RunFolder
from oocr.tracking.tracked_runs import SUMMARY, TrackedRun, summary, tracked_runs


@pytest.fixture(scope="module")
def run(done: Path) -> RunFolder:
    return RunFolder(done)


@pytest.fixture(scope="module")
def tracked(run: RunFolder) -> dict[str, TrackedRun]:
    return {one.name: one for one in tracked_runs(run)}


def curve(tracked: TrackedRun, name: str) -> dict[int, float]:
    return {step: values[name] for step, values in tracked.points.items() if name in values}


def test_every_reported_arm_is_a_run_and_the_verdicts_are_one(
    run: RunFolder, tracked: dict[str, TrackedRun]
) -> None:
    assert list(tracked) == [*(arm.id for arm in run.arms), SUMMARY]
    assert len(tracked) > 3
    assert all(list(one.points) == sorted(one.points) for one in tracked.values())


def test_losses_are_those_of_the_history(run: RunFolder, tracked: dict[str, TrackedRun]) -> None:
    assert run.history is not None
    for (arm,), rows in run.history.group_by("arm"):
        columns = {"loss": "loss/training", "stop_loss": "loss/held_out"}
        for column, name in columns.items():
            there = rows.filter(pl.col(column).is_not_null())
            expected = dict(zip(there["step"], there[column], strict=True))
            assert curve(tracked[str(arm)], name) == expected


def test_scores_are_the_runs_own(run: RunFolder, tracked: dict[str, TrackedRun]) -> None:
    assert run.rows is not None
    assert run.scoring is not None
    scored = {arm.id: curve(tracked[arm.id], "score/probes") for arm in run.arms}
    assert max(map(len, scored.values())) == 2  # at both steps that the tiny run tries
    for arm in run.arms:
        of_arm = run.scoring.rows(run.rows, arm.method, arm.control, seed=arm.seed)
        cells = run.scoring.score(of_arm.filter(pl.col("member") == arm.member))
        assert cells is not None
        assert scored[arm.id][arm.stop_step] == pytest.approx(stats.mean(cells))
        of_skill = run.scoring.rows(run.rows, arm.method, arm.control, "in_context", arm.seed)
        right = of_skill["right"]
        assert curve(tracked[arm.id], "score/in_context")[arm.stop_step] == right.mean()


def test_settings_say_which_arm_it_is_and_nothing_of_this_machine(
    run: RunFolder, tracked: dict[str, TrackedRun]
) -> None:
    for arm in run.arms:
        settings = tracked[arm.id].settings
        names = ("method", "member", "seed", "layer", "learning_rate", "stop_step", "norm")
        assert {name: settings[name] for name in names} == {n: getattr(arm, n) for n in names}
        assert settings["run"] == run.folder.name
        assert settings["model"] == "model"  # the folder's name
        assert ("rank" in settings, "site" in settings) == (
            arm.method == "adapter",
            arm.method == "vector",
        )
    text = json.dumps([dict(one.settings) for one in tracked.values()])
    assert str(run.folder.parent.parent) not in text


def test_the_summary_has_each_claims_verdict_and_numbers(
    run: RunFolder, tracked: dict[str, TrackedRun]
) -> None:
    one = tracked[SUMMARY]
    assert run.claims
    for claim in run.claims:
        assert one.settings[f"claims/{claim.id}/verdict"] == claim.verdict
        assert one.points[0][f"claims/{claim.id}/value"] == claim.found.value
        assert one.points[0][f"claims/{claim.id}/low"] == claim.found.low


def test_names_of_nulls_have_only_characters_that_all_trackers_take() -> None:
    found = Estimate(value=0.5, low=0.4, high=0.6, n="3 members")
    null = Null(name="20 random directions, 95th centile", value=0.1)
    words = {"measure": "m", "verdict": "holds", "rule": "r", "command": "c", "claim": "w"}
    claim = Claim.model_validate({"id": "a", "found": found, "nulls": (null,), **words})
    points = summary((claim,), {"seeds": 3}).points[0]
    assert points == {
        "claims/a/value": 0.5,
        "claims/a/low": 0.4,
        "claims/a/high": 0.6,
        "claims/a/null/20-random-directions-95th-centile": 0.1,
    }  # and no base nor ceiling: it has none
