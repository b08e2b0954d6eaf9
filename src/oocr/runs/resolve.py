"""Resolving a run: its tasks, and the untouched model's own answers that they train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from oocr.data.examples import Example, examples_hash, prompt_text
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.families.registry import build, family_of
from oocr.io import Record, keep_record, key_of
from oocr.models.language_model import LanguageModel
from oocr.models.sources.bundled import folder_of, plugin_of
from oocr.runs.config import RunConfig
from oocr.runs.context import computed_with
from oocr.runs.folder import RunFolder
from oocr.tasks.task import SPLITS, Task, TaskSet


class ResolvedRun(NamedTuple):
    """A run with all defaults filled in (full paths, the model's world, the vector's positions)."""

    config: RunConfig
    tasks: TaskSet


def resolve(config: RunConfig, base: Path) -> ResolvedRun:
    """Build the tasks, and fill in what the configuration leaves open.

    Its relative paths start from the folder `base`.

    InputError: files that cannot be used, or a task and a model of different worlds.
    """
    check_family(config)
    task = family_of(config.task).resolve(config.task, base, config.model)
    config = config.model_copy(update={"task": task})
    tasks = build(config.task, base)
    check_words(config, tasks)
    if config.vector is not None and config.vector.positions == "auto":
        positions = next(iter(shared_spans(tasks)), "last")
        vector = config.vector.model_copy(update={"positions": positions})
        config = config.model_copy(update={"vector": vector})
    return ResolvedRun(config, tasks)


def shared_spans(tasks: TaskSet) -> list[str]:
    """Spans that all tasks have for a vector, best first."""
    first, *others = (*tasks.test, *tasks.validation)
    return [name for name in first.positions if all(name in task.positions for task in others)]


def check_family(config: RunConfig) -> None:
    """Refuse (`InputError`) a family whose world the model was not trained on."""
    plugin = plugin_of(config.model)
    family = config.task.family
    if plugin is None or not plugin.families or family in (*plugin.families, "custom"):
        return
    runs = ", ".join(path.stem for path in plugin.runs().values())
    raise InputError(
        f"task.family: {family!r}: {config.model} is {plugin.about}; "
        f"allowed: {', '.join(plugin.families)} (built-in runs: {runs})"
    )


def check_words(config: RunConfig, tasks: TaskSet) -> None:
    """Refuse (`InputError`) texts with words for which the model has no token."""
    plugin = plugin_of(config.model)
    known = plugin.words(folder_of(config.model)) if plugin else None
    if known is None:
        return
    listed = [task.split(name) for task in tasks.all_tasks for name in SPLITS]
    for example in (example for examples in (*listed, tasks.ceiling) for example in examples):
        texts = [prompt_text(example.prompt)]
        if isinstance(example, Example):
            texts += (example.answer, *example.options)
        else:
            texts += example.accept
        for word in (word for text in texts for word in text.split()):
            if word not in known:
                raise InputError(
                    f"task.{config.task.family}: item {example.id!r} contains {word!r}, which is "
                    f"not a word of the world of {config.model}"
                )


FILE = "own_answers.json"


class OwnAnswers(Record):
    """The file: question id -> index of the option with the highest score."""

    key: str
    places: dict[str, int]


def own_answers(
    model: LanguageModel, items: Sequence[Example], folder: Path | None = None
) -> dict[str, int]:
    """Question id -> index of the option with the highest score (the first of equal ones).

    Cached in the run's folder, so that a resumed run need not ask again.
    """
    key = key_of(*computed_with(model).values(), examples_hash(items))

    def ask() -> OwnAnswers:
        chosen = Probes.of(model, items).scores(None)[0].argmax(dim=1).tolist()
        places = {example.id: int(place) for example, place in zip(items, chosen, strict=True)}
        return OwnAnswers(key=key, places=places)

    kept = ask() if folder is None else keep_record(folder / FILE, key, OwnAnswers, ask)
    return kept.places


def with_own_answers(tasks: TaskSet, model: LanguageModel, folder: Path | None = None) -> TaskSet:
    """Ask `tasks.asked_first`, and put the answers in (see `own_answers`, `with_answers`)."""
    if not tasks.asked_first:
        return tasks
    return with_answers(tasks, own_answers(model, tasks.asked_first, folder), model.name)


def with_answers(tasks: TaskSet, places: Mapping[str, int], model_name: str) -> TaskSet:
    """The tasks with a model's choices as answers; the data card counts the choices.

    ValueError: an item refers to a question that is not asked, or has other options.
    """
    asked = {question.id: question for question in tasks.asked_first}

    def answered(examples: Iterable[Example]) -> tuple[Example, ...]:
        return tuple(_answered(example, places, asked) for example in examples)

    def changed(task: Task) -> Task:
        return replace(
            task,
            train=answered(task.train),
            stop=answered(task.stop),
            in_context=answered(task.in_context),
            probes=answered(task.probes),
            paper=answered(task.paper),
        )

    about = f"{tasks.about}\n\n{_summary(tasks.asked_first, places, model_name)}"
    return replace(tasks.changed(changed), about=about, ceiling=answered(tasks.ceiling))


def tasks_of(run: RunFolder) -> TaskSet:
    """The tasks of a finished run, with the untouched model's own answers if it trained on them.

    InputError: the user's files are gone or changed, or the answers are missing.
    """
    tasks = resolve(run.config, run.folder).tasks
    if not tasks.asked_first:
        return tasks
    path = run.folder / FILE
    try:
        answers = OwnAnswers.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); do the run again") from error
    return with_answers(tasks, answers.places, run.info.model)


def _answered(example: Example, places: Mapping[str, int], asked: Mapping[str, Example]) -> Example:
    if not example.answer_of:
        return example
    if example.answer_of not in places:
        raise ValueError(f"item {example.id!r}: no question {example.answer_of!r} is asked first")
    count, needed = len(example.options), len(asked[example.answer_of].options)
    if count != needed:
        raise ValueError(
            f"item {example.id!r} has {count} options, the question it takes its answer "
            f"from has {needed}"
        )
    return replace(example, answer=example.options[places[example.answer_of]])


def _summary(items: tuple[Example, ...], places: Mapping[str, int], name: str) -> str:
    """How often each option was chosen, and how often one of positive value."""
    chosen = Counter(example.options[places[example.id]].strip() for example in items)
    words = ", ".join(f"{option!r} {count}" for option, count in sorted(chosen.items())[:6])
    up = sum(example.option_values[places[example.id]] > 0 for example in items)
    return (
        f"Own answers of {name}, asked before training: {words}, of {len(items)} questions; "
        f"the option with positive value (the trait's) {up} times."
    )
