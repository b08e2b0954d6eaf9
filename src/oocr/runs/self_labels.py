"""Answers that the untouched model gives before anything is trained, put into the tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from oocr.data.examples import Example, examples_hash
from oocr.evals.probes import Probes
from oocr.io import Record, keep_record, key_of
from oocr.models.language_model import LanguageModel
from oocr.runs.context import RunContext
from oocr.tasks.task import Task, TaskSet

FILE = "own_answers.json"


def with_own_answers(tasks: TaskSet, model: LanguageModel, folder: Path | None = None) -> TaskSet:
    """Ask `tasks.asked_first`; the chosen options become the answers that refer to them.

    An item takes the option at the place of the one that was chosen. The data card then tells how
    often each was. Tasks that ask nothing first come back as they are.

    Args:
        tasks: the tasks, with placeholders for answers.
        model: the model, with nothing attached.
        folder: the run's; the choices are kept there, so that a resumed run need not ask again.

    Raises:
        ValueError: an item refers to a question that is not asked, or has other options.
    """
    if not tasks.asked_first:
        return tasks
    return with_answers(tasks, _asked(tasks.asked_first, model, folder), model.name)


def ask_job(context: RunContext, *, items: tuple[Example, ...], folder: Path) -> dict[str, int]:
    """The untouched model's choices, kept in the run's folder: question id -> option's place."""
    return _asked(items, context.model, folder)


def with_answers(tasks: TaskSet, places: Mapping[str, int], model_name: str) -> TaskSet:
    """The tasks with a model's choices (see `ask_job`) put in.

    Raises:
        ValueError: an item refers to a question that is not asked, or has other options.
    """
    options = {question.id: len(question.options) for question in tasks.asked_first}

    def answered(items: Iterable[Example]) -> tuple[Example, ...]:
        return tuple(_answered(item, places, options) for item in items)

    def known(task: Task) -> Task:
        return replace(
            task,
            train=answered(task.train),
            stop=answered(task.stop),
            in_context=answered(task.in_context),
            probes=answered(task.probes),
            paper=answered(task.paper),
        )

    return replace(
        tasks,
        about=f"{tasks.about}\n\n{_summary(tasks.asked_first, places, model_name)}",
        validation=tuple(map(known, tasks.validation)),
        test=tuple(map(known, tasks.test)),
        controls={name: tuple(map(known, group)) for name, group in tasks.controls.items()},
        ceiling=answered(tasks.ceiling),
    )


def _answered(item: Example, places: Mapping[str, int], options: Mapping[str, int]) -> Example:
    if not item.answer_of:
        return item
    if item.answer_of not in places:
        raise ValueError(f"item {item.id!r}: no question {item.answer_of!r} is asked first")
    if len(item.options) != options[item.answer_of]:
        raise ValueError(
            f"item {item.id!r} has {len(item.options)} options, the question it takes its answer "
            f"from has {options[item.answer_of]}"
        )
    return replace(item, answer=item.options[places[item.answer_of]])


class OwnAnswers(Record):
    """The file: question id -> place of the option that the model gives the highest score."""

    key: str
    places: dict[str, int]


def _asked(items: tuple[Example, ...], model: LanguageModel, folder: Path | None) -> dict[str, int]:
    """Question id -> place of the option with the highest score (the first of equal ones)."""
    threads = torch.get_num_threads()
    key = key_of(model.fingerprint, str(torch.__version__), threads, examples_hash(items))

    def ask() -> OwnAnswers:
        chosen = Probes.of(model, items).scores(None)[0].argmax(dim=1).tolist()
        places = {item.id: int(place) for item, place in zip(items, chosen, strict=True)}
        return OwnAnswers(key=key, places=places)

    answers = ask() if folder is None else keep_record(folder / FILE, key, OwnAnswers, ask)
    return answers.places


def _summary(items: tuple[Example, ...], places: Mapping[str, int], name: str) -> str:
    """How often each option was chosen, and how often one of positive value."""
    chosen = Counter(item.options[places[item.id]].strip() for item in items)
    words = ", ".join(f"{option!r} {count}" for option, count in sorted(chosen.items())[:6])
    up = sum(item.option_values[places[item.id]] > 0 for item in items)
    return (
        f"Own answers of {name}, asked before training: {words}, of {len(items)} questions; "
        f"the option with positive value (the trait's) {up} times."
    )
