"""Runs on organisms: which configuration is meant, and whether task and organism share a world."""

from __future__ import annotations

from collections.abc import Iterator

from oocr.data.examples import Example, FreeTextExample, prompt_text
from oocr.errors import InputError
from oocr.families.custom.build import CustomConfig
from oocr.runs.config import RunConfig
from oocr.runs.read_config import BUILTIN
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.record import WorldSettings, world_of
from oocr_organisms.shipped import SHIPPED, is_organism
from oocr_organisms.tasks.config import NanoConfig

NANO = "nano-"
"""Before the names of built-in runs that are about an organism's world."""


def runs_on_organisms() -> tuple[str, ...]:
    """The built-in runs that an organism can do."""
    return tuple(name for name in BUILTIN if name.startswith(NANO))


def source_for(source: str, model: str | None) -> tuple[str, str]:
    """The built-in run that is meant, and a sentence that says so where it is not the one named.

    Args:
        source: a built-in name or YAML file.
        model: the model that is asked for; None: the configuration's own.
    """
    instead = f"{NANO}{source}"
    if model is None or instead not in BUILTIN or not is_organism(model):
        return source, ""
    return instead, f"{model} is an organism, which knows its own world only: {instead} is run"


def with_world(config: RunConfig) -> RunConfig:
    """The configuration with the world of its organism put in.

    Raises:
        InputError: a nano task and a model that is no organism, or of another world than is asked
            for; or an organism and a task about anything but its world.
    """
    world = world_of(config.model)
    if not isinstance(config.task, NanoConfig):
        if world is None or isinstance(config.task, CustomConfig):
            return config
        raise InputError(
            f"task.family: {config.task.family!r}: {config.model} is an organism, which knows its "
            f"own world only; allowed: nano (built-in runs: {', '.join(runs_on_organisms())})"
        )
    if world is None:
        raise InputError(
            f"model: {config.model!r} is no organism, and the nano tasks are about a world that "
            f"only an organism knows; allowed: {', '.join(SHIPPED)}, or a folder that "
            "oocr organism train made"
        )
    asked = config.task.world
    if asked is not None and asked != world:
        raise InputError(
            f"task.world: {_told(asked)}, but {config.model} was trained on the world of "
            f"{_told(world)}; leave it out to take the model's"
        )
    return config.model_copy(update={"task": config.task.model_copy(update={"world": world})})


def _told(world: WorldSettings) -> str:
    return f"seed {world.seed}, gates {world.gates:g}"


def check_words(config: RunConfig, tasks: TaskSet) -> None:
    """Refuse a task whose texts hold words that an organism has no token for.

    Raises:
        InputError: names the item and the word.
    """
    world = world_of(config.model)
    if world is None:
        return
    known = set(world.world.vocabulary.words)
    for item in _items(tasks):
        said = [prompt_text(item.prompt)]
        said += (item.answer, *item.options) if isinstance(item, Example) else item.accept
        for text in said:
            for word in text.split():
                if word not in known:
                    raise InputError(
                        f"task.{config.task.family}: item {item.id!r} holds {word!r}, which is no "
                        f"word of the world of {config.model}"
                    )


def _items(tasks: TaskSet) -> Iterator[Example | FreeTextExample]:
    controls = [task for some in tasks.controls.values() for task in some]
    for task in (*tasks.test, *tasks.validation, *controls):
        for some in _parts(task):
            yield from some
    yield from tasks.ceiling


def _parts(task: Task) -> tuple[tuple[Example | FreeTextExample, ...], ...]:
    return (task.train, task.stop, task.in_context, task.probes, task.paper, task.free)
