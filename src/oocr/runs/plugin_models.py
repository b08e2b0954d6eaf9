"""Runs on the models of plug-ins: which built-in run is meant, and what such a model knows."""

from __future__ import annotations

from collections.abc import Iterator

from oocr.data.examples import Example, FreeTextExample, prompt_text
from oocr.errors import InputError
from oocr.models.bundled import folder_of, source_of
from oocr.runs.config import RunConfig
from oocr.tasks.task import TaskSet


def source_for(source: str, model: str | None) -> tuple[str, str]:
    """The built-in run that is meant, and a sentence that says so where it is not the one named.

    Args:
        source: a built-in name or YAML file.
        model: the model that is asked for; None: the configuration's own.
    """
    plugin = source_of(model) if model is not None else None
    path = plugin.runs().get(source) if plugin else None
    if plugin is None or path is None:
        return source, ""
    return path.stem, f"{model} is {plugin.about}: {path.stem} is run"


def check_family(config: RunConfig) -> None:
    """Refuse a task of a family that the model knows nothing of.

    Raises:
        InputError: names the family and those that are allowed.
    """
    plugin = source_of(config.model)
    family = config.task.family
    if plugin is None or not plugin.families or family in (*plugin.families, "custom"):
        return
    runs = ", ".join(path.stem for path in plugin.runs().values())
    raise InputError(
        f"task.family: {family!r}: {config.model} is {plugin.about}; "
        f"allowed: {', '.join(plugin.families)} (built-in runs: {runs})"
    )


def check_words(config: RunConfig, tasks: TaskSet) -> None:
    """Refuse a task whose texts hold words that the model has no token for.

    Raises:
        InputError: names the example and the word.
    """
    plugin = source_of(config.model)
    known = plugin.words(folder_of(config.model)) if plugin else None
    if known is None:
        return
    for example in _examples(tasks):
        texts = [prompt_text(example.prompt)]
        if isinstance(example, Example):
            texts += (example.answer, *example.options)
        else:
            texts += example.accept
        for word in (word for text in texts for word in text.split()):
            if word not in known:
                raise InputError(
                    f"task.{config.task.family}: item {example.id!r} holds {word!r}, which is no "
                    f"word of the world of {config.model}"
                )


def _examples(tasks: TaskSet) -> Iterator[Example | FreeTextExample]:
    controls = [task for group in tasks.controls.values() for task in group]
    for task in (*tasks.test, *tasks.validation, *controls):
        yield from (*task.train, *task.stop, *task.in_context, *task.probes, *task.paper)
        yield from task.free
    yield from tasks.ceiling
