"""Resolving a configuration, and checking that it fits its model, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from oocr.data.examples import Example, FreeTextExample, prompt_text
from oocr.errors import InputError
from oocr.families.registry import build, family_of
from oocr.models.anatomy import mlp_of
from oocr.models.bundled import folder_of, source_of
from oocr.models.language_model import LanguageModel
from oocr.models.outline import Outline
from oocr.runs.config import RunConfig
from oocr.runs.grid import spec_of
from oocr.steering.adapters import LowRankAdapter, peft_config
from oocr.steering.positions import JOIN, selectors, spans_of
from oocr.tasks.task import TaskSet


class ResolvedRun(NamedTuple):
    """A run with nothing left open: made once in a command and passed on.

    Attributes:
        config: the configuration with full paths, the model's world, the vector's positions.
        tasks: its tasks.
    """

    config: RunConfig
    tasks: TaskSet


def resolve(config: RunConfig, base: Path) -> ResolvedRun:
    """Build the tasks, and settle what the configuration leaves open.

    Args:
        config: the configuration as it was given.
        base: folder that its relative paths start from.

    Raises:
        InputError: files that cannot be used, or a task and a model of different worlds.
    """
    check_family(config)
    task = family_of(config.task).resolve(config.task, base, config.model)
    config = config.model_copy(update={"task": task})
    tasks = build(config.task, base)
    check_words(config, tasks)
    if config.vector is not None and config.vector.positions == "auto":
        positions = next(iter(_spans(tasks)), "last")
        vector = config.vector.model_copy(update={"positions": positions})
        config = config.model_copy(update={"vector": vector})
    return ResolvedRun(config, tasks)


def _spans(tasks: TaskSet) -> list[str]:
    """The spans that a vector may be added at in all tasks, best first."""
    first, *others = (*tasks.test, *tasks.validation)
    return [name for name in first.positions if all(name in task.positions for task in others)]


def check_fits(run: ResolvedRun, model: LanguageModel | Outline) -> None:
    """Refuse layers and positions that the model or the task doesn't have.

    Raises:
        InputError: naming the field (first, before a colon), the value and what is allowed.
    """
    config, tasks, last = run.config, run.tasks, model.n_blocks - 1
    for name, grid, low in (("vector", config.vector, -1), ("adapter", config.adapter, 0)):
        if grid is None or grid.layers == "all":
            continue
        for layer in grid.layers:
            if not low <= layer <= last:
                raise InputError(
                    f"{name}.layers: {layer} is not a block of {config.model}; "
                    f"allowed: {low} to {last}"
                )
    if config.vector is not None:
        if config.vector.site == "mlp":
            for layer in config.vector.layers:
                mlp_of(model, layer)
        positions = config.vector.positions
        # Probes are scored at the prompt's end: "answer" would change none of them.
        known = _spans(tasks)
        allowed = [word for word in selectors(known) if word != "answer"]
        joined = {span for name in known for span in name.split(JOIN)}
        if positions not in allowed and not set(positions.split(JOIN)) <= joined:
            raise InputError(
                f"vector.positions: {positions!r} is not in this task; "
                f"allowed: {', '.join(allowed)}"
            )
        spans = spans_of(positions)
        if spans:
            _check_spans(config, tasks, spans)
    if config.adapter is not None:
        for layer in (0,) if config.adapter.layers == "all" else config.adapter.layers:
            spec = spec_of(config.adapter, layer)
            assert isinstance(spec, LowRankAdapter)
            try:
                peft_config(model, spec)
            except InputError as error:
                raise InputError(f"adapter.modules: {error}") from error
    wanted = config.controls.trained
    for name in wanted if isinstance(wanted, tuple) else ():
        if name not in tasks.controls:
            raise InputError(
                f"controls.trained: {name!r} is not a control of this task; "
                f"allowed: {', '.join(tasks.controls) or 'none'}"
            )
    chosen_by = (*tasks.test, *tasks.validation)
    if config.stop_on == "stop" and not all(task.stop for task in chosen_by):
        raise InputError("stop_on: 'stop' needs held-out items in every task; this family has none")


def _check_spans(config: RunConfig, tasks: TaskSet, spans: Sequence[str]) -> None:
    """Refuse spans that questions lack: a vector would change nothing there.

    Of a custom task some questions may lack them, but not all. Of joined spans one is enough.
    """
    enough = any if family_of(config.task).spans_may_lack else all
    named = JOIN.join(spans)
    controls = [task for tasks_of in tasks.controls.values() for task in tasks_of]
    for task in (*tasks.test, *tasks.validation, *controls):
        for part, items in task.scored.items():
            if not enough(bool(set(spans) & set(item.spans)) for item in items):
                raise InputError(
                    f"vector.positions: {named!r} does not occur in the {part} of {task.name}; "
                    "allowed: all, last, prompt, from:last"
                )


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
