"""A model with what all arms share: recorded training batches, probes, stop items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import polars as pl
import torch
from torch import Tensor

from oocr.data.batches import TokenSequence, training_lines
from oocr.data.examples import Example, examples_hash
from oocr.data.tokens import RowTokens
from oocr.engine.forward import final_rows
from oocr.engine.losses import batch_loss
from oocr.engine.recording import batch_of
from oocr.engine.recording_cache import RecordingCache, RecordingHandle, Tier, record_shared, tiers
from oocr.engine.training_batches import TrainingBatches, content_hash, prepare
from oocr.evals.probes import Columns, Probes, rows
from oocr.models.language_model import LanguageModel
from oocr.models.machine import device_kind
from oocr.runs.records import ModelInfo
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

T = TypeVar("T")
STOP_TOKENS = 4096
"""Tokens in one pass over a task's `stop` items."""


def computed_with(model: LanguageModel) -> dict[str, str | int]:
    """What every result of a run depends on apart from its settings, for keys of cached results."""
    return _computed(model.fingerprint, device_kind(model.device))


def computed_by(model: ModelInfo) -> dict[str, str | int]:
    """The same for a model that is not loaded in this process."""
    return _computed(model.model_fingerprint, model.device_kind)


def _computed(fingerprint: str, device: str) -> dict[str, str | int]:
    on = {} if device.startswith("CPU") else {"device": device}
    return {
        "model": fingerprint,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        **on,
    }


class TrainingTokens:
    """The training sequences of a run's tasks; a process tokenizes each row once."""

    def __init__(self, rows: RowTokens) -> None:
        self.rows = rows
        self._known: dict[str, tuple[list[TokenSequence], str]] = {}

    def of(self, task: Task) -> tuple[list[TokenSequence], str]:
        """The task's training sequences, and the hash of their content (see `content_hash`)."""
        if task.train_hash not in self._known:
            sequences = training_lines(self.rows, task.train, task.loss)
            self._known[task.train_hash] = (sequences, content_hash(sequences))
        return self._known[task.train_hash]


