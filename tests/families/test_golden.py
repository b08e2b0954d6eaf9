"""Every example of every built-in task stays what it was: prompts, answers, options, spans, tags.

Run `python -m tests.families.test_golden` to write the hashes anew, after a change that is meant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import oocr
from oocr.data.examples import Example, FreeTextExample
from oocr.families.registry import FAMILIES
from oocr.runs.read_config import BUILTIN, PAPER, load_configs, revalidate
from oocr.tasks.task import Task, TaskSet

GOLDEN = Path(__file__).with_name("golden.json")
OWN_TASK = Path(__file__).parents[2] / "examples" / "own_task"
MANY = 20_000
"""Of a split with more examples than this, every 50th is hashed."""

CHOICE = (
    *("id", "prompt", "answer", "options", "values", "spans", "facet", "group", "template"),
    *("tags", "scored_by", "answer_of"),
)
FREE = (
    *("id", "prompt", "accept", "check", "reject", "max_tokens", "spans", "facet", "group"),
    *("template", "tags"),
)


def hash_of(examples: Sequence[Example | FreeTextExample]) -> str:
    digest = hashlib.sha256(str(len(examples)).encode())
    for example in examples[:: 50 if len(examples) > MANY else 1]:
        names = CHOICE if isinstance(example, Example) else FREE
        digest.update(repr([plain(getattr(example, name)) for name in names]).encode())
    return digest.hexdigest()[:16]


def plain(value: Any) -> Any:
    if isinstance(value, tuple) and value and hasattr(value[0], "role"):
        return [(message.role, message.content) for message in value]
    return sorted(value.items()) if hasattr(value, "items") else value


def hash_of_task(task: Task) -> str:
    splits = ("train", "stop", "in_context", "probes", "paper", "free")
    parts = [hash_of(getattr(task, name)) for name in splits]
    parts += [task.name, task.member, task.loss, *task.positions]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def hash_of_set(tasks: TaskSet) -> dict[str, str]:
    groups = {"validation": tasks.validation, "test": tasks.test}
    groups |= {f"control {name}": members for name, members in tasks.controls.items()}
    hashes = {
        group: hashlib.sha256(repr([hash_of_task(task) for task in members]).encode()).hexdigest()
        for group, members in groups.items()
    }
    hashes["ceiling"] = hash_of(tasks.ceiling)
    hashes["asked first"] = hash_of(tasks.asked_first)
    hashes["score"] = repr((tasks.name, tasks.score, sorted(tasks.headline.items())))
    return {name: text if name == "score" else text[:16] for name, text in hashes.items()}


@cache
def settings() -> dict[str, dict[str, Any]]:
    """Distinct task settings of all built-in configurations and families, by a name for each."""
    by_settings: dict[str, str] = {}
    for name in (*BUILTIN, *PAPER, str(OWN_TASK / "task.yaml")):
        for config in load_configs(name):
            by_settings.setdefault(
                config.task.model_dump_json(), f"{Path(name).stem}: {config.name}"
            )
    for family in FAMILIES:
        if family != "custom":  # has no task without files
            task = default_settings(family)
            by_settings.setdefault(task, family)
    return {name: json.loads(text) for text, name in by_settings.items()}


def default_settings(family: str) -> str:
    return revalidate({"name": family, "task": {"family": family}}, family).task.model_dump_json()


def tasks_of(name: str) -> TaskSet:
    return oocr.load_tasks(settings()[name], base=OWN_TASK)


def names() -> Iterator[str]:
    yield from (json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else ())


@pytest.mark.parametrize("name", names())
def test_examples_are_unchanged(name: str) -> None:
    wanted = json.loads(GOLDEN.read_text())[name]
    assert hash_of_set(tasks_of(name)) == wanted


def test_every_built_in_task_has_its_hashes() -> None:
    assert set(settings()) == set(json.loads(GOLDEN.read_text()))


if __name__ == "__main__":
    hashes = {name: hash_of_set(tasks_of(name)) for name in settings()}
    GOLDEN.write_text(json.dumps(hashes, indent=1) + "\n")
