"""Evaluations apart from training: base, ceiling, random directions; free answers of the arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl
from torch import Tensor

from oocr.data.examples import Example, FreeTextExample, examples_hash
from oocr.data.tokens import render
from oocr.evals.free_text import answers, free_rows
from oocr.evals.probes import Probes, arm_columns, rows
from oocr.io import key_of
from oocr.runs.arms import load_intervention
from oocr.runs.context import RunContext, computed_with, part_rows, question_key
from oocr.runs.folder import kept_rows
from oocr.runs.processes.executor import Job
from oocr.runs.records import ArmRecord, Continuation
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector
from oocr.tasks.task import Score, Task, TaskSet

RowJobs = list[tuple[str, Job[pl.DataFrame]]]
"""Labelled jobs that return rows."""

CHUNK = 5
"""Random directions per job."""

CEILING_CHUNK = 64
"""Items of the ceiling per job: small jobs keep the cores busy beside the last arms."""

SHOWN_MEMBERS = 4
"""Members whose tokens and answers are shown in the report."""

NEW_TOKENS = 6
"""Tokens of a shown continuation."""


class TaskGroup(NamedTuple):
    """Test tasks that share questions, so that one job scores all of them.

    `number`: place among the groups; None: it is the only one.
    """

    tests: tuple[Task, ...]
    score: Score
    number: int | None

    @property
    def trained(self) -> str:
        """The task of which a process should have recorded the texts (`Executor.completed`)."""
        return self.tests[0].train_hash

    @property
    def asked(self) -> list[object]:
        """What the group is scored on."""
        return [[task.member, task.asked_hash] for task in self.tests]

    def label(self, text: str) -> str:
        """The label of one of its jobs."""
        return text if self.number is None else f"{text}, {self.tests[0].member}"

    def target(self, folder: Path, name: str) -> Path:
        """The folder of one of its jobs' rows."""
        name = name if self.number is None else f"{name} of group {self.number}"
        return folder / name.replace(" ", "-")


def task_groups(tasks: TaskSet) -> list[TaskGroup]:
    """The test tasks in groups; tasks of a group share questions, directly or through others.

    A process has recorded the questions of the tasks that it trained, so other tasks' questions
    should not be part of its job. Tasks that are compared (log-odds contrasts) stay together.
    """
    groups: list[tuple[list[int], set[tuple[object, ...]]]] = []
    for index, task in enumerate(tasks.test):
        places, asked = [index], {question_key(example) for example in _questions([task])}
        apart: list[tuple[list[int], set[tuple[object, ...]]]] = []
        for group in groups:
            if tasks.score == "log_odds" or group[1] & asked:
                places, asked = group[0] + places, group[1] | asked
            else:
                apart.append(group)
        groups = [*apart, (places, asked)]
    listed = sorted(sorted(places) for places, _ in groups)
    if len(listed) == 1:
        return [TaskGroup(tuple(tasks.test), tasks.score, None)]
    return [
        TaskGroup(tuple(tasks.test[place] for place in places), tasks.score, number)
        for number, places in enumerate(listed)
    ]


def base_jobs(group: TaskGroup, folder: Path) -> RowJobs:
    """Jobs that score the untouched model on a group of test tasks; cached in `folder`."""
    job = partial(_base, tests=group.tests)
    return [_kept(group.label("base"), group.target(folder, "base"), group.asked, job)]


def ceiling_jobs(tasks: TaskSet, folder: Path) -> RowJobs:
    """Jobs that score the untouched model on the ceiling's items; cached in `folder`."""
    jobs: RowJobs = []
    for begin in range(0, len(tasks.ceiling), CEILING_CHUNK):
        items = tasks.ceiling[begin : begin + CEILING_CHUNK]
        label, target = f"ceiling, {begin} to {begin + len(items) - 1}", folder / f"ceiling-{begin}"
        jobs.append(_kept(label, target, [examples_hash(items)], partial(_ceiling, items=items)))
    return jobs


