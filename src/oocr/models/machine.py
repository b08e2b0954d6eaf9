"""What this machine has free."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import torch

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container its own limit."""


def free_memory(device: torch.device | None = None) -> int:
    """Bytes that can still be taken: of the device's memory, or (None, CPU) of main memory."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    limit = _container_room(CGROUP)
    return free if limit is None else min(free, limit)


def _container_room(folder: Path) -> int | None:
    """What a container's limit leaves; cached files don't count, the system gives them up."""
    try:
        most = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such limit, or "max"
        return None
    cached = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
    return max(0, most - used + cached)


def matmul_speed(dtype: torch.dtype, device: torch.device, seconds: float = 0.2) -> float:
    """Floating-point operations per second in square matrix products, by a short try.

    With the threads that torch has now.
    """
    size = 1024
    one = torch.randn(size, size, device=device).to(dtype)
    best, until = 0.0, time.perf_counter() + seconds
    while best == 0.0 or time.perf_counter() < until:
        began = time.perf_counter()
        one @ one
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
