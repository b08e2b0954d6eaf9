"""This machine: its devices, their memory and speed, and the dtype that "auto" means."""

from __future__ import annotations

import gc
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import torch

from oocr.errors import InputError, RunError
from oocr.io import cache_folder, write_json

GPU = "cuda"
"""The type of the devices with a memory of their own and a queue of work. MPS has neither for us:
it is counted as main memory, and it computes in float32."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows a container's memory limit."""


def is_cpu(device: torch.device) -> bool:
    """Whether the device is the host: reading a number there needs no synchronization."""
    return device.type == "cpu"


def is_gpu(device: torch.device) -> bool:
    """Whether the device has its own memory, so that page-locked host memory helps."""
    return device.type == GPU


def default_device() -> torch.device:
    """The device for "auto": the GPU if there is one."""
    return torch.device(GPU if torch.cuda.is_available() else "cpu")


def gpus() -> list[torch.device]:
    """The GPUs of this machine that PyTorch may use."""
    return [torch.device(GPU, index) for index in range(torch.cuda.device_count())]


JOINED = "+"
"""Separator of the names of GPUs that hold one model together: "cuda:0+cuda:1"."""


class GpuGroup(tuple[torch.device, ...]):
    """GPUs that hold one model together."""

    def __str__(self) -> str:
        return JOINED.join(map(str, self))


def gpu_groups(numbers: Sequence[int] | None, each: int) -> list[GpuGroup]:
    """The GPUs with these numbers (None: all), so many in a group; what is left over is not used.

    Raises:
        InputError: a number that is no GPU's here, or too few for one group.
    """
    known = gpus()
    allowed = ", ".join(str(device.index) for device in known) or "none"
    for number in numbers or ():
        if number not in range(len(known)):
            raise InputError(f"devices: {number} is not a GPU here; allowed: {allowed}")
    chosen = known if numbers is None else [known[number] for number in numbers]
    if len(chosen) < each:
        raise InputError(
            f"gpus_per_worker: {each}, but there are {len(chosen)} GPUs to use "
            f"(here: {allowed}); allowed: 1 to {max(1, len(chosen))}"
        )
    return [GpuGroup(chosen[at : at + each]) for at in range(0, len(chosen) - each + 1, each)]


def find_device(name: str) -> torch.device:
    """The device of this name, or what "auto" means; `InputError` for one that is not here."""
    devices = gpus()
    known = ["auto", "cpu", *([GPU] if devices else []), *map(str, devices)]
    known += ["mps"] if torch.backends.mps.is_available() else []
    if name not in known:
        raise InputError(
            f"device: {name!r} is not a device here; allowed: {', '.join(known)} "
            f"({len(devices)} CUDA devices here)"
        )
    return default_device() if name == "auto" else torch.device(name)


def device_kind(device: torch.device) -> str:
    """What a device's rounding depends on: a GPU's name, or the CPU's instruction set."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.backends.cpu.get_cpu_capability()}" if is_cpu(device) else device.type


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its queue."""
    if is_gpu(device):
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_memory(device: torch.device | None = None) -> int:
    """Bytes that new tensors can have on a device, or (None, CPU) of main memory.

    On a GPU this includes memory that PyTorch keeps from freed tensors and uses again.
    """
    if device is not None and is_gpu(device):
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    free = int(psutil.virtual_memory().available)
    limit = _container_memory(CGROUP)
    return free if limit is None else min(free, limit)


def total_memory(device: torch.device | None = None) -> int:
    """Bytes of a GPU's memory, or (None, CPU) of main memory."""
    if device is not None and is_gpu(device):
        return int(torch.cuda.mem_get_info(device)[1])
    return int(psutil.virtual_memory().total)


def used_memory(device: torch.device) -> int:
    """Bytes of this process's tensors on a GPU."""
    return int(torch.cuda.memory_allocated(device))


def peak_memory(device: torch.device) -> int:
    """The most bytes that PyTorch took of a GPU in this process since `forget_peak`."""
    return int(torch.cuda.max_memory_reserved(device))


