"""Peak memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil


def resident() -> int:
    """Bytes now."""
    return int(psutil.Process().memory_info().rss)


def forget_peak() -> None:
    """Start the peak anew from what is resident, where the kernel allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak() -> int:
    """Bytes at the highest point, since the start or the last `forget_peak`."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        line = next(entry for entry in status.splitlines() if entry.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
