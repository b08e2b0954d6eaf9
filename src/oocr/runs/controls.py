"""What is scored beside the arms: base, ceiling, random directions, answers in free text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import polars as pl
import torch
from torch import Tensor

from oocr.data.examples import Example, FreeTextExample, examples_hash
from oocr.evals.free_text import answers, free_rows
from oocr.evals.probes import Probes, rows
from oocr.io import key_of
from oocr.runs.arms import load_intervention
from oocr.runs.context import RunContext
from oocr.runs.executor import Job
from oocr.runs.folder import kept_rows
from oocr.runs.records import ArmRecord
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Task, TaskSet

Columns = dict[str, str | int | float | None]
CHUNK = 5
"""Random directions per job."""

CEILING_CHUNK = 64
"""Items of the ceiling per job: they fill the gaps that the last arms leave."""


def base_jobs(tasks: TaskSet, folder: Path) -> list[tuple[str, Job[pl.DataFrame]]]:
    """The untouched model on the test tasks; kept in `folder`."""
    job = partial(_base, tests=tasks.test)
    return [("base", partial(_kept, job=job, target=folder / "base", about=_asked(tasks)))]


def ceiling_jobs(tasks: TaskSet, folder: Path) -> list[tuple[str, Job[pl.DataFrame]]]:
    """The untouched model on the ceiling's items; kept in `folder`."""
    jobs: list[tuple[str, Job[pl.DataFrame]]] = []
    for begin in range(0, len(tasks.ceiling), CEILING_CHUNK):
        items = tasks.ceiling[begin : begin + CEILING_CHUNK]
        target = folder / f"ceiling-{begin}"
        job = partial(_ceiling, items=items)
        kept = partial(_kept, job=job, target=target, about=[examples_hash(items)])
        jobs.append((f"ceiling, {begin} to {begin + len(items) - 1}", kept))
    return jobs


def _asked(tasks: TaskSet) -> list[object]:
    return [[task.member, task.asked_hash] for task in tasks.test]


def _kept(
    context: RunContext, *, job: Job[list[pl.DataFrame]], target: Path, about: list[object]
) -> pl.DataFrame:
    """Rows that are kept in a folder: a run that is started again finds them."""
    model = [context.model.fingerprint, str(torch.__version__), torch.get_num_threads()]

    def make(_: Path) -> pl.DataFrame:
        return pl.concat(job(context), how="diagonal_relaxed")

    return kept_rows(target, key_of(model, about), make)


def _base(context: RunContext, *, tests: Sequence[Task]) -> list[pl.DataFrame]:
    scored = context.scores(_questions(tests), None)[0]
    return _rows(tests, [scored] * len(tests), "base")


def _ceiling(context: RunContext, *, items: Sequence[Example]) -> list[pl.DataFrame]:
    # Only the base answers these, so nothing is kept for other arms.
    scores = Probes.of(context.model, items).scores(None)[0]
    parts: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(items):
        part = "in_context" if item.tags.get("part") == "in-context" else "probes"
        parts.setdefault((item.tags.get("stated", item.group), part), []).append(index)
    return [
        rows([items[i] for i in indices], scores[indices], _columns("ceiling", member, part))
        for (member, part), indices in parts.items()
    ]


def _questions(tests: Sequence[Task]) -> list[Example]:
    return [item for task in tests for items in task.scored.values() for item in items]


def _rows(
    tests: Sequence[Task], scores: Sequence[Tensor], arm: str, seed: int | None = None
) -> list[pl.DataFrame]:
    """Rows of all tasks; per task the scores of all tasks' questions."""
    frames: list[pl.DataFrame] = []
    begin = 0
    for task, of_task in zip(tests, scores, strict=True):
        for part, items in task.scored.items():
            end = begin + len(items)
            columns = {**_columns(arm, task.member, part), "seed": seed}
            frames.append(rows(items, of_task[begin:end], columns))
            begin = end
    return frames