class RunContext:
    """A model with the caches that all arms share. They save time and change no result.

    `starts`: blocks at which arms start; `memory`: where recordings may be stored (None: shares of
    the free memory); `tokens`: sequences tokenized before; `positions`: of the vectors that will be
    trained (None: not known); `asked_starts`: blocks at which answers to questions start (None:
    those of the arms).
    """

    def __init__(
        self,
        model: LanguageModel,
        starts: Sequence[int],
        batch_lines: int,
        memory: Sequence[Tier] | None = None,
        tokens: TrainingTokens | None = None,
        positions: Sequence[str] | None = None,
        asked_starts: Sequence[int] | None = None,
    ) -> None:
        self.model, self.starts, self.batch_lines = model, sorted(set(starts)), batch_lines
        self.tokens = TrainingTokens(RowTokens(model.tokenizer)) if tokens is None else tokens
        self.positions = positions
        self.asked_starts = self.starts if asked_starts is None else asked_starts
        self._prepared: dict[str, TrainingBatches] = {}
        self._stops: dict[str, list[RecordingHandle]] = {}
        self._questions: dict[tuple[object, ...], Probes] = {}
        self._recordings = RecordingCache(tiers(model.device) if memory is None else memory)
        self._kept: dict[str, tuple[object, Any]] = {}

    def prepared(self, tasks: Sequence[Task]) -> list[TrainingBatches]:
        """Training batches of tasks, recorded for all start blocks; equal prompts only once."""
        for task in tasks:
            if task.train_hash not in self._prepared:
                sequences, _ = self.tokens.of(task)
                self._prepared[task.train_hash] = prepare(
                    self.model,
                    task,
                    self.starts,
                    self.batch_lines,
                    self._recordings,
                    sequences,
                    self.positions,
                )
        return [self._prepared[task.train_hash] for task in tasks]

    def kept(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """A value computed once; only the latest of each kind (the key's first word) is cached."""
        kind = str(key[0])
        if kind not in self._kept or self._kept[kind][0] != key:
            self._kept[kind] = (key, make())
        value: T = self._kept[kind][1]
        return value

    def scores(
        self, items: Sequence[Example], arms: Sequence[Vector] | Adapter | None
    ) -> list[Tensor]:
        """Option log-scores [item, option] per stacked arm; equal questions are computed once."""
        unique: dict[tuple[object, ...], tuple[int, Example]] = {}
        asked = list(map(question_key, items))
        for example, question in zip(items, asked, strict=True):
            unique.setdefault(question, (len(unique), example))
        key = tuple(unique)
        if key not in self._questions:
            first = [example for _, example in unique.values()]
            starts = (*self.asked_starts, self.model.n_blocks)
            self._questions[key] = Probes.of(
                self.model, first, self._recordings, starts, self.tokens.rows
            )
        places = [unique[question][0] for question in asked]
        return [scores[places] for scores in self._questions[key].scores(arms, everywhere=False)]

    def rows(
        self,
        parts: Mapping[str, Sequence[Example]],
        arms: Sequence[Vector] | Adapter | None,
        columns: Sequence[Columns],
    ) -> pl.DataFrame:
        """Rows of one or several stacked arms, with each arm's own columns, on parts of a task."""
        scored = self.scores([example for items in parts.values() for example in items], arms)
        frames: list[pl.DataFrame] = []
        for scores, extra in zip(scored, columns, strict=True):
            frames += part_rows(parts, scores, extra)
        return pl.concat(frames, how="diagonal_relaxed")

    def stop_losses(self, task: Task, arms: Sequence[Vector] | Adapter) -> list[float]:
        """Loss on the task's `stop` items, in nats per item, per stacked arm."""
        key = examples_hash(task.stop, task.loss)
        if key not in self._stops:
            groups = stop_groups(training_lines(self.tokens.rows, task.stop, task.loss))
            self._stops[key] = [
                record_shared(
                    self.model, batch_of(self.model, group), self.starts, self._recordings
                )
                for group in groups
            ]
        stack = 1 if isinstance(arms, Adapter) else len(arms)
        totals, items = [0.0] * stack, 0
        for handle in self._stops[key]:
            recording = handle.load(None)
            with torch.no_grad():
                stacked = final_rows(self.model, recording, arms, everywhere=False)
                losses = [float(batch_loss(self.model, recording.batch, rows)) for rows in stacked]
            items += recording.batch.items
            totals = [a + b * recording.batch.items for a, b in zip(totals, losses, strict=True)]
        return [total / items for total in totals]


def question_key(example: Example) -> tuple[object, ...]:
    """What a question's scores depend on, apart from the arm: equal questions have equal ones."""
    return (example.prompt, example.options, example.scored_by, *sorted(example.spans.items()))


def part_rows(
    parts: Mapping[str, Sequence[Example]], scores: Tensor, columns: Columns
) -> list[pl.DataFrame]:
    """Rows of each part of a task, from the scores of all its items in turn."""
    frames: list[pl.DataFrame] = []
    begin = 0
    for part, items in parts.items():
        end = begin + len(items)
        frames.append(rows(items, scores[begin:end], {**columns, "part": part}))
        begin = end
    return frames


def stop_groups(sequences: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
    """Sequences in batches of at most STOP_TOKENS tokens; in one batch in order, if they fit."""
    if max(len(sequence.ids) for sequence in sequences) * len(sequences) <= STOP_TOKENS:
        return [list(sequences)]
    groups: list[list[TokenSequence]] = [[]]
    for sequence in sorted(sequences, key=lambda sequence: len(sequence.ids)):
        if groups[-1] and len(sequence.ids) * (len(groups[-1]) + 1) > STOP_TOKENS:
            groups.append([])
        groups[-1].append(sequence)
    return groups
