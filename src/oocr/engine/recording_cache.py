"""Where recordings live: in memory as far as a budget goes, then on disk, else made again.

Which of these it is changes no number. What is counted and moved are the tensors that grow with
the model: block inputs, keys and values. Masks and rotary tables, a few percent of them, stay.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.recording import Recording
from oocr.engine.spill import SpillFolder, spill_folder, sweep
from oocr.models.machine import free_memory

MEMORY_SHARE = 1 / 3
"""Share of the free memory that recordings take, if no budget is given."""

Make = Callable[[int | None], Recording]
"""Records: everything (None), or only what comes before a block."""


def default_budget(device: torch.device | None = None) -> int:
    """A share of what is free now, in bytes."""
    return int(MEMORY_SHARE * free_memory(device))


@dataclass(frozen=True, slots=True)
class Tier:
    """A kind of memory.

    Attributes:
        budget: bytes of recordings that it may hold.
        put: brings a tensor into it; None: tensors are made there.
        get: brings a tensor out of it to a device; None: it is used where it is.
    """

    budget: int
    put: Callable[[Tensor], Tensor] | None = None
    get: Callable[[Tensor, torch.device], Tensor] | None = None


def pinned(budget: int) -> Tier:
    """Host memory beside a GPU: page-locked, so that copies run while the GPU computes."""
    return Tier(
        budget,
        put=lambda one: one.cpu().pin_memory(),
        get=lambda one, device: one.to(device, non_blocking=True),
    )


def tiers(device: torch.device, budget: int | None = None) -> tuple[Tier, ...]:
    """The memory for a model's recordings, nearest first; `budget` is that of main memory."""
    most = default_budget() if budget is None else budget
    if device.type == "cuda":
        return Tier(default_budget(device)), pinned(most)
    return (Tier(most),)


@dataclass(slots=True, eq=False)
class Stored:
    """What is known of one recording, and where it is.

    Attributes:
        make: records it again.
        small: the recording without what is counted.
        nbytes: of what is counted.
        devices: where its tensors were made.
        tier: which kind of memory it is in; beyond the last: in none.
        held: the tensors, if in memory.
        file: the tensors, if on disk.
    """

    make: Make
    small: Recording
    nbytes: int
    devices: dict[str, torch.device]
    tier: int
    held: Recording | None
    file: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RecordingHandle:
    """A recorded batch, wherever its tensors are.

    Attributes:
        batch: the tokens and what is asked of them.
        stored: the same object for the same recorded tokens.
        store: what it is kept in.
    """

    batch: Batch
    stored: Stored
    store: RecordingCache

    @property
    def nbytes(self) -> int:
        """Bytes of what was recorded (masks and tables left out)."""
        return self.stored.nbytes

    def load(self, attached: int | None) -> Recording:
        """The recording, ready to be replayed.

        Args:
            attached: the lowest block that an adapter is attached to now; None: none is. Replays
                with an adapter run all tokens, so that they need no more than this block's input,
                and that alone could be recorded again with the adapter in stored.
        """
        frozen = self.store.fetch(self.stored, attached)
        return frozen if frozen.batch is self.batch else replace(frozen, batch=self.batch)


