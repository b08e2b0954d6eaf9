"""Texts that the report shows: the model's own continuations under each arm, and rows in tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from oocr.data.examples import Example
from oocr.data.tokens import render
from oocr.engine.generate import generate
from oocr.models.language_model import LanguageModel
from oocr.runs.arms import load_intervention
from oocr.runs.context import RunContext
from oocr.runs.executor import Job
from oocr.runs.records import ArmRecord, Continuation, Sample, SampleToken
from oocr.steering.adapters import Adapter
from oocr.steering.marked import Token, asked_tokens, training_tokens, whole_characters
from oocr.steering.positions import spans_of
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task, TaskSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN_MEMBERS = 4
"""Members whose tokens and answers are shown in the report."""

NEW_TOKENS = 6
ROWS, QUESTIONS = 2, 3
"""Training rows and probes that are shown in tokens."""


def example_jobs(
    tasks: TaskSet, arms: Sequence[ArmRecord], count: int, folder: Path
) -> list[tuple[str, Job[list[Continuation]]]]:
    """One job per shown member; together they give `count` examples.

    Args:
        tasks: whose test tasks' probes.
        arms: all arms; those that are reported and of seed 0 are asked.
        count: how many examples.
        folder: where the arms are.
    """
    members = tasks.test[:SHOWN_MEMBERS]
    jobs: list[tuple[str, Job[list[Continuation]]]] = []
    for number, task in enumerate(members):
        begin, end = (count * place // len(members) for place in (number, number + 1))
        items = _of_other_facets(task, begin, end - begin)
        first = [a for a in arms if a.task == task.name and a.seed == 0 and a.role == "test"]
        if items:
            job = partial(_examples, member=task.member, items=items, arms=first, folder=folder)
            jobs.append((task.member, job))
    return jobs


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
    texts = {name: _continued(context.model, items, arm) for name, arm in asked.items()}
    return [
        Continuation(
            member=member,
            prompt=render(context.model.tokenizer, item.prompt)[0],
            expected=item.answer,
            answers={name: replies[index] for name, replies in texts.items()},
        )
        for index, item in enumerate(items)
    ]


def _continued(
    model: LanguageModel, items: Sequence[Example], arm: Vector | Adapter | None
) -> list[str]:
    """What the model says after each prompt; a vector acts at the item's own span."""
    needed = spans_of(arm.positions) if isinstance(arm, Vector) else ()
    if not isinstance(arm, Vector) or not needed:
        return generate(model, [item.prompt for item in items], arm, max_new_tokens=NEW_TOKENS)
    texts: list[str] = []
    for item in items:
        placed = replace(arm, spans=item.spans) if set(needed) & set(item.spans) else None
        texts += generate(model, [item.prompt], placed, max_new_tokens=NEW_TOKENS)
    return texts


def _of_other_facets(task: Task, begin: int, count: int) -> list[Example]:
    """Probes of different facets, beginning with the facet of this number."""
    first = _first_of_facets(task)
    facets = list(first)
    picked = [facets[(begin + k) % len(facets)] for k in range(min(count, len(facets)))]
    return [first[facet] for facet in picked]


def _first_of_facets(task: Task) -> dict[str, Example]:
    first: dict[str, Example] = {}
    for item in task.probes:
        first.setdefault(item.facet, item)
    return first


def samples_of(tasks: TaskSet, tokenizer: PreTrainedTokenizerBase, positions: str) -> list[Sample]:
    """Training rows of the first member and its probes of different facets, in tokens.

    Args:
        tasks: whose first test task.
        tokenizer: the model's.
        positions: where the vector is added ("": nowhere).
    """
    task = tasks.test[0]
    middle = task.train[len(task.train) // 2]
    samples = [
        Sample(
            part="training",
            facet=item.facet,
            member=task.member,
            tokens=_tokens(training_tokens(tokenizer, item, loss=task.loss, positions=positions)),
            expected="",
        )
        for item in (task.train[0], middle)[: min(ROWS, len(task.train))]
    ]
    return samples + [
        Sample(
            part="probe",
            facet=item.facet,
            member=task.member,
            tokens=_tokens(asked_tokens(tokenizer, item, positions=positions)),
            expected=item.answer,
        )
        for item in list(_first_of_facets(task).values())[:QUESTIONS]
    ]


def _tokens(tokens: Iterable[Token]) -> tuple[SampleToken, ...]:
    return tuple(SampleToken(**asdict(token)) for token in whole_characters(tokens))
