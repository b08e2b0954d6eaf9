"""Every row of a run held against its model before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from oocr.data.chat_template import clock_day
from oocr.data.check_rows import Row, check_rows
from oocr.data.tokens import RowTokens
from oocr.errors import InputError
from oocr.models.anatomy import HasAnatomy
from oocr.models.position_limits import limits_of
from oocr.runs.controls import NEW_TOKENS, shown_examples
from oocr.runs.grid import trained_controls
from oocr.runs.resolve import ResolvedRun

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_run(run: ResolvedRun, model: HasAnatomy, rows: RowTokens) -> tuple[str, ...]:
    """What is to know of a run's rows under this model, in sentences.

    InputError: rows that it cannot read: all of them, with file and line or id.
    """
    return check_rows(rows, _rows(run), limits_of(model)).all


def with_day(run: ResolvedRun, tokenizer: PreTrainedTokenizerBase) -> ResolvedRun:
    """The run, its settings with the day that its chats have in them; without one, with none.

    InputError: the model was loaded for another day than the settings say.
    """
    config, day = run.config, clock_day(tokenizer) if _chats(run) else None
    if day is not None and config.day not in (None, day):
        raise InputError(f"day: {config.day}; allowed: {day}, for which {config.model} was loaded")
    return run._replace(config=config.model_copy(update={"day": day}))


def _chats(run: ResolvedRun) -> bool:
    """Whether any prompt is a chat."""
    return any(not isinstance(row.prompt, str) for row in _rows(run))


def _rows(run: ResolvedRun) -> Iterator[Row]:
    """All rows, as they are used."""
    tasks = run.tasks
    controls = trained_controls(run.config, tasks).values()
    for task in (*tasks.test, *tasks.validation, *(task for group in controls for task in group)):
        for example in (*task.train, *task.stop):
            yield Row.trained(example, task.loss)
        yield from map(Row.asked, (*task.in_context, *task.probes, *task.paper))
        yield from map(Row.asked, task.free)
    yield from map(Row.asked, (*tasks.ceiling, *tasks.asked_first))
    for _, shown in shown_examples(tasks, run.config.explain.examples):
        for question in map(Row.asked, shown):
            yield replace(question, answers=(), compared="", new=NEW_TOKENS)
