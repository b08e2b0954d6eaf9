"""Schedules of many workers: known optima, what limits them, and what `oocr plan` says."""

from __future__ import annotations

import pytest

from oocr.runs.estimates.time_estimate import prediction
from oocr.runs.read_config import load_configs
from oocr.work.schedule import PlannedJob, planned_stages, schedule, start_seconds
from tests.command_line import Call
from tests.tiny.runs import Tiny, write_yaml


def jobs(*seconds: float, stage: str = "training", task: str = "t", recording: float = 0.0):
    return [PlannedJob(stage, each, {task: recording}) for each in seconds]


def test_the_longest_goes_first_to_whoever_is_free() -> None:
    # In the given order two workers would need 10: 3 + 7 beside 2 + 2.
    made = schedule([jobs(3, 2, 2, 7)], 2, 0.0)
    assert made.seconds == 7
    assert made.efficiency == 1.0
    assert "shared evenly" in made.limit()
    assert schedule([jobs(3, 2, 2, 7)], 1, 5.0).seconds == 19


def test_a_stage_waits_for_the_one_before() -> None:
    made = schedule([jobs(4, 1, stage="choosing"), jobs(2, 2)], 2, 1.0)
    assert made.seconds == 1 + 4 + 2
    assert [stage.seconds for stage in made.stages] == [4, 2]
    assert made.limit().endswith("lost by the stage 'choosing': 2 jobs, the longest 4 s")


def test_each_worker_records_a_task_once() -> None:
    one = schedule([jobs(1, 1, 1, 1, recording=10.0)], 1, 0.0)
    assert (one.seconds, one.recordings) == (14, 10)
    four = schedule([jobs(1, 1, 1, 1, recording=10.0)], 4, 0.0)
    assert (four.seconds, four.recordings) == (11, 40)
    assert "recording each task's texts once in each worker" in four.limit()
    assert "loading the model" in schedule([jobs(1, 1)], 2, 60.0).limit()


def test_a_worker_stays_with_a_task_that_it_has_recorded() -> None:
    stage = [
        *jobs(9, 9, 9, task="a", recording=5.0),
        *jobs(10, 10, 10, task="b", recording=5.0),
    ]
    made = schedule([stage], 2, 0.0)
    assert made.recordings == 5 + 5, "each has begun with another task"
    short = [*jobs(10, 4, task="a", recording=5.0), *jobs(10, task="b", recording=5.0)]
    assert schedule([short], 1, 0.0).seconds == 34


def test_a_plan_says_what_many_take(call: Call, tiny: Tiny, tmp_path) -> None:
    source = write_yaml(tmp_path / "run.yaml", tiny.config().settings)
    plan = prediction(load_configs(source)[0], tmp_path)
    stages = planned_stages(plan.sample, plan.gpu, plan.speed)
    assert [stage[0].stage for stage in stages] == ["choosing", "training"]
    arms = sum(len(found) for found in (plan.sample.tried, plan.sample.reported))
    assert 0 < sum(map(len, stages)) <= arms
    trained = sum(job.seconds for stage in stages for job in stage)
    start = start_seconds(plan.needs.parts["weights"])
    assert schedule(stages, 1, start).jobs == pytest.approx(trained)
    code, out, err = call("plan", source, "--nodes", 3)
    assert (code, err) == (0, "")
    assert "with 3 machines like this one, 3 workers: about" in out
    assert "limit: " in out
    out = call("plan", source, "--gpu", "80GB", "--gpus", "8").out
    assert "with 8 GPUs, 8 workers: about" in out
    assert "with --gpu give --gpus" in call("plan", source, "--gpu", "80", "--nodes", "2").err
    assert "name one with --gpu" in call("plan", source, "--gpus", "8").err
    joined = ("--gpus-per-worker", "2", "--device", "auto")
    few = call("plan", source, "--gpu", "80GB", "--gpus", "1", *joined)
    assert (few.code, "--gpus: 1; allowed: 2 or more" in few.err) == (2, True)
