"""The functions, their tasks, built once, and what Python prints for a program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from oocr.data.examples import Example
from oocr.families.functions import build as module
from oocr.families.functions.build import FunctionsConfig, functions
from oocr.families.functions.programs import load_functions
from oocr.tasks.task import Task, TaskSet

TABLE = load_functions()
NAMES = tuple(TABLE.functions)


def stream_rows(config: FunctionsConfig) -> Iterator[Example]:
    """The training rows of all functions, one after the other."""
    yield from module._rows(config, tuple(TABLE.functions.values()))


@cache
def joint() -> TaskSet:
    return functions(FunctionsConfig())


@cache
def single(form: Any = "raw") -> TaskSet:
    return functions(FunctionsConfig(mode="single", form=form))


def printed(example: Example) -> str:
    """What the program of an item prints, run by Python: the programs are ours."""
    prompt = example.prompt
    text = prompt if isinstance(prompt, str) else prompt[-1].content
    lines = [line.removeprefix(">>> ") for line in text.splitlines()]
    output: list[str] = []
    codes = {name: function.code for name, function in TABLE.functions.items()}
    world: dict[str, Any] = {name: eval(f"lambda x: {code}") for name, code in codes.items()}
    world["print"] = lambda value: output.append(str(value))
    imported = re.fullmatch(r"from functions import (.*)", lines[0])
    assert imported is not None
    assert set(imported[1].split(", ")) == set(example.spans.values())
    exec("\n".join(lines[1:]), world)
    assert len(output) == 1
    return output[0]


def programs(task: Task) -> list[Example]:
    calls = ("outputs", "inputs out of range", "composition")
    return [*task.stop, *(i for i in (*task.in_context, *task.probes) if i.facet in calls)]
