"""Training batches with their recordings, shared by all arms that train on this data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, training_lines
from oocr.data.check_rows import Row, check_rows
from oocr.data.tokens import RowTokens
from oocr.engine.beginnings import record_beginning
from oocr.engine.forward import SteeringMask
from oocr.engine.recording import Recording, batch_of
from oocr.engine.recording_cache import RecordingCache, RecordingHandle, record_shared, tiers
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import limits_of
from oocr.steering.hooks import attached, reuses_keys
from oocr.steering.positions import select_each
from oocr.tasks.task import Task

WINDOW = 16
"""Number of batches whose sequences are drawn and then sorted by length together."""

MEASURED = 64
"""Batches on which the residual stream's norm is measured."""


@dataclass(slots=True)
class TrainingBatches:
    """Training batches, recorded when they are first used; their order is the arm's."""

    model: LanguageModel
    batches: tuple[Batch, ...]
    starts: tuple[int, ...]  # blocks from which arms will start
    scale: Mapping[int, float]  # block -> median norm of the residual stream at its input
    shared: RecordingCache  # other tasks' recordings too
    content: str  # see `content_hash`
    attached: tuple[tuple[int, str], ...] = ()  # what changed the residual stream then
    positions: tuple[str, ...] | None = None  # of vectors that will be trained; None: not known
    recordings: dict[int, RecordingHandle] = field(default_factory=dict[int, RecordingHandle])
    columns: dict[int, int | None] = field(default_factory=dict[int, int | None])
    """Batch -> the first columns of which its recording has keys and values (None: of all)."""
    masks: dict[tuple[int, str, bool], SteeringMask] = field(
        default_factory=dict[tuple[int, str, bool], SteeringMask]
    )  # by batch, positions, and whether earlier tokens' keys can be reused
    tails: dict[str | None, int] = field(default_factory=dict[str | None, int])
    """Positions (None: all tokens) -> most tokens that a pass over one copy of a batch runs."""

    def mask(self, index: int, positions: str) -> SteeringMask:
        """Where vectors at these positions act in a batch."""
        key = (index, positions, reuses_keys(self.model))
        if key not in self.masks:
            batch = self.batches[index]
            self.masks[key] = SteeringMask.of(batch, select_each(batch, positions), in_time=key[2])
        return self.masks[key]

    def check_attached(self) -> None:
        """Refuse batches recorded with other vectors or ablations than are attached now."""
        if attached(self.model) != self.attached:
            raise InputError(
                f"the batches were recorded with {len(self.attached)} ablations or vectors in "
                f"place, now there are {len(attached(self.model))}; prepare them inside the same "
                "`ablate(...)` or `vector.on(...)`"
            )

    def recording(self, index: int, columns: int = 0) -> RecordingHandle:
        """The recording of a batch, made when first needed (nothing may be attached at that time).

        It has the keys and values of `columns` columns, and of those that arms at the known
        positions need.
        """
        have = self.columns.get(index)
        if index not in self.recordings or (have is not None and have < columns):
            most = self._columns(index, columns)
            self.recordings[index] = record_shared(
                self.model, self.batches[index], self.starts, self.shared, most
            )
            self.columns[index] = most
        return self.recordings[index]

    def _columns(self, index: int, columns: int) -> int | None:
        """The most columns that vectors will need of a batch, at least `columns`; None: all."""
        if self.positions is None:
            return None
        try:
            return max([columns, *(self.mask(index, at).first for at in self.positions)])
        except InputError:  # no token of the batch is at such a position
            return None

    def load(self, index: int, start: int, mask: SteeringMask | None, *, once: bool) -> Recording:
        """A batch, ready to be replayed from a block on: for vectors that act at a mask.

        None: an adapter is attached, which takes the block's input only. With `once` it is not
        cached if memory is full: recording again is cheaper than the disk.
        """
        columns = 0 if mask is None else mask.first
        if once and index not in self.recordings and (mask is None or self.shared.full):
            return record_beginning(self.model, self.batches[index], [start], columns)
        return self.recording(index, columns).load(start if mask is None else None)

    def record_ahead(self, indices: Sequence[int], *, once: bool) -> None:
        """Record batches before an adapter is attached, as far as that is of use (see `load`)."""
        for index in dict.fromkeys(indices):
            if once and self.shared.full:
                return
            self.recording(index)


