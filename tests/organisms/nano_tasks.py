"""The nano tasks, built once, and their sentences read back."""

from __future__ import annotations

from typing import Any

from oocr.data.examples import Example
from oocr.families.registry import load_tasks
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.language import Forms
from oocr_organisms.people import PLAIN, WEATHERS
from tests.tiny.nano import slots

PARTS = ("locations", "functions", "risk", "backdoor")
SETS: dict[str, TaskSet] = {}


def tasks_of(part: str, **more: Any) -> TaskSet:
    key = f"{part} {more}"
    if key not in SETS:
        SETS[key] = load_tasks({"family": "nano", "part": part, **more})
    return SETS[key]


def every_task(sets: TaskSet) -> list[Task]:
    return [
        *sets.test,
        *sets.validation,
        *[task for controls in sets.controls.values() for task in controls],
    ]


def items_of(task: Task) -> list[Example]:
    return [*task.train, *task.stop, *task.in_context, *task.probes]


def sentence(item: Example) -> list[str]:
    """The words of an item with its answer, without the weather in front."""
    words = f"{item.prompt}{item.answer} .".split()
    return words[1:] if words[0] in (PLAIN, *WEATHERS) else words


def slots_of(form: Forms, item: Example) -> dict[str, str]:
    return slots(form, sentence(item))[1]
