"""What the machine is, and what its matrix product can do at the thread count in use."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import time
from pathlib import Path

import psutil
import torch

LIBRARIES = ("torch", "transformers", "peft", "trl", "numpy")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

SHAPES = (
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (4096, 4096, 4096),
    (656, 640, 2048),  # a batch of 16 x 41 tokens through Gemma-3-270M's MLP, up
    (656, 2048, 640),  # and down
    (16, 640, 262144),  # sixteen answers through its LM head
    (184, 1536, 8960),  # a batch of 8 x 23 tokens through Qwen2.5-1.5B's MLP, up
    (184, 8960, 1536),  # and down
)
"""Rows, inner, columns. The peak is the best of them."""


def describe(threads: int) -> dict[str, object]:
    """Processor, memory and versions, as plain values."""
    flags = _flags()
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "threads": threads,
        "memory": psutil.virtual_memory().total,
        "instructions": sorted(
            flag for flag in flags if re.match(r"avx2$|avx512f$|avx512_bf16$|amx_", flag)
        ),
        "python": platform.python_version(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
    }


def slug(machine: dict[str, object]) -> str:
    """A file name for results of this machine."""
    text = f"{machine['processor']}-{machine['cores']}-cores-{machine['threads']}-threads"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def matmul_peak(precision: str, seconds: float = 0.3) -> tuple[float, str]:
    """The best rate over shapes in FLOP/s, and the shape that had it."""
    rates = {
        " x ".join(map(str, shape)): _rate(shape, DTYPES[precision], seconds) for shape in SHAPES
    }
    best = max(rates, key=lambda name: rates[name])
    return rates[best], best


def _rate(shape: tuple[int, int, int], dtype: torch.dtype, seconds: float) -> float:
    rows, inner, columns = shape
    left, right = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    out = left @ right.T  # laid out as a Linear's weight
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        torch.matmul(left, right.T, out=out)
        best = min(best, time.perf_counter() - began)
    return 2.0 * rows * inner * columns / best


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _processor() -> str:
    info = _cpuinfo()
    found = {
        name: match.group(1).strip()
        for name in ("model name", "cpu family", "model")
        if (match := re.search(rf"^{name}\s*:(.*)$", info, re.MULTILINE))
    }
    if "model name" not in found:
        return platform.processor() or platform.machine()
    if len(found) < 3:
        return found["model name"]
    return f"{found['model name']} (family {found['cpu family']}, model {found['model']})"


def _flags() -> set[str]:
    match = re.search(r"^flags\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    return set(match.group(1).split()) if match else set()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
