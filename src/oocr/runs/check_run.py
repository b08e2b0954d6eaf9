"""A run checked against its model before anything is computed: layers, positions, rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from oocr.data.chat_template import clock_day
from oocr.data.check_rows import Row, check_rows
from oocr.data.tokens import RowTokens
from oocr.errors import InputError
from oocr.families.registry import family_of
from oocr.models.anatomy import HasAnatomy
from oocr.models.branches import mlp_of
from oocr.models.language_model import LanguageModel
from oocr.models.outline import Outline
from oocr.models.position_limits import limits_of
from oocr.runs.config import RunConfig
from oocr.runs.controls import NEW_TOKENS, shown_examples
from oocr.runs.grid import trained_controls
from oocr.runs.resolve import ResolvedRun, shared_spans
from oocr.steering.adapters import peft_config
from oocr.steering.positions import JOIN, selectors, spans_of
from oocr.tasks.task import TaskSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_run_fits(run: ResolvedRun, model: LanguageModel | Outline) -> None:
    """Refuse layers and positions that the model or the task doesn't have.

    The `InputError` names the field (first, before a colon), the value and what is allowed.
    """
    config, tasks, last = run.config, run.tasks, model.n_blocks - 1
    for method, grid in config.grids.items():
        low = -1 if method == "vector" else 0
        for layer in grid.blocks:
            if not low <= layer <= last:
                raise InputError(
                    f"{method}.layers: {layer} is not a block of {config.model}; "
                    f"allowed: {low} to {last}"
                )
    if config.vector is not None:
        if config.vector.site == "mlp":
            for layer in config.vector.layers:
                mlp_of(model, layer)
        positions = config.vector.positions
        # Probes are scored at the prompt's end: "answer" would change none of them.
        known = shared_spans(tasks)
        allowed = [word for word in selectors(known) if word != "answer"]
        joined = {span for name in known for span in name.split(JOIN)}
        if positions not in allowed and not set(positions.split(JOIN)) <= joined:
            raise InputError(
                f"vector.positions: {positions!r} is not in this task; "
                f"allowed: {', '.join(allowed)}"
            )
        if spans := spans_of(positions):
            _check_spans(config, tasks, spans)
    if config.adapter is not None:
        for layer in config.adapter.blocks:
            try:
                peft_config(model, config.adapter.spec(layer))
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

    In a custom task some questions may lack them, but not all. One of several joined spans is
    enough.
    """
    enough = any if family_of(config.task).spans_may_lack else all
    named = JOIN.join(spans)
    for task in tasks.all_tasks:
        for part, items in task.scored.items():
            if not enough(bool(set(spans) & set(example.spans)) for example in items):
                raise InputError(
                    f"vector.positions: {named!r} does not occur in the {part} of {task.name}; "
                    "allowed: all, last, prompt, from:last"
                )


def check_run(run: ResolvedRun, model: HasAnatomy, rows: RowTokens) -> tuple[str, ...]:
    """Remarks on a run's rows under this model, in sentences.

    InputError: the model cannot read some rows; names all of them, with file and line or id.
    """
    return check_rows(rows, _rows(run), limits_of(model)).all


def with_day(run: ResolvedRun, tokenizer: PreTrainedTokenizerBase) -> ResolvedRun:
    """The run with its settings' `day` as its chat template writes it; None: writes no date.

    InputError: the model was loaded for another day than the settings say.
    """
    config, day = run.config, clock_day(tokenizer) if _chats(run) else None
    if day is not None and config.day not in (None, day):
        raise InputError(f"day: {config.day}; allowed: {day}, for which {config.model} was loaded")
    return run._replace(config=config.model_copy(update={"day": day}))


def _chats(run: ResolvedRun) -> bool:
    """Whether at least one prompt is a chat."""
    return any(not isinstance(row.prompt, str) for row in _rows(run))


def _rows(run: ResolvedRun) -> Iterator[Row]:
    """All rows, with their use."""
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
