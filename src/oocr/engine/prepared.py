"""Training batches with the frozen part computed, shared by all arms with this data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from oocr.data.batches import Batch, Line, training_lines
from oocr.engine.record import batch_of, record_shared
from oocr.engine.store import Recording, Recordings, tiers
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task

WINDOW = 16
"""Batches' worth of drawn lines that are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Recorded training batches.

    Attributes:
        frozen: the recorded batches; their make-up is fixed, their order is the arm's.
        scale: block index -> median norm of the residual stream at that block's input.
    """

    frozen: tuple[Recording, ...]
    scale: Mapping[int, float]

    def order(self, seed: int, steps: int) -> list[int]:
        """The batch of each step: pass after pass, each in an order drawn by the seed."""
        return list(islice(_passes(len(self.frozen), seed), steps))


def _passes(count: int, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


def prepare(
    model: LanguageModel,
    task: Task,
    starts: Sequence[int],
    batch_lines: int = 16,
    shared: Recordings | None = None,
) -> Prepared:
    """Tokenize the training items, draw batches of at most so many sequences, record each once.

    Args:
        model: the model, with nothing attached.
        task: whose training items.
        starts: blocks from which arms will start (a vector at layer L: L + 1; a LoRA: its lowest).
        batch_lines: sequences per batch; up to so many make one full batch.
        shared: recordings to look in first and add to, for tasks with the same prompts.
    """
    lines = training_lines(model.tokenizer, task.train, task.loss)
    known = Recordings(tiers(model.device)) if shared is None else shared
    recordings: list[Recording] = []
    norms: dict[int, list[Tensor]] = {start: [] for start in starts}
    for group in training_groups(lines, batch_lines):
        one = record_shared(model, batch_of(model, group), starts, known)
        inputs = one.load(None).inputs  # now that it is at hand
        for start, some in norms.items():
            some.append(_norms(inputs[start], one.batch))
        recordings.append(one)
    medians = {start: float(torch.cat(some).median()) for start, some in norms.items()}
    return Prepared(tuple(recordings), medians)


def training_groups(lines: Sequence[Line], batch_lines: int) -> list[list[Line]]:
    """Lines drawn into batches of at most so many, equal in size and of lines of like length.

    As many lines as make WINDOW batches are drawn, sorted by length and cut: little padding, and a
    batch is still a draw from a good part of the data.
    """
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0)).tolist()
    window = WINDOW * batch_lines
    drawn = [order[begin : begin + window] for begin in range(0, len(order), window)]
    in_turn = [i for some in drawn for i in sorted(some, key=lambda one: len(lines[one].ids))]
    size, more = divmod(len(lines), -(-len(lines) // batch_lines))
    groups: list[list[Line]] = []
    while in_turn:
        count = size + (len(groups) < more)
        groups.append([lines[i] for i in in_turn[:count]])
        in_turn = in_turn[count:]
    return groups


def _norms(hidden: Tensor, batch: Batch) -> Tensor:
    """Norms of all tokens but the first: in many models that one's is huge."""
    norms: Tensor = hidden.float().norm(dim=-1)[batch.mask & (batch.positions > 0)]
    return norms
