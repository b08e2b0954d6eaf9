"""Training batches with the frozen part computed, shared by all arms with this data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from oocr.data.batches import training_lines
from oocr.engine.frozen import Frozen
from oocr.engine.record import Recordings, batch_of, record_shared
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Prepared:
    """Recorded training batches.

    Attributes:
        frozen: the recorded batches; their make-up is fixed, their order is the arm's.
        scale: block index -> median norm of the residual stream at that block's input.
    """

    frozen: tuple[Frozen, ...]
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
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0)).tolist()
    count = -(-len(lines) // batch_lines)
    groups = [[lines[i] for i in order[k::count]] for k in range(count)]
    known = {} if shared is None else shared
    frozen = tuple(record_shared(model, batch_of(model, group), starts, known) for group in groups)
    return Prepared(frozen, {start: _median_norm(frozen, start) for start in starts})


def _median_norm(frozen: Sequence[Frozen], start: int) -> float:
    """Median token norm, first tokens left out: in many models they carry huge norms."""
    norms = [
        one.inputs[start].float().norm(dim=-1)[one.batch.mask & (one.batch.positions > 0)]
        for one in frozen
    ]
    return float(torch.cat(norms).median())
