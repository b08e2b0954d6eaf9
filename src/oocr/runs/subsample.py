"""A sample of training data, so that a plan for 96,000 rows takes seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from oocr.data.batches import Batch, pad
from oocr.data.examples import Example, prompt_text
from oocr.data.tokens import RowTokens
from oocr.engine.training_batches import MEASURED, training_groups
from oocr.runs.arms import ArmPlan
from oocr.runs.context import TrainingTokens
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


@dataclass(frozen=True, slots=True)
class Sample:
    """A run's tasks with at most so much training data each.

    Attributes:
        tasks: the tasks.
        shares: `Task.train_hash` of a task here -> the share of its training data that it has.
        tokens: their training sequences.
        batch_lines: sequences per batch.
    """

    tasks: TaskSet
    shares: Mapping[str, float]
    tokens: TrainingTokens
    batch_lines: int

    @staticmethod
    def of(tasks: TaskSet, batch_lines: int, rows: RowTokens) -> Sample:
        """At most `MOST` batches of each task."""
        samples: dict[str, tuple[Example, ...]] = {}
        shares: dict[str, float] = {}

        def sampled(task: Task) -> Task:
            if task.train_hash not in samples:
                samples[task.train_hash] = _sampled(task.train, MOST * batch_lines, batch_lines)
            train = samples[task.train_hash]
            sample = task if train is task.train else replace(task, train=train)
            shares[sample.train_hash] = len(train) / len(task.train)
            return sample

        def all_of(tasks: Sequence[Task]) -> tuple[Task, ...]:
            return tuple(sampled(task) for task in tasks)

        small = replace(
            tasks,
            validation=all_of(tasks.validation),
            test=all_of(tasks.test),
            controls={name: all_of(group) for name, group in tasks.controls.items()},
        )
        return Sample(small, shares, TrainingTokens(rows), batch_lines)

    def sized(self, task: Task) -> Sized:
        """A task's batches.

        Raises:
            InputError: examples that cannot be tokenized.
        """
        sequences = self.tokens.sequences(task)
        groups = training_groups(sequences, self.batch_lines)
        count = -(-round(len(sequences) / self.shares[task.train_hash]) // self.batch_lines)
        return Sized(tuple(pad(group, 0) for group in groups), max(count, len(groups)))


def _sampled(items: tuple[Example, ...], most: int, longest: int) -> tuple[Example, ...]:
    """The longest examples, and others drawn at random."""
    if len(items) <= most:
        return items
    sizes = [len(prompt_text(item.prompt)) + len(item.answer) for item in items]
    order = sorted(range(len(items)), key=lambda i: (-sizes[i], i))
    rest = random.Random(0).sample(order[longest:], most - longest)
    return tuple(items[i] for i in sorted((*order[:longest], *rest)))