class RecordingCache:
    """Recordings by key, the least recently used leaving memory first.

    Args:
        memory: kinds of memory, nearest first; None: a share of the main memory that is free now.
        spill: folder in which this process makes one of its own; None: in the user's cache.
    """

    def __init__(self, memory: Sequence[Tier] | None = None, spill: Path | None = None) -> None:
        self.memory = (Tier(default_budget()),) if memory is None else tuple(memory)
        root = spill_folder() if spill is None else spill
        sweep(root)
        self._spill = SpillFolder(root)
        self._known: dict[Hashable, Stored] = {}
        self._used: dict[Stored, None] = {}  # least recently used first

    def keep(self, key: Hashable, batch: Batch, make: Make) -> RecordingHandle:
        """The recording of this key, made at the first call.

        Args:
            key: what tells its tokens and start blocks from those of others.
            batch: the tokens, with what is asked of them this time.
            make: records it, now and whenever it had to be dropped.
        """
        if key not in self._known:
            made = _contiguous(make(None))
            small = Recording(made.batch, {}, made.calls, {})
            devices = {name: one.device for name, one in _tensors(made).items()}
            stored = self._known[key] = Stored(make, small, made.nbytes, devices, 0, made)
            self._touch(stored)
            self._make_room(stored)
        stored = self._known[key]
        self._touch(stored)
        return RecordingHandle(batch, stored, self)

    def held(self, tier: int = 0) -> int:
        """Bytes in one kind of memory."""
        return sum(one.nbytes for one in self._used if one.held and one.tier == tier)

    @property
    def full(self) -> bool:
        """Whether the last kind of memory has no room for another recording like the latest."""
        latest = next(reversed(self._used), None)
        size = 0 if latest is None else latest.nbytes
        return self.held(len(self.memory) - 1) + size > self.memory[-1].budget

    def fetch(self, stored: Stored, attached: int | None) -> Recording:
        """A recording's tensors, from wherever they are (see `Recording.load`)."""
        self._touch(stored)
        if stored.held is not None:
            get = self.memory[stored.tier].get
            if get is None:
                return stored.held
            moved = {n: get(t, stored.devices[n]) for n, t in _tensors(stored.held).items()}
            return _with(stored.small, moved)
        if stored.file is not None:
            try:
                return _with(stored.small, _mapped(stored))
            except OSError:  # somebody cleared the cache
                stored.file = None
        again = stored.make(attached)
        small = stored.small
        return Recording(small.batch, again.inputs, small.calls, again.keys_values, small.views)

    def _touch(self, stored: Stored) -> None:
        self._used.pop(stored, None)
        self._used[stored] = None

    def _make_room(self, newest: Stored) -> None:
        """Move what is over budget on, tier by tier; the newest stays, it is about to be used."""
        for tier, memory in enumerate(self.memory):
            for stored in list(self._used):
                if self.held(tier) <= memory.budget:
                    break
                if stored.tier == tier and stored is not newest:
                    self._move_on(stored)

    def _move_on(self, stored: Stored) -> None:
        assert stored.held is not None
        tensors = _tensors(stored.held)
        stored.held, stored.tier = None, stored.tier + 1
        if stored.tier < len(self.memory):
            put = self.memory[stored.tier].put
            moved = {name: put(one) if put else one for name, one in tensors.items()}
            stored.held = _with(stored.small, moved)
            return
        try:
            stored.file = self._spill.write(tensors)
        except OSError:
            stored.file = None  # made again when it is needed


def _tensors(frozen: Recording) -> dict[str, Tensor]:
    named = {f"input.{index}": one for index, one in frozen.inputs.items()}
    for index, (keys, values) in frozen.keys_values.items():
        named |= {f"keys.{index}": keys, f"values.{index}": values}
    return named


def _with(small: Recording, tensors: dict[str, Tensor]) -> Recording:
    inputs: dict[int, Tensor] = {}
    pairs: dict[int, tuple[Tensor, Tensor]] = {}
    for name, one in tensors.items():
        kind, index = name.split(".")
        if kind == "input":
            inputs[int(index)] = one
        elif kind == "keys":
            pairs[int(index)] = (one, tensors[f"values.{index}"])
    return Recording(small.batch, inputs, small.calls, pairs, small.views)


def _contiguous(frozen: Recording) -> Recording:
    """As files give them back: kernels may round otherwise for other strides."""
    return _with(frozen, {name: one.contiguous() for name, one in _tensors(frozen).items()})


def _mapped(stored: Stored) -> dict[str, Tensor]:
    """Tensors of a file: read from disk only as far, and when, they are used.

    Raises:
        OSError: it isn't there or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    assert stored.file is not None
    try:
        with safe_open(stored.file, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name).to(at) for name, at in stored.devices.items()}
    except SafetensorError as error:
        raise OSError(f"{stored.file}: {error}") from error
