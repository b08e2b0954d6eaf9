"""Rows made from a task's rows: held-out rows, controls, the ceiling; and seeded draws."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from oocr.data.examples import Example, FreeTextExample
from oocr.errors import InputError
from oocr.tasks.task import Task

T = TypeVar("T")
E = TypeVar("E", Example, FreeTextExample)


def held_out(
    rows: Sequence[Example], share: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split rows into (kept, held out); rows of one group or one prompt stay together.

    About `share` of the rows is held out: at least one unit, and never all of them. InputError: all
    rows belong together.
    """
    units = _units(rows)
    if len(units) < 2:
        raise InputError(
            f"holdout: the {len(rows)} training rows share one prompt or group, so none can be "
            "held out; give a file for stop or validation"
        )
    random.Random(seed).shuffle(units)
    target = max(1, round(share * len(rows)))
    held: set[int] = set()
    for unit in units:
        if len(held) + len(unit) <= target:
            held |= set(unit)
    held = held or set(sorted(units, key=len)[0])  # every unit is larger than the share
    return (
        tuple(example for index, example in enumerate(rows) if index not in held),
        tuple(example for index, example in enumerate(rows) if index in held),
    )


def _units(rows: Sequence[Example]) -> list[list[int]]:
    """Indices of the rows that are connected by a shared prompt or a shared group."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[object, int] = {}
    for index, example in enumerate(rows):
        for key in (("prompt", example.prompt), ("group", example.group or index)):
            parent[root(index)] = root(first.setdefault(key, index))
    units: dict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        units[root(index)].append(index)
    return list(units.values())


def shuffled_answers(train: Sequence[Example], seed: int) -> tuple[Example, ...]:
    """The same prompts with each other's answers, among rows that share their options (or none).

    No row keeps its own, unless all answers are equal: then each draws one of its options.
    """
    rng = random.Random(seed)
    classes: dict[frozenset[str], list[int]] = defaultdict(list)
    for index, example in enumerate(train):
        classes[frozenset(example.options)].append(index)
    answers = [example.answer for example in train]
    for members in classes.values():
        if len({answers[index] for index in members}) > 1:
            cycle = members.copy()
            rng.shuffle(cycle)
            for index, donor in zip(cycle, cycle[1:] + cycle[:1], strict=True):
                answers[index] = train[donor].answer
        elif train[members[0]].options:
            for index in members:
                answers[index] = rng.choice(train[index].options)
    return tuple(replace(example, answer=answers[i]) for i, example in enumerate(train))


def decorrelated(task: Task, seed: int) -> Task:
    """The same prompts; in each condition (a tag) half of the answers are the first option."""
    rng = random.Random(f"{seed}/{task.name}/decorrelated")
    rows = list(task.train)
    extra = 0  # odd conditions take turns at the larger half, so that X and Y stay level overall
    for condition in dict.fromkeys(example.tags["condition"] for example in rows):
        places = [i for i, example in enumerate(rows) if example.tags["condition"] == condition]
        half, odd = divmod(len(places), 2)
        chosen = set(rng.sample(places, half + (odd if extra % 2 == 0 else 0)))
        extra += odd
        for place in places:
            example = rows[place]
            answer = example.options[0 if place in chosen else 1]
            rows[place] = replace(example, id=f"{example.id}/decorrelated", answer=answer)
    return control(task, "decorrelated", rows)


def random_sides(
    keys: Sequence[str], sides: tuple[T, T], seed: str, count: int | None = None
) -> tuple[dict[str, T], dict[str, T]]:
    """Key -> side, the first of them for `count` drawn keys (None: half); and key -> the other."""
    count = (len(keys) + 1) // 2 if count is None else count
    order = list(keys)
    random.Random(seed).shuffle(order)
    drawn = {key: sides[place >= count] for place, key in enumerate(order)}
    return drawn, {key: sides[place < count] for place, key in enumerate(order)}


def in_rounds(values: Sequence[T], rng: random.Random) -> Iterator[T]:
    """All values in random order, again and again, each time in another order."""
    while True:
        yield from rng.sample(values, len(values))


def control(task: Task, suffix: str, train: Sequence[Example]) -> Task:
    """The task trained on other rows, without rows to stop on."""
    return replace(task, name=f"{task.name}/{suffix}", train=tuple(train), stop=())


def chosen_by_loss(task: Task) -> Task:
    """The validation task whose only probes are the rows of `stop`: settings go by their loss."""
    name = f"{task.name}/validation"
    return replace(task, name=name, probes=task.stop, in_context=(), paper=(), free=())


def tagged(example: E, **tags: str) -> E:
    """The example with further tags."""
    return replace(example, tags={**example.tags, **tags})


def with_real_name(example: Example, name: str, span: str = "codename") -> Example:
    """The question (raw text) with the real name in the codename's place, for the ceiling."""
    prompt = str(example.prompt).replace(example.spans[span], name)
    return replace(example, prompt=prompt, spans={span: name})
