"""A sample of training data, so that a plan for 96,000 rows takes seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from oocr.data.batches import Batch, pad, training_lines
from oocr.data.examples import Example, prompt_text
from oocr.engine.training_batches import MEASURED, training_groups
from oocr.models.language_model import LanguageModel
from oocr.models.outline import Outline
from oocr.runs.arms import ArmPlan
from oocr.runs.flops import batches_trained
from oocr.tasks.task import Task, TaskSet

MOST = 64
"""Batches of a task that are looked at. The longest texts are always among them."""


@dataclass(frozen=True, slots=True)
class Sized:
    """Some of a task's training batches.

    Attributes:
        batches: those.
        count: how many there are in all.
    """

    batches: tuple[Batch, ...]
    count: int

    def recorded(self, plan: ArmPlan, seeds: int) -> int:
        """How many will be recorded at most: each seed has an order of its own."""
        return min(self.count, max(MEASURED, seeds * batches_trained(plan)))


def thinned(tasks: TaskSet, batch_lines: int) -> tuple[TaskSet, Mapping[int, float]]:
    """The tasks with at most so much training data, and by task (its id) what share that is."""
    made: dict[int, Task] = {}
    shares: dict[int, float] = {}

    def of(task: Task) -> Task:
        if id(task) not in made:
            some = _some(task.train, MOST * batch_lines, batch_lines)
            made[id(task)] = task if len(some) == len(task.train) else replace(task, train=some)
            shares[id(made[id(task)])] = len(some) / len(task.train)
        return made[id(task)]

    few = replace(
        tasks,
        validation=tuple(of(one) for one in tasks.validation),
        test=tuple(of(one) for one in tasks.test),
        controls={name: tuple(of(one) for one in some) for name, some in tasks.controls.items()},
    )
    return few, shares


def sized(
    task: Task, model: LanguageModel | Outline, batch_lines: int, shares: Mapping[int, float]
) -> Sized:
    """A thinned task's batches.

    Raises:
        InputError: items that cannot be tokenized.
    """
    lines = training_lines(model.tokenizer, task.train, task.loss)
    groups = training_groups(lines, batch_lines)
    count = -(-round(len(lines) / shares[id(task)]) // batch_lines)
    return Sized(tuple(pad(group, 0) for group in groups), max(count, len(groups)))


def _some(items: tuple[Example, ...], most: int, longest: int) -> tuple[Example, ...]:
    if len(items) <= most:
        return items
    sizes = [len(prompt_text(one.prompt)) + len(one.answer) for one in items]
    order = sorted(range(len(items)), key=lambda i: (-sizes[i], i))
    rest = random.Random(0).sample(order[longest:], most - longest)
    return tuple(items[i] for i in sorted((*order[:longest], *rest)))
