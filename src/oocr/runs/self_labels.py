"""Answers that the untouched model gives before anything is trained, put into the tasks."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from oocr.data.examples import Example
from oocr.evals.probes import Probes
from oocr.io import write_json
from oocr.models.language_model import LanguageModel
from oocr.runs.arms import ENGINE
from oocr.runs.context import items_hash
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
    places = _asked(tasks.asked_first, model, folder)
    options = {one.id: len(one.options) for one in tasks.asked_first}

    def answered(items: Iterable[Example]) -> tuple[Example, ...]:
        return tuple(_answered(one, places, options) for one in items)

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
        about=f"{tasks.about}\n\n{_told(tasks.asked_first, places, model.name)}",
        validation=tuple(known(one) for one in tasks.validation),
        test=tuple(known(one) for one in tasks.test),
        controls={name: tuple(known(one) for one in some) for name, some in tasks.controls.items()},
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


def _asked(items: tuple[Example, ...], model: LanguageModel, folder: Path | None) -> dict[str, int]:
    """Question id -> place of the option that the model gives the highest score (first of ties)."""
    parts = [ENGINE, model.fingerprint, str(torch.__version__), torch.get_num_threads()]
    key = hashlib.sha256(json.dumps([*parts, items_hash(items)]).encode()).hexdigest()
    path = folder / FILE if folder is not None else None
    kept = _read(path, key)
    if kept is not None:
        return kept
    scores = Probes.of(model, items).scores(None)[0]
    chosen = scores.argmax(dim=1).tolist()
    places = {one.id: int(place) for one, place in zip(items, chosen, strict=True)}
    if path is not None:
        write_json(path, {"key": key, "places": places})
    return places


def _read(path: Path | None, key: str) -> dict[str, int] | None:
    """What was kept under this key; None if it was not, or cannot be read (it is asked again)."""
    if path is None or not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        same = data["key"] == key
        return {str(one): int(place) for one, place in data["places"].items()} if same else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _told(items: tuple[Example, ...], places: Mapping[str, int], name: str) -> str:
    """How often each option was chosen, and how often one of positive value."""
    chosen = Counter(one.options[places[one.id]].strip() for one in items)
    words = ", ".join(f"{option!r} {count}" for option, count in sorted(chosen.items())[:6])
    up = sum(one.option_values[places[one.id]] > 0 for one in items)
    return (
        f"Own answers of {name}, asked before training: {words}, of {len(items)} questions; "
        f"the option with positive value (the trait's) {up} times."
    )