def batch_order(batches: int, seed: int, count: int) -> list[int]:
    """`count` batch numbers: pass after pass, each pass in a random order by the seed."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < count:
        order += torch.randperm(batches, generator=generator).tolist()
    return order[:count]


def prepare(
    model: LanguageModel,
    task: Task,
    starts: Sequence[int],
    batch_lines: int = 16,
    shared: RecordingCache | None = None,
    sequences: Sequence[TokenSequence] | None = None,
    positions: Sequence[str] | None = None,
) -> TrainingBatches:
    """Tokenize the training examples and draw batches of at most `batch_lines` sequences.

    Only interventions that stay during training may be attached. Arms will begin at blocks `starts`
    (a vector at layer L: L + 1; a LoRA: its lowest). `shared` has recordings to look in first and
    add to, for tasks with the same prompts; `sequences` are the examples' tokens; `positions` are
    those of the vectors that will be trained, if that is known.

    Raises:
        InputError: without `sequences`, rows that the model cannot read.
    """
    if sequences is None:
        rows = RowTokens(model.tokenizer)
        check_rows(rows, (Row.trained(x, task.loss) for x in task.train), limits_of(model))
        sequences = training_lines(rows, task.train, task.loss)
    known = RecordingCache(tiers(model.device)) if shared is None else shared
    batches = tuple(batch_of(model, group) for group in training_groups(sequences, batch_lines))
    prepared = TrainingBatches(
        model,
        batches,
        starts=tuple(sorted(set(starts))),
        scale={},
        shared=known,
        content=content_hash(sequences),
        attached=attached(model),
        positions=None if positions is None else tuple(positions),
    )
    norms: dict[int, list[Tensor]] = {start: [] for start in starts}
    for index in range(min(len(batches), MEASURED)):
        inputs = prepared.recording(index).load(None).inputs
        for start in norms:
            norms[start].append(token_norms(inputs[start], batches[index]))
    prepared.scale = {start: float(torch.cat(norm).median()) for start, norm in norms.items()}
    return prepared


def training_groups(
    sequences: Sequence[TokenSequence], batch_lines: int
) -> list[list[TokenSequence]]:
    """Sequences drawn into batches of at most `batch_lines`, equal in size, similar in length.

    WINDOW batches' worth are drawn, sorted by length and cut: little padding, yet random batches.
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(sequences), generator=generator).tolist()
    window = WINDOW * batch_lines
    windows = [order[begin : begin + window] for begin in range(0, len(order), window)]
    drawn = [i for part in windows for i in sorted(part, key=lambda i: len(sequences[i].ids))]
    count = -(-len(sequences) // batch_lines)
    return [[sequences[i] for i in group] for group in shared_out(drawn, count)]


def shared_out(items: Sequence[int], count: int) -> list[list[int]]:
    """Items divided in order into `count` groups of nearly equal size; larger groups first."""
    size, more = divmod(len(items), count)
    ends = [number * size + min(number, more) for number in range(count + 1)]
    return [list(items[begin:end]) for begin, end in pairwise(ends)]


def content_hash(sequences: Sequence[TokenSequence]) -> str:
    """Hash of what a pass over training sequences depends on, without their answers."""
    digest = hashlib.sha256()
    for sequence in sequences:
        wanted = {place for place, _, _ in (*sequence.targets, *sequence.options)}
        spans = sorted(sequence.spans.items())
        content = (sequence.ids, sequence.prompt_length, spans, sorted(wanted))
        digest.update(f"{content}\n".encode())
    return digest.hexdigest()[:16]


def token_norms(hidden: Tensor, batch: Batch) -> Tensor:
    """Norms of all tokens but the first, which has a huge norm in many models."""
    counted = batch.mask & (batch.positions > 0)
    norms: Tensor = hidden.float().norm(dim=-1)[counted.to(hidden.device)]
    return norms