def random_jobs(
    tasks: TaskSet, like: Sequence[Vector], name: str, count: int, folder: Path
) -> list[tuple[str, Job[pl.DataFrame]]]:
    """Random directions on every test task: what any vector of that size would do.

    All tasks share the directions, and a question that several ask is asked once. Where two tasks
    are compared (log-odds contrasts), each direction is held against the next.

    Args:
        tasks: whose test tasks.
        like: trained vectors of one site; their median norm is used.
        name: the arm's name in the rows.
        count: how many directions.
        folder: where the rows are kept.
    """
    norm = median(vector.norm for vector in like)
    site = [*like[0].where, list(like[0].direction.shape), norm]
    jobs: list[tuple[str, Job[pl.DataFrame]]] = []
    for begin in range(0, count, CHUNK):
        numbers = range(begin, min(begin + CHUNK, count))
        job = partial(_random, tasks=tasks, like=like[0], norm=norm, name=name, numbers=numbers)
        target = folder / f"{name} {numbers.start}".replace(" ", "-")
        about = [*site, tasks.score, numbers.start, numbers.stop, *_asked(tasks)]
        kept = partial(_kept, job=job, target=target, about=about)
        jobs.append((f"{name}, {numbers.start} to {numbers.stop - 1}", kept))
    return jobs


def _random(
    context: RunContext, *, tasks: TaskSet, like: Vector, norm: float, name: str, numbers: range
) -> list[pl.DataFrame]:
    # Number n pairs direction n with n + 1 where two tasks are compared.
    shift = 1 if tasks.score == "log_odds" else 0
    last = numbers.stop + shift * (len(tasks.test) - 1)
    vectors = [random_vector(like, norm, 10_000 + n) for n in range(numbers.start, last)]
    scored = context.scores(_questions(tasks.test), vectors)
    frames: list[pl.DataFrame] = []
    for place, number in enumerate(numbers):
        by_task = [scored[shift * index + place] for index in range(len(tasks.test))]
        frames += _rows(tasks.test, by_task, name, number)
    return frames


def _columns(arm: str, member: str, part: str) -> Columns:
    return {
        **{"arm": arm, "control": "", "member": member, "seed": None, "part": part},
        **{"step": None, "final": True},
    }


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
        [name, task.member, examples_hash(task.free)] for name, task in asking.items()
    ]
    job = partial(_free_base, tests=tuple(asking.values()))
    jobs: list[tuple[str, Job[pl.DataFrame]]] = [
        ("base", partial(_kept, job=job, target=folder / "base-free", about=about))
    ]
    for arm in arms:
        task = asking.get(arm.task)
        if task is None or arm.role != "test":
            continue
        of_arm = partial(_free_of_arm, task=task, arm=arm, folder=folder)
        key: list[object] = [arm.key, examples_hash(task.free)]
        kept = partial(_kept, job=of_arm, target=folder / f"{arm.id}-free", about=key)
        jobs.append((f"{arm.method}, {arm.member}, seed {arm.seed}", kept))
    return jobs


def _free_base(context: RunContext, *, tests: Sequence[Task]) -> list[pl.DataFrame]:
    questions = [item for task in tests for item in task.free]
    texts = iter(answers(context.model, questions, None))
    frames: list[pl.DataFrame] = []
    for task in tests:
        replies = [next(texts) for _ in task.free]
        columns: Columns = {
            **{"arm": "base", "layer": None, "control": "", "member": task.member},
            **{"seed": None, "step": None},
        }
        frames += _free_rows(task.free, replies, columns)
    return frames


def _free_of_arm(
    context: RunContext, *, task: Task, arm: ArmRecord, folder: Path
) -> list[pl.DataFrame]:
    replies = answers(context.model, task.free, load_intervention(folder, arm))
    columns: Columns = {
        **{"arm": arm.method, "layer": arm.layer, "control": "", "member": task.member},
        **{"seed": arm.seed, "step": arm.stop_step},
    }
    return _free_rows(task.free, replies, columns)


def _free_rows(
    items: Sequence[FreeTextExample], texts: Sequence[str], columns: Columns
) -> list[pl.DataFrame]:
    """Rows of the out-of-context questions (part "free"), and of those on the trained skill."""
    parts: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        trained = item.tags.get("part") == "in-context"
        parts.setdefault("free_in_context" if trained else "free", []).append(index)
    return [
        free_rows(
            [items[i] for i in indices],
            [texts[i] for i in indices],
            {**columns, "part": part, "final": True},
        )
        for part, indices in parts.items()
    ]
