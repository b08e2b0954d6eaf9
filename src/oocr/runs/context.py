"""A model with everything that arms share: recorded training batches, probes, stop items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import polars as pl
import torch
from torch import Tensor

from oocr.data.batches import KEPT, LARGE, TokenSequence, training_lines
from oocr.data.examples import Example, FreeTextExample
from oocr.engine.forward import final_rows, start_block
from oocr.engine.losses import batch_loss
from oocr.engine.record import batch_of, record_shared
from oocr.engine.recording_cache import RecordingCache, RecordingHandle, tiers
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

T = TypeVar("T")
STOP_TOKENS = 4096
"""Tokens in one pass over a task's `stop` items."""

Columns = Mapping[str, str | int | float | None]
"""What rows say besides what the items say."""


class RunContext:
    """Caches around one model. Nothing here changes a result; it saves computing it twice.

    Args:
        model: the model.
        starts: blocks from which arms will start.
        batch_lines: sequences per training batch.
        budget: bytes of main memory for recordings; None: a share of what is free now.
    """

    def __init__(
        self,
        model: LanguageModel,
        starts: Sequence[int],
        batch_lines: int,
        budget: int | None = None,
    ) -> None:
        self.model, self.starts, self.batch_lines = model, sorted(set(starts)), batch_lines
        self._prepared: dict[str, TrainingBatches] = {}
        self._stops: dict[str, list[RecordingHandle]] = {}
        self._questions: dict[tuple[object, ...], Probes] = {}
        self._recordings = RecordingCache(tiers(model.device, budget))
        self._kept: dict[str, tuple[object, Any]] = {}

    def prepared(self, tasks: Sequence[Task]) -> list[TrainingBatches]:
        """Each task's training batches, recorded for every start block in play.

        Equal prompts are recorded once.
        """
        keys = [items_hash(task.train) for task in tasks]
        for key, task in zip(keys, tasks, strict=True):
            if key not in self._prepared:
                self._prepared[key] = prepare(
                    self.model, task, self.starts, self.batch_lines, self._recordings
                )
        return [self._prepared[key] for key in keys]

    def kept(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Something made once; only the latest of each kind (the key's first word) is kept."""
        kind = str(key[0])
        if kind not in self._kept or self._kept[kind][0] != key:
            self._kept[kind] = (key, make())
        value: T = self._kept[kind][1]
        return value

    def scores(
        self, items: Sequence[Example], arms: Sequence[Vector] | Adapter | None
    ) -> list[Tensor]:
        """Option log-scores [item, option] per stacked arm; equal questions are asked once."""
        unique: dict[tuple[object, ...], int] = {}
        first: list[Example] = []
        asked = [_question(item) for item in items]
        for item, question in zip(items, asked, strict=True):
            if question not in unique:
                unique[question] = len(first)
                first.append(item)
        key = tuple(unique)
        if key not in self._questions:
            starts = (*self.starts, self.model.n_blocks)
            self._questions[key] = Probes.of(self.model, first, self._recordings, starts)
        places = [unique[question] for question in asked]
        return [one[places] for one in self._questions[key].scores(arms, everywhere=False)]

    def rows(
        self,
        parts: Mapping[str, Sequence[Example]],
        arms: Sequence[Vector] | Adapter | None,
        columns: Sequence[Columns],
    ) -> pl.DataFrame:
        """Rows of one or several stacked arms, with each arm's own columns, on parts of a task."""
        scored = self.scores([item for items in parts.values() for item in items], arms)
        frames: list[pl.DataFrame] = []
        for one, extra in zip(scored, columns, strict=True):
            begin = 0
            for part, items in parts.items():
                end = begin + len(items)
                frames.append(rows(items, one[begin:end], {**extra, "part": part}))
                begin = end
        return pl.concat(frames, how="diagonal_relaxed")

    def stop_losses(self, task: Task, arms: Sequence[Vector] | Adapter) -> list[float]:
        """Loss on the task's `stop` items, in nats per item, per stacked arm."""
        if not task.stop:
            return []
        key = items_hash(task.stop)
        if key not in self._stops:
            lines = training_lines(self.model.tokenizer, task.stop, task.loss)
            self._stops[key] = [
                record_shared(self.model, batch_of(self.model, some), self.starts, self._recordings)
                for some in stop_groups(lines)
            ]
        stack = 1 if isinstance(arms, Adapter) else len(arms)
        totals, items = [0.0] * stack, 0
        for one in self._stops[key]:
            frozen = one.load(None)
            assert start_block(arms if isinstance(arms, Adapter) else arms[0]) in frozen.inputs
            with torch.no_grad():
                every = final_rows(self.model, frozen, arms, everywhere=False)
                losses = [float(batch_loss(self.model, frozen.batch, rows)) for rows in every]
            items += frozen.batch.items
            totals = [a + b * frozen.batch.items for a, b in zip(totals, losses, strict=True)]
        return [total / items for total in totals]


def stop_groups(lines: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
    """Lines in batches of at most STOP_TOKENS; one batch, as they come, if they are so few."""
    if max(len(line.ids) for line in lines) * len(lines) <= STOP_TOKENS:
        return [list(lines)]
    groups: list[list[TokenSequence]] = [[]]
    for line in sorted(lines, key=lambda one: len(one.ids)):
        if groups[-1] and len(line.ids) * (len(groups[-1]) + 1) > STOP_TOKENS:
            groups.append([])
        groups[-1].append(line)
    return groups


def _question(item: Example) -> tuple[object, ...]:
    return (item.prompt, item.options, item.scored_by, tuple(sorted(item.spans.items())))


def items_hash(items: Sequence[Example] | Sequence[FreeTextExample]) -> str:
    """A short hash of what items say (not of their ids' order in memory)."""
    known = _HASHES.get(id(items))
    if known is not None and known[0] is items:
        return known[1]
    text = json.dumps([asdict(item) for item in items], sort_keys=True)
    found = hashlib.sha256(text.encode()).hexdigest()[:16]
    if isinstance(items, tuple) and len(items) > LARGE:  # it takes long, and arms ask again
        while len(_HASHES) >= KEPT:
            _HASHES.pop(next(iter(_HASHES)))
        _HASHES[id(items)] = (items, found)
    return found


_HASHES: dict[int, tuple[object, str]] = {}
