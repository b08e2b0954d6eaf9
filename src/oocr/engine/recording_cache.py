"""Cache of recordings: in memory up to a budget, then on disk, else recorded again.

The place of a recording changes no result. Recording each batch again takes 2.5 to 5 times as long
as reading it from the disk (a vector on Gemma-3-270M). The budget counts what grows with the model:
block inputs, keys and values; masks and rotary tables, a few percent, always stay in memory.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.beginnings import record_beginning
from oocr.engine.recording import Recording, record
from oocr.io import DISK_RESERVE, cache_folder
from oocr.models import machine
from oocr.models.language_model import LanguageModel
from oocr.models.machine import free_memory, is_gpu
from oocr.steering.hooks import attached

MEMORY_SHARE = 1 / 3
"""Share of the free memory for recordings, if no budget is given."""

ALIGNED = 64
"""Alignment of each tensor in a file, in bytes."""

Make = Callable[[int | None], Recording]
"""Records: everything (None), or only what comes before a block."""


def default_budget(device: torch.device | None = None) -> int:
    """A share of the free memory, in bytes."""
    return int(MEMORY_SHARE * free_memory(device))


@dataclass(frozen=True, slots=True)
class Tier:
    """A kind of memory."""

    budget: int  # bytes of recordings that it may hold
    put: Callable[[Tensor], Tensor] | None = None  # moves tensors in; None: they are made there
    get: Callable[[Tensor, torch.device], Tensor] | None = None  # out; None: used in place
    size: Callable[[int], int] = int  # size of a tensor -> bytes that it takes here

    def taken(self, recording: Recording) -> int:
        """Bytes that a recording takes in this tier."""
        return sum(self.size(tensor.nbytes) for tensor in recording.tensors().values())


def tiers(
    device: torch.device, budget: int | None = None, overflow: int | None = None
) -> tuple[Tier, ...]:
    """The tiers of memory for a model's recordings, fastest first.

    `budget` is bytes on the device, `overflow` of main memory beside a GPU; None: a share of what
    is free now.
    """
    if not is_gpu(device):
        return (Tier(default_budget() if budget is None else budget),)
    nearest = Tier(default_budget(device) if budget is None else budget)
    pinned = Tier(  # page-locked: copies run while Python continues
        default_budget() if overflow is None else overflow,
        put=page_locked_copy,
        get=lambda tensor, device: tensor.to(device, non_blocking=True),
        size=lambda size: 1 << (size - 1).bit_length(),  # PyTorch takes a power of two
    )
    return nearest, pinned


def page_locked_copy(tensor: Tensor) -> Tensor:
    """A copy in page-locked host memory; a RuntimeError if memory is full."""
    return machine.page_locked(tensor.shape, tensor.dtype).copy_(tensor)


def on_disk(recording: Recording, folder: Path) -> Recording:
    """The recording mapped from an unnamed file, which is deleted together with the recording.

    Raises:
        OSError or RuntimeError: it cannot be written, or not be read without a name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free - recording.nbytes < DISK_RESERVE:
        raise OSError(f"{folder}: no room for {recording.nbytes} bytes")
    tensors, begins = recording.tensors(), dict[str, int]()
    with tempfile.TemporaryFile(dir=folder) as file:
        for name, tensor in tensors.items():
            begins[name] = file.tell()
            file.write(tensor.cpu().view(torch.uint8).numpy().data)
            file.write(bytes(-file.tell() % ALIGNED))
        file.flush()
        whole = torch.from_file(
            f"/dev/fd/{file.fileno()}", shared=False, size=file.tell(), dtype=torch.uint8
        )

    def part(name: str, tensor: Tensor) -> Tensor:
        read = whole[begins[name] : begins[name] + tensor.nbytes]
        return read.view(tensor.dtype).view(tensor.shape)

    return recording.mapped(part)


@dataclass(slots=True, eq=False)
class Stored:
    """Facts about one recording, and its place."""

    make: Make
    small: Recording  # without tensors
    sizes: tuple[int, ...]  # bytes that it takes in each kind of memory
    devices: dict[str, torch.device]  # where its tensors were made
    tier: int  # index of the tier; after the last comes the disk
    held: Recording | None  # None: it is recorded again