def random_jobs(
    group: TaskGroup, like: Vector, norm: float, name: str, count: int, folder: Path
) -> RowJobs:
    """Jobs that score random directions on a group: the effect of any vector of that size.

    The directions have the site of the trained vector `like` and the norm `norm`. All tasks share
    them, and a question of several tasks is computed once. Where two tasks are compared (log-odds
    contrasts), each direction is compared with the next.
    """
    site = [*like.where, list(like.direction.shape), norm]
    jobs: RowJobs = []
    for begin in range(0, count, CHUNK):
        numbers = range(begin, min(begin + CHUNK, count))
        job = partial(_random, group=group, like=like, norm=norm, name=name, numbers=numbers)
        about = [*site, group.score, numbers.start, numbers.stop, *group.asked]
        label = group.label(f"{name}, {begin} to {numbers.stop - 1}")
        jobs.append(_kept(label, group.target(folder, f"{name} {begin}"), about, job))
    return jobs


def free_jobs(tasks: TaskSet, arms: Sequence[ArmRecord], folder: Path) -> RowJobs:
    """Jobs that put the test tasks' free questions, if any, to the base and each reported arm."""
    asking = {task.name: task for task in tasks.test if task.free}
    if not asking:
        return []
    about = [[name, task.member, examples_hash(task.free)] for name, task in asking.items()]
    base = partial(_free, tests=tuple(asking.values()), folder=folder)
    jobs: RowJobs = [_kept("base", folder / "base-free", about, base)]
    for arm in arms:
        if arm.role == "test" and (task := asking.get(arm.task)):
            job = partial(_free, tests=(task,), folder=folder, arm=arm)
            label, target = (
                f"{arm.method}, {arm.member}, seed {arm.seed}",
                folder / f"{arm.id}-free",
            )
            jobs.append(_kept(label, target, [arm.key, examples_hash(task.free)], job))
    return jobs


def example_jobs(
    tasks: TaskSet, arms: Sequence[ArmRecord], count: int, folder: Path
) -> list[tuple[str, Job[list[Continuation]]]]:
    """One job per shown member; together they generate `count` continuations by arms of seed 0."""
    jobs: list[tuple[str, Job[list[Continuation]]]] = []
    for task, items in shown_examples(tasks, count):
        first = [a for a in arms if a.task == task.name and a.seed == 0 and a.role == "test"]
        job = partial(_examples, member=task.member, items=items, arms=first, folder=folder)
        jobs.append((task.member, job))
    return jobs


