"""Rows of everything that isn't trained: base, ceiling, random directions of the same norm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import polars as pl
import torch
from torch import Tensor

from oocr.data.examples import Example
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.io import keep, key_of
from oocr.runs.arms import read_table
from oocr.runs.context import RunContext, items_hash
from oocr.runs.executor import Job
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
    return [("base", partial(kept_rows, job=job, target=folder / "base", about=_asked(tasks)))]


def ceiling_jobs(tasks: TaskSet, folder: Path) -> list[tuple[str, Job[pl.DataFrame]]]:
    """The untouched model on the ceiling's items; kept in `folder`."""
    jobs: list[tuple[str, Job[pl.DataFrame]]] = []
    for begin in range(0, len(tasks.ceiling), CEILING_CHUNK):
        some = tasks.ceiling[begin : begin + CEILING_CHUNK]
        target = folder / f"ceiling-{begin}"
        job = partial(_ceiling, items=some)
        kept = partial(kept_rows, job=job, target=target, about=[items_hash(some)])
        jobs.append((f"ceiling, {begin} to {begin + len(some) - 1}", kept))
    return jobs


def _asked(tasks: TaskSet) -> list[object]:
    return [
        [task.member, p, items_hash(some)] for task in tasks.test for p, some in task.scored.items()
    ]


def kept_rows(
    lab: RunContext, *, job: Job[list[pl.DataFrame]], target: Path, about: list[object]
) -> pl.DataFrame:
    """Rows made once: a run that is started again finds them."""
    key = key_of(lab.model.fingerprint, str(torch.__version__), torch.get_num_threads(), about)

    def write(part: Path) -> None:
        pl.concat(job(lab), how="diagonal_relaxed").write_parquet(part / "rows.parquet")

    return read_table(keep(target, key, write) / "rows.parquet")


def _base(lab: RunContext, *, tests: Sequence[Task]) -> list[pl.DataFrame]:
    scored = lab.scores(_questions(tests), None)[0]
    return _rows(tests, [scored] * len(tests), "base")


def _ceiling(lab: RunContext, *, items: Sequence[Example]) -> list[pl.DataFrame]:
    # Only the base answers these, so nothing is kept for other arms.
    scores = Probes.of(lab.model, items).scores(None)[0]
    parts: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(items):
        part = "in_context" if item.tags.get("part") == "in-context" else "probes"
        parts.setdefault((item.tags.get("stated", item.group), part), []).append(index)
    return [
        rows([items[i] for i in some], scores[some], _columns("ceiling", member, part))
        for (member, part), some in parts.items()
    ]


def _questions(tests: Sequence[Task]) -> list[Example]:
    return [item for task in tests for items in task.scored.values() for item in items]


def _rows(
    tests: Sequence[Task], scores: Sequence[Tensor], arm: str, seed: int | None = None
) -> list[pl.DataFrame]:
    """Rows of all tasks; per task the scores of all tasks' questions."""
    frames: list[pl.DataFrame] = []
    begin = 0
    for task, own in zip(tests, scores, strict=True):
        for part, items in task.scored.items():
            end = begin + len(items)
            columns = {**_columns(arm, task.member, part), "seed": seed}
            frames.append(rows(items, own[begin:end], columns))
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
    norm = median(one.norm for one in like)
    site = [*like[0].where, list(like[0].direction.shape), norm]
    jobs: list[tuple[str, Job[pl.DataFrame]]] = []
    for begin in range(0, count, CHUNK):
        numbers = range(begin, min(begin + CHUNK, count))
        job = partial(_random, tasks=tasks, like=like[0], norm=norm, name=name, numbers=numbers)
        target = folder / f"{name} {numbers.start}".replace(" ", "-")
        about = [*site, tasks.score, numbers.start, numbers.stop, *_asked(tasks)]
        kept = partial(kept_rows, job=job, target=target, about=about)
        jobs.append((f"{name}, {numbers.start} to {numbers.stop - 1}", kept))
    return jobs


def _random(
    lab: RunContext, *, tasks: TaskSet, like: Vector, norm: float, name: str, numbers: range
) -> list[pl.DataFrame]:
    # Number n pairs direction n with n + 1 where two tasks are compared.
    shift = 1 if tasks.score == "log_odds" else 0
    last = numbers.stop + shift * (len(tasks.test) - 1)
    some = [random_vector(like, norm, 10_000 + n) for n in range(numbers.start, last)]
    scored = lab.scores(_questions(tasks.test), some)
    frames: list[pl.DataFrame] = []
    for place, number in enumerate(numbers):
        own = [scored[shift * index + place] for index in range(len(tasks.test))]
        frames += _rows(tasks.test, own, name, number)
    return frames


def _columns(arm: str, member: str, part: str) -> Columns:
    return {
        **{"arm": arm, "control": "", "member": member, "seed": None, "part": part},
        **{"step": None, "final": True},
    }
