"""Greedy continuations of a few probes under each arm: what the model really says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from oocr.data.examples import Example
from oocr.data.tokens import render
from oocr.engine.generate import generate
from oocr.models.language_model import LanguageModel
from oocr.runs.arms import load_intervention
from oocr.runs.context import RunContext
from oocr.runs.executor import Job
from oocr.runs.records import ArmRecord, Continuation
from oocr.steering.adapters import Adapter
from oocr.steering.positions import spans_of
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task, TaskSet

SHOWN_MEMBERS = 4
"""Members whose tokens and answers are shown in the report."""

NEW_TOKENS = 6


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
        begin, end = (count * one // len(members) for one in (number, number + 1))
        items = _of_other_facets(task, begin, end - begin)
        own = [a for a in arms if a.task == task.name and a.seed == 0 and a.role == "test"]
        if items:
            job = partial(_examples, member=task.member, items=items, arms=own, folder=folder)
            jobs.append((task.member, job))
    return jobs


def _examples(
    lab: RunContext,
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
    texts = {name: _continued(lab.model, items, one) for name, one in asked.items()}
    return [
        Continuation(
            member=member,
            prompt=render(lab.model.tokenizer, item.prompt)[0],
            expected=item.answer,
            answers={name: some[index] for name, some in texts.items()},
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
        own = replace(arm, spans=item.spans) if set(needed) & set(item.spans) else None
        texts += generate(model, [item.prompt], own, max_new_tokens=NEW_TOKENS)
    return texts


def _of_other_facets(task: Task, begin: int, count: int) -> list[Example]:
    """Probes of different facets, beginning with the facet of this number."""
    first: dict[str, Example] = {}
    for item in task.probes:
        first.setdefault(item.facet, item)
    facets = list(first)
    picked = [facets[(begin + k) % len(facets)] for k in range(min(count, len(facets)))]
    return [first[facet] for facet in picked]