def forget_peak(device: torch.device) -> None:
    """Reset `peak_memory`."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats(device)


def release_memory() -> None:
    """Return GPU memory that PyTorch keeps from freed tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def page_locked(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Page-locked host memory, for copies to and from a GPU while Python continues.

    Raises:
        RuntimeError: there is no room; a system locks less than it has.
    """
    return torch.empty(shape, dtype=dtype, pin_memory=True)


@contextmanager
def seeded(seed: int, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Seed random draws inside on the CPU and these devices; restored afterwards."""
    generators = [torch.default_generator, *_generators(devices)]
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _generators(devices: Iterable[torch.device]) -> Iterator[torch.Generator]:
    for device in sorted(set(devices), key=str):
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            yield torch.cuda.default_generators[index]
        elif device.type == "mps":
            yield torch.mps._get_default_mps_generator()


def _container_memory(folder: Path) -> int | None:
    """Bytes left within a container's limit; cached files count as free. None: no limit."""
    try:
        most = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such limit, or "max"
        return None
    cached = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
    return max(0, most - used + cached)


LARGEST = 8192
"""Side of the largest matrix whose product is timed: a GPU waits for work in smaller ones."""

COPIED = 2**28
"""Bytes that are copied to measure a memory's speed."""


def matmul_speed(dtype: torch.dtype, device: torch.device, seconds: float = 0.2) -> float:
    """Floating-point operations per second in square matrix products, with torch's threads now."""
    size, best, until = 1024, 0.0, time.perf_counter() + seconds
    matrix = torch.randn(size, size, device=device).to(dtype)
    while best == 0.0 or time.perf_counter() < until:
        took = _seconds(partial(torch.matmul, matrix, matrix), device)
        best = max(best, 2 * size**3 / took)
        if took < 1e-3 and size < LARGEST:
            size *= 2
            matrix = torch.randn(size, size, device=device).to(dtype)
    return best


def copy_speed(device: torch.device) -> float:
    """Bytes per second that a device reads and writes when it copies in its own memory."""
    tensor = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    return 2 * COPIED / min(_seconds(tensor.clone, device) for _ in range(5))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


MIN_SPEEDUP = 3.0
"""bfloat16 is chosen on a CPU whose matrix products are this many times faster in it (as with AMX).
At a factor of 2 a whole training step gains little, and what a LoRA adds, a small difference of
large numbers, would be rounded."""

ALLOWED = ("float32", "bfloat16", "float16")
"""Values of $OOCR_DTYPE."""


def auto_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, and on a CPU where it is far faster; else float32.

    Trained weights are float32 in any case. A CPU is measured once and the result is kept, so that
    a run continues in the type it began in. $OOCR_DTYPE ("float32", …) overrides it.

    Raises:
        InputError: $OOCR_DTYPE is none of these.
    """
    override = os.environ.get("OOCR_DTYPE")
    if override:
        if override not in ALLOWED:
            raise InputError(f"OOCR_DTYPE={override!r}: allowed are {', '.join(ALLOWED)}")
        dtype = getattr(torch, override)
        assert isinstance(dtype, torch.dtype)
        return dtype
    if is_gpu(device):
        return torch.bfloat16
    if not is_cpu(device):
        return torch.float32
    path = cache_folder() / "precision.json"
    key = f"{_processor()}, torch {torch.__version__}"
    known = _read(path)
    if key not in known:
        speeds = [matmul_speed(dtype, device) for dtype in (torch.bfloat16, torch.float32)]
        known[key] = speeds[0] / speeds[1]
        with suppress(OSError, RunError):  # a cache that cannot be written: tried again next time
            write_json(path, known)
    return torch.bfloat16 if known[key] >= MIN_SPEEDUP else torch.float32


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        named = {name.strip(): value.strip() for name, value in fields.items()}
        flags = named.get("flags", "").split()
        kinds = [kind for kind in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if kind in flags]
        return f"{named.get('model name', platform.machine())} ({', '.join(kinds)})"
    except OSError:
        return f"{platform.system()} {platform.machine()} {platform.processor()}"


def _read(path: Path) -> dict[str, float]:
    try:
        speeds = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in speeds.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
