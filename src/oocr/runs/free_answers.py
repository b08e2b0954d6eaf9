"""Answers in the model's own words: of the untouched model and of every arm that is reported."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl

from oocr.data.examples import FreeTextExample
from oocr.evals.free_text import answers, free_rows
from oocr.runs.arms import load_intervention
from oocr.runs.context import RunContext, items_hash
from oocr.runs.controls import Columns, kept_rows
from oocr.runs.executor import Job
from oocr.runs.records import ArmRecord
from oocr.tasks.task import Task, TaskSet


def free_jobs(
    tasks: TaskSet, arms: Sequence[ArmRecord], folder: Path
) -> list[tuple[str, Job[pl.DataFrame]]]:
    """The free questions of the test tasks, put to the base and to each reported arm.

    Args:
        tasks: whose test tasks; those without free questions get no job.
        arms: all arms; the reported ones are asked, where they stopped, with every seed.
        folder: where the arms are and the answers are kept.
    """
    asking = {task.name: task for task in tasks.test if task.free}
    if not asking:
        return []
    about: list[object] = [
        [name, task.member, items_hash(task.free)] for name, task in asking.items()
    ]
    job = partial(_base, tests=tuple(asking.values()))
    jobs: list[tuple[str, Job[pl.DataFrame]]] = [
        ("base", partial(kept_rows, job=job, target=folder / "base-free", about=about))
    ]
    for arm in arms:
        task = asking.get(arm.task)
        if task is None or arm.role != "test":
            continue
        own = partial(_of_arm, task=task, arm=arm, folder=folder)
        key: list[object] = [arm.key, items_hash(task.free)]
        kept = partial(kept_rows, job=own, target=folder / f"{arm.id}-free", about=key)
        jobs.append((f"{arm.method}, {arm.member}, seed {arm.seed}", kept))
    return jobs


def _base(lab: RunContext, *, tests: Sequence[Task]) -> list[pl.DataFrame]:
    every = [item for task in tests for item in task.free]
    texts = iter(answers(lab.model, every, None))
    frames: list[pl.DataFrame] = []
    for task in tests:
        said = [next(texts) for _ in task.free]
        columns: Columns = {
            **{"arm": "base", "layer": None, "control": "", "member": task.member},
            **{"seed": None, "step": None},
        }
        frames += _parts(task.free, said, columns)
    return frames


def _of_arm(lab: RunContext, *, task: Task, arm: ArmRecord, folder: Path) -> list[pl.DataFrame]:
    said = answers(lab.model, task.free, load_intervention(folder, arm))
    columns: Columns = {
        **{"arm": arm.method, "layer": arm.layer, "control": "", "member": task.member},
        **{"seed": arm.seed, "step": arm.stop_step},
    }
    return _parts(task.free, said, columns)


def _parts(
    items: Sequence[FreeTextExample], texts: Sequence[str], columns: Columns
) -> list[pl.DataFrame]:
    """Rows of the out-of-context questions (part "free"), and of those on the trained skill."""
    parts: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        trained = item.tags.get("part") == "in-context"
        parts.setdefault("free_in_context" if trained else "free", []).append(index)
    return [
        free_rows(
            [items[i] for i in some],
            [texts[i] for i in some],
            {**columns, "part": part, "final": True},
        )
        for part, some in parts.items()
    ]