@dataclass(frozen=True, slots=True, eq=False)
class RecordingHandle:
    """A recorded batch in any tier; handles of equal recorded tokens share `stored`."""

    batch: Batch
    stored: Stored
    store: RecordingCache

    def load(self, attached: int | None) -> Recording:
        """The recording with its tensors, ready for a replay.

        `attached` is the lowest block that an adapter is attached to now, or None. Such replays run
        all tokens: they need no more than this block's input, which the adapter does not change.
        """
        recording = self.store.fetch(self.stored, attached)
        return recording if recording.batch is self.batch else replace(recording, batch=self.batch)


class RecordingCache:
    """Recordings by key; the least recently used move from the fastest tier to the disk."""

    def __init__(self, memory: Sequence[Tier] | None = None, spill: Path | None = None) -> None:
        self.memory = (Tier(default_budget()),) if memory is None else tuple(memory)
        # Not the system's temporary folder, which may be in memory.
        self._spill = cache_folder() / "spill" if spill is None else spill
        self._known: dict[Hashable, Stored] = {}
        self._used: dict[Stored, None] = {}  # least recently used first

    def keep(self, key: Hashable, batch: Batch, make: Make) -> RecordingHandle:
        """The recording of this key; `make` records it now, and again after it was dropped."""
        if key not in self._known:
            # The same strides as from files: kernels may round differently for other strides.
            full = make(None).mapped(lambda _, tensor: tensor.contiguous())
            small = full.holding({})
            devices = {name: tensor.device for name, tensor in full.tensors().items()}
            sizes = tuple(tier.taken(full) for tier in self.memory)
            stored = self._known[key] = Stored(make, small, sizes, devices, 0, full)
            self._touch(stored)
            self._move_over_budget(stored)
        stored = self._known[key]
        self._touch(stored)
        return RecordingHandle(batch, stored, self)

    def held(self, tier: int = 0) -> int:
        """Bytes in one tier."""
        return sum(s.sizes[tier] for s in self._used if s.held and s.tier == tier)

    @property
    def full(self) -> bool:
        """Whether the last tier has no room for another recording like the latest."""
        latest = next(reversed(self._used), None)
        size = 0 if latest is None else latest.sizes[-1]
        return self.held(len(self.memory) - 1) + size > self.memory[-1].budget

    def fetch(self, stored: Stored, attached: int | None) -> Recording:
        """A recording with its tensors, from any tier (see `RecordingHandle.load`)."""
        self._touch(stored)
        if stored.held is None:
            return stored.small.holding(stored.make(attached).tensors())
        get = self.memory[stored.tier].get if stored.tier < len(self.memory) else Tensor.to
        if get is None:
            return stored.held
        return stored.held.mapped(lambda name, tensor: get(tensor, stored.devices[name]))

    def _touch(self, stored: Stored) -> None:
        self._used.pop(stored, None)
        self._used[stored] = None

    def _move_over_budget(self, newest: Stored) -> None:
        """Move recordings over budget to the next tier; the newest stays, as it is used next."""
        for tier, memory in enumerate(self.memory):
            for stored in list(self._used):
                if self.held(tier) <= memory.budget:
                    break
                if stored.tier == tier and stored is not newest:
                    self._move_on(stored)

    def _move_on(self, stored: Stored) -> None:
        assert stored.held is not None
        recording, stored.held, stored.tier = stored.held, None, stored.tier + 1
        with suppress(OSError, RuntimeError):  # memory is full before the budget is used
            if stored.tier < len(self.memory):
                put = self.memory[stored.tier].put
                stored.held = recording.mapped(lambda _, tensor: put(tensor)) if put else recording
            else:
                stored.held = on_disk(recording, self._spill)
            return
        if stored.tier < len(self.memory):  # else it is recorded again when needed
            stored.held = recording
            self._move_on(stored)


def record_shared(
    model: LanguageModel,
    batch: Batch,
    starts: Collection[int],
    known: RecordingCache,
    columns: int | None = None,
) -> RecordingHandle:
    """`record_beginning`, unless the same tokens were recorded before for other questions."""
    ids = batch.ids.cpu()
    key = (
        attached(model),
        *sorted(starts),
        columns,
        tuple(ids.shape),
        ids.numpy().tobytes(),
        batch.mask.cpu().numpy().tobytes(),
    )

    def make(stop: int | None) -> Recording:
        if stop is not None:
            return record(model, batch, starts, stop=stop)
        return record_beginning(model, batch, starts, columns)

    return known.keep(key, batch, make)
