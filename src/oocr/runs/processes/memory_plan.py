"""Whether a run fits into memory, and with how many workers."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
import torch

from oocr.engine.memory import SLACK, shape_of
from oocr.engine.recording_cache import MEMORY_SHARE, default_budget
from oocr.errors import InputError
from oocr.models import machine
from oocr.models.language_model import LanguageModel
from oocr.models.machine import GpuGroup, free_memory, gpu_groups, gpus, is_gpu, used_memory
from oocr.models.outline import Outline
from oocr.runs.config import RunConfig

SHARED = "Python and torch", "tokenizer", "weights"
WORK = "recording", "training", "scoring", "explaining"
"""Phases of a process; each reuses the memory of the one before."""

CONTEXT = 2**29
"""Bytes assumed for the CUDA context of a process on a GPU."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that one process needs.

    Attributes:
        parts: purpose -> bytes (`SHARED`, `WORK` and "recordings, at least").
        questions: recordings of all questions, if they all fit into memory.
        training: recordings of all training data; divided among processes.
        on_device: weights, recordings and work lie in a GPU's memory.
        shared: several processes share the weights (see `oocr.models.shared_weights`).
    """

    parts: Mapping[str, int]
    questions: int
    training: int
    on_device: bool = False
    shared: bool = False

    def recordings(self, count: int, budget: int) -> int:
        """Bytes of recordings in memory, for one of `count` processes."""
        most = min(self.questions + self.training // count, budget)
        return max(most, self.parts["recordings, at least"])

    def model(self) -> int:
        """Bytes of a process that only holds the model."""
        return sum(self.parts[name] for name in SHARED)

    def work(self) -> int:
        """Bytes that the most expensive phase needs on top."""
        return int(SLACK * max(self.parts[name] for name in WORK))

    def total(self, count: int, budget: int) -> int:
        """Bytes of the run with `count` workers, each with `budget` bytes for recordings.

        Several workers have a parent process, which holds no model. On a GPU each worker has its
        own CUDA context.
        """
        beside = count * CONTEXT if self.on_device else self.model() - self.parts["weights"]
        parent = 0 if count == 1 else beside
        held_once = (count - 1) * self.parts["weights"] if self.shared else 0
        each = self.model() + self.work() + self.recordings(count, budget)
        return parent + count * each - held_once


def fit_workers(needs: MemoryEstimate, wanted: int, available: int) -> tuple[int, int]:
    """The number of workers that fit, at most `wanted`, and each one's bytes for recordings.

    An `InputError` gives the numbers if not even one fits.
    """
    least = needs.total(1, 0)
    if least > available:
        raise InputError(_refusal(needs, least, available))
    count = next(n for n in range(wanted, 0, -1) if n == 1 or needs.total(n, 0) <= available)
    left = (available - needs.total(count, 0)) // count + needs.parts["recordings, at least"]
    free = available - needs.model() if needs.on_device else available
    return count, min(left, int(MEMORY_SHARE * free / count))


def _refusal(needs: MemoryEstimate, least: int, available: int) -> str:
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
        f"and {gib(available)} are available: {listed}. "
        f"Lower: dtype (bfloat16 halves float32), a smaller model, {lower}"
    )


def gib(size: float) -> str:
    """Bytes as text in GiB."""
    return f"{size / 2**30:.2f} GiB"


@dataclass(frozen=True, slots=True)
class DevicePart:
    """The part of a model on one device: bytes of weights, and its share of the blocks that run.

    Recordings and work lie where their blocks are.
    """

    device: torch.device
    weights: int
    share: float


def device_parts(model: LanguageModel | Outline, starts: Iterable[int]) -> list[DevicePart]:
    """A model's parts, for arms that start at these blocks.

    Before the model is loaded, blocks are divided in proportion to the devices' free memory.
    """
    if isinstance(model, Outline):
        devices = model.devices or (model.device,)
        free = {device: available_memory(device) for device in devices}
        whole, weights = max(1, sum(free.values())), shape_of(model).weights
        return [
            DevicePart(device, weights * available // whole, available / whole)
            for device, available in free.items()
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


def available_memory(where: torch.device | GpuGroup | Sequence[DevicePart]) -> int:
    """Bytes that a run can use: free memory, and what this process already uses for the run.

    For a model on several devices, the device that fills up first sets the limit.
    """
    if isinstance(where, GpuGroup):  # the blocks are not placed yet
        return len(where) * min(map(available_memory, where))
    if not isinstance(where, torch.device):
        if len(where) == 1:
            return available_memory(where[0].device)
        whole = sum(part.weights for part in where)
        lefts = [(available_memory(part.device) - part.weights, part.share) for part in where]
        return whole + int(min(left / share if share else left for left, share in lefts))
    if is_gpu(where):
        return free_memory(where) + used_memory(where)
    return free_memory() + sum(held - shared for held, shared in _resident())


def _resident() -> Iterator[tuple[int, int]]:
    """Resident bytes of this process and its children, and those of mapped files among them."""
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):  # the process has just ended
            info = process.memory_info()
            yield info.rss, getattr(info, "shared", 0)


MOST_WORKERS = 16
"""Default for the largest number of processes."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How a run's jobs are executed: number of processes, and threads of each.

    `budget`: bytes for recordings on the model's device, per process; `overflow`: bytes of main
    memory for recordings that do not fit on a GPU. `devices`: GPUs or groups of GPUs that the
    processes take in turn; empty: every process uses the device of the configuration.
    """

    config: RunConfig
    workers: int
    threads: int
    budget: int
    overflow: int = 0
    devices: tuple[str, ...] = ()

    def config_of(self, number: int) -> RunConfig:
        """The configuration of a process, by its number."""
        if self.workers == 1 or not self.devices:
            return self.config
        device = self.devices[number % len(self.devices)]
        return self.config.model_copy(update={"device": device})

    def memory_advice(self) -> str:
        """What to do when memory runs out, as a sentence."""
        lower = ["dtype (bfloat16 halves float32)"] if self.config.dtype != "bfloat16" else []
        lower += ["batch_lines (and raise accumulate: as many lines per step)"]
        lower = [*(["workers (fewer side by side)"] if self.workers > 1 else []), *lower]
        spread = self.config.device_map is None and len(gpus()) > 1
        return (
            "What was computed is kept, and the same command continues. If nothing else can leave "
            f"the memory, lower: {', '.join(lower)}"
            + ("; or spread the model over all GPUs (device_map: auto)" if spread else "")
        )


def cores() -> int:
    """The number of cores that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def plan_workers(
    config: RunConfig,
    needs: MemoryEstimate,
    available: int,
    devices: Sequence[torch.device | GpuGroup] = (),
) -> WorkerSpec:
    """The number of a run's processes, the threads of each, and its bytes for recordings.

    One process for each of `devices` (`available`: bytes on each); on MPS one; on a CPU one per
    core while memory suffices. The cores are divided among them, with at most torch's number of
    threads here (OMP_NUM_THREADS) for each.

    Raises:
        InputError: not even one process fits; the message has the numbers.
    """
    places = max(1, len(devices))
    on_cpu = not needs.on_device and config.device != "mps"
    most = config.workers or (min(cores(), MOST_WORKERS) if on_cpu else places)
    each, budget = fit_workers(needs, -(-most // places), available)
    workers = min(most, each * places)
    threads = max(1, min(cores() // workers, torch.get_num_threads()))
    overflow = default_budget() // workers if needs.on_device else 0
    return WorkerSpec(config, workers, threads, budget, overflow, tuple(map(str, devices)))


def gpus_for(config: RunConfig, needs: MemoryEstimate) -> list[torch.device | GpuGroup]:
    """GPUs that processes take in turn: those with enough free memory; none if a device is named.

    Groups of GPUs, where a process has several. None for a model that is spread over all GPUs.
    """
    if config.device_map is not None or config.device not in ("auto", machine.GPU):
        return []
    places: list[torch.device | GpuGroup] = [*gpus()]
    if config.joins_gpus:
        groups = gpu_groups(config.devices, config.gpus_per_worker)
        places = [group if len(group) > 1 else group[0] for group in groups]
    return [place for place in places if available_memory(place) >= needs.total(1, 0)]


EVERY = 1.0
"""Seconds between samples."""


class PeakMemory(threading.Thread):
    """Measures memory while the block runs; `gib`: the peak of all its processes together.

    Pages of mapped files, such as shared weights, are counted once, for the process with most of
    them.
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
        """Measure once; returns the peak so far."""
        processes = list(_resident())
        private = sum(held - shared for held, shared in processes)
        files = max((shared for _, shared in processes), default=0)
        self.gib = max(self.gib, (private + files) / 2**30)
        return self.gib

    def run(self) -> None:
        """Measure every `EVERY` seconds, until the block ends."""
        while not self._done.wait(EVERY):
            self.sample()
