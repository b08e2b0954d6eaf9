"""Whether the memory that a run needs is there, and how many workers there is room for."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
import torch

from oocr.engine.memory import SLACK, shape_of
from oocr.engine.recording_cache import MEMORY_SHARE
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.machine import GpuGroup, free_memory, is_gpu, used_memory
from oocr.models.outline import Outline

SHARED = "Python and torch", "tokenizer", "weights"
WORK = "recording", "training", "scoring", "explaining"
"""What a process does one after the other; its memory is used again for the next."""

CONTEXT = 2**29
"""Bytes that CUDA takes of a GPU for another process, assumed."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that one process needs.

    Attributes:
        parts: by what they are for (see `SHARED` and `WORK`), "recordings, at least" among them.
        questions: recordings of everything that arms are asked, if memory has room for them.
        training: recordings of all training data; shared out among processes.
        on_device: weights, recordings and work lie in a GPU's memory.
        shared: several processes share the weights (see `oocr.models.shared_weights`).
    """

    parts: Mapping[str, int]
    questions: int
    training: int
    on_device: bool = False
    shared: bool = False

    def recordings(self, count: int, budget: int) -> int:
        """Recordings in memory, of one process of so many."""
        most = min(self.questions + self.training // count, budget)
        return max(most, self.parts["recordings, at least"])

    def model(self) -> int:
        """A process that only holds the model."""
        return sum(self.parts[name] for name in SHARED)

    def work(self) -> int:
        """What the most expensive kind of work takes on top, for a while."""
        return int(SLACK * max(self.parts[name] for name in WORK))

    def total(self, count: int, budget: int) -> int:
        """The run with so many workers, each with a budget for recordings.

        Beside several workers there is the parent process, which holds no model. On a GPU
        each has a context of its own.
        """
        beside = count * CONTEXT if self.on_device else self.model() - self.parts["weights"]
        parent = 0 if count == 1 else beside
        held_once = (count - 1) * self.parts["weights"] if self.shared else 0
        each = self.model() + self.work() + self.recordings(count, budget)
        return parent + count * each - held_once


def fit_workers(needs: MemoryEstimate, wanted: int, room: int) -> tuple[int, int]:
    """As many of the wanted workers as there is room for, and bytes for recordings of each.

    An `InputError` gives the numbers if not even one fits.
    """
    least = needs.total(1, 0)
    if least > room:
        raise InputError(_refusal(needs, least, room))
    count = next(n for n in range(wanted, 0, -1) if n == 1 or needs.total(n, 0) <= room)
    left = (room - needs.total(count, 0)) // count + needs.parts["recordings, at least"]
    free = room - needs.model() if needs.on_device else room
    return count, min(left, int(MEMORY_SHARE * free / count))


def _refusal(needs: MemoryEstimate, least: int, room: int) -> str:
    named = {name: needs.parts[name] for name in SHARED}
    named["recordings of one batch"] = needs.parts["recordings, at least"]
    dearest = max(WORK, key=lambda name: needs.parts[name])
    named[dearest] = needs.work()
    listed = ", ".join(f"{name} {gib(size)}" for name, size in named.items())
    where = "of the GPU's memory" if needs.on_device else "of memory"
    lower = {
        "recording": "batch_lines (and raise accumulate: as many lines per step)",
        "training": "batch_lines (and raise accumulate: as many lines per step), or higher layers",
        "scoring": "fewer steps in vector.steps",
        "explaining": "explain.neutral_tokens (or explain.enabled: false)",
    }[dearest]
    return (
        f"the run needs at least {gib(least)} {where} with one worker, "
        f"and {gib(room)} are available: {listed}. "
        f"Lower: dtype (bfloat16 halves float32), a smaller model, {lower}"
    )


def gib(size: float) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.2f} GiB"


@dataclass(frozen=True, slots=True)
class DevicePart:
    """What of a model lies on one device: bytes of weights, and its share of the blocks that run.

    Recordings and work lie where their blocks are.
    """

    device: torch.device
    weights: int
    share: float


def device_parts(model: LanguageModel | Outline, starts: Iterable[int]) -> list[DevicePart]:
    """A model's parts, for arms that start at these blocks.

    Before it is loaded nobody knows which block comes where: as each device has room for.
    """
    if isinstance(model, Outline):
        devices = model.devices or (model.device,)
        rooms = {device: room_for(device) for device in devices}
        whole, weights = max(1, sum(rooms.values())), shape_of(model).weights
        return [
            DevicePart(device, weights * room // whole, room / whole)
            for device, room in rooms.items()
        ]
    weights_on: dict[torch.device, int] = defaultdict(int)
    for parameter in model.hf.parameters():
        weights_on[parameter.device] += parameter.nbytes
    lowest = min(min(starts), model.n_blocks - 1)
    run = [next(block.parameters()).device for block in model.anatomy.blocks[max(0, lowest) :]]
    return [
        DevicePart(device, weights, run.count(device) / len(run))
        for device, weights in weights_on.items()
    ]


def room_for(where: torch.device | GpuGroup | Sequence[DevicePart]) -> int:
    """Bytes that a run can have: what is free, and what this process already took for it.

    Of a model on several devices as much as the one allows that its part fills first.
    """
    if isinstance(where, GpuGroup):  # before anybody knows which block comes where
        return len(where) * min(map(room_for, where))
    if not isinstance(where, torch.device):
        if len(where) == 1:
            return room_for(where[0].device)
        whole = sum(part.weights for part in where)
        lefts = [(room_for(part.device) - part.weights, part.share) for part in where]
        return whole + int(min(left / share if share else left for left, share in lefts))
    if is_gpu(where):
        return free_memory(where) + used_memory(where)
    return free_memory() + sum(held - shared for held, shared in _resident())


def _resident() -> Iterator[tuple[int, int]]:
    """Bytes that this process and its children hold, and those of files, which count as free."""
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            info = process.memory_info()
            yield info.rss, getattr(info, "shared", 0)


EVERY = 1.0
"""Seconds between samples."""


class PeakMemory(threading.Thread):
    """Watches while the block runs; `gib` is the most that its processes held together.

    Pages of files, such as the weights that they share, are counted once: those of the process
    that holds the most of them.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gib = 0.0
        self._done = threading.Event()

    def __enter__(self) -> PeakMemory:
        self.sample()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def sample(self) -> float:
        """Look once; returns the highest so far."""
        processes = list(_resident())
        own = sum(held - shared for held, shared in processes)
        files = max((shared for _, shared in processes), default=0)
        self.gib = max(self.gib, (own + files) / 2**30)
        return self.gib

    def run(self) -> None:
        """Look every so often, until the block ends."""
        while not self._done.wait(EVERY):
            self.sample()