def shown_examples(tasks: TaskSet, count: int) -> Iterator[tuple[Task, list[Example]]]:
    """Each shown member with the probes to continue; at most `count` in total."""
    members = tasks.test[:SHOWN_MEMBERS]
    for number, task in enumerate(members):
        begin, end = (count * place // len(members) for place in (number, number + 1))
        probes = list(first_of_facets(task).values())
        items = [probes[(begin + k) % len(probes)] for k in range(min(end - begin, len(probes)))]
        if items:
            yield task, items


def first_of_facets(task: Task) -> dict[str, Example]:
    """Facet -> its first probe."""
    first: dict[str, Example] = {}
    for example in task.probes:
        first.setdefault(example.facet, example)
    return first


def _kept(
    label: str, target: Path, about: Sequence[object], job: Job[list[pl.DataFrame]]
) -> tuple[str, Job[pl.DataFrame]]:
    """The labelled job with its rows cached in a folder, for a run that is started again.

    `about`: what the rows depend on, apart from the model.
    """
    return label, partial(_rows_once, job=job, target=target, about=list(about))


def _rows_once(
    context: RunContext, *, job: Job[list[pl.DataFrame]], target: Path, about: list[object]
) -> pl.DataFrame:
    key = key_of(list(computed_with(context.model).values()), about)
    return kept_rows(target, key, lambda _: pl.concat(job(context), how="diagonal_relaxed"))


def _questions(tests: Sequence[Task]) -> list[Example]:
    return [example for task in tests for items in task.scored.values() for example in items]


def _rows(
    tests: Sequence[Task], scores: Sequence[Tensor], arm: str, seed: int | None = None
) -> list[pl.DataFrame]:
    """Rows of all tasks; `scores` for each task, over all tasks' questions."""
    frames: list[pl.DataFrame] = []
    begin = 0
    for task, of_task in zip(tests, scores, strict=True):
        frames += part_rows(task.scored, of_task[begin:], arm_columns(arm, task.member, seed))
        begin += len(_questions([task]))
    return frames


def _base(context: RunContext, *, tests: Sequence[Task]) -> list[pl.DataFrame]:
    scored = context.scores(_questions(tests), None)[0]
    return _rows(tests, [scored] * len(tests), "base")


def _ceiling(context: RunContext, *, items: Sequence[Example]) -> list[pl.DataFrame]:
    # Only the base answers these, so nothing is cached for other arms.
    scores = Probes.of(context.model, items).scores(None)[0]
    parts: dict[tuple[str, str], list[int]] = {}
    for index, example in enumerate(items):
        part = "in_context" if example.tags.get("part") == "in-context" else "probes"
        parts.setdefault((example.tags.get("stated", example.group), part), []).append(index)
    return [
        rows(
            [items[i] for i in indices], scores[indices], arm_columns("ceiling", member, part=part)
        )
        for (member, part), indices in parts.items()
    ]


def _random(
    context: RunContext, *, group: TaskGroup, like: Vector, norm: float, name: str, numbers: range
) -> list[pl.DataFrame]:
    # Number n pairs direction n with n + 1 where two tasks are compared.
    tests, shift = group.tests, 1 if group.score == "log_odds" else 0
    last = numbers.stop + shift * (len(tests) - 1)
    vectors = [random_vector(like, norm, 10_000 + n) for n in range(numbers.start, last)]
    scored = context.scores(_questions(tests), vectors)
    frames: list[pl.DataFrame] = []
    for place, number in enumerate(numbers):
        by_task = [scored[shift * index + place] for index in range(len(tests))]
        frames += _rows(tests, by_task, name, number)
    return frames


def _free(
    context: RunContext, *, tests: Sequence[Task], folder: Path, arm: ArmRecord | None = None
) -> list[pl.DataFrame]:
    """Answers of the base or of an arm: out of context ("free"), and on the trained skill."""
    steering = None if arm is None else load_intervention(folder, arm)
    asked = [(task.member, example) for task in tests for example in task.free]
    texts = answers(context.model, [example for _, example in asked], steering)
    parts: dict[tuple[str, str], list[tuple[FreeTextExample, str]]] = {}
    for (member, example), text in zip(asked, texts, strict=True):
        part = "free_in_context" if example.tags.get("part") == "in-context" else "free"
        parts.setdefault((member, part), []).append((example, text))
    frames: list[pl.DataFrame] = []
    for (member, part), pairs in parts.items():
        columns = arm_columns("base", member, part=part)
        if arm is not None:
            columns = arm_columns(arm.method, member, arm.seed, part=part, step=arm.stop_step)
        items, replies = [example for example, _ in pairs], [text for _, text in pairs]
        layer = None if arm is None else arm.layer
        frames.append(free_rows(items, replies, {**columns, "layer": layer}))
    return frames


def _examples(
    context: RunContext,
    *,
    member: str,
    items: Sequence[Example],
    arms: Sequence[ArmRecord],
    folder: Path,
) -> list[Continuation]:
    asked: dict[str, Vector | Adapter | None] = {"base": None}
    for arm in arms:
        asked[arm.method] = load_intervention(folder, arm)
        swap = folder / f"{arm.id}-explained" / "swap-everywhere.safetensors"
        if swap.is_file():
            asked["swap everywhere"] = Vector.load(swap)
    questions = [
        FreeTextExample(
            id=example.id,
            prompt=example.prompt,
            accept=(example.answer,),
            max_tokens=NEW_TOKENS,
            spans=example.spans,
        )
        for example in items
    ]
    texts = {name: answers(context.model, questions, arm) for name, arm in asked.items()}
    return [
        Continuation(
            member=member,
            prompt=render(context.model.tokenizer, example.prompt)[0],
            expected=example.answer,
            answers={name: replies[index] for name, replies in texts.items()},
        )
        for index, example in enumerate(items)
    ]
