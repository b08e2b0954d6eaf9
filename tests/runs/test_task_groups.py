"""Which test tasks the untouched model and random directions answer in one job."""

from __future__ import annotations

from pathlib import Path

import pytest

from oocr.families.registry import build
from oocr.runs.controls import task_groups
from oocr.runs.read_config import load_configs
from oocr.tasks.task import TaskSet


def tasks_of(name: str) -> TaskSet:
    return build(load_configs(name)[0].task, Path())


def test_tasks_with_questions_of_their_own_are_scored_apart() -> None:
    tasks = tasks_of("functions")
    groups = task_groups(tasks)
    assert [group.tests for group in groups] == [(task,) for task in tasks.test]
    assert [group.label("base") for group in groups] == [f"base, {t.member}" for t in tasks.test]
    assert len({group.target(Path(), "base") for group in groups}) == len(groups)


@pytest.mark.parametrize("name", ["countries", "risk"])
def test_tasks_that_share_questions_or_are_compared_are_scored_together(name: str) -> None:
    tasks = tasks_of(name)
    (group,) = task_groups(tasks)
    assert group.tests == tuple(tasks.test)
    assert (group.label("base"), group.target(Path(), "random 5")) == ("base", Path("random-5"))
