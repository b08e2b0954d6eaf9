"""Which floating-point type "auto" means: by a short try of this machine, once."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch

from oocr.errors import InputError
from oocr.models.cache import cache_folder
from oocr.models.machine import matmul_speed

WORTH = 3.0
"""bfloat16 is taken on a CPU whose matrix products are so many times as fast in it. That is so with
AMX; where it is only twice as fast, a whole step gains half as much, and rounding is not worth it:
what a LoRA adds is a small difference of large numbers."""


ALLOWED = ("float32", "bfloat16", "float16")
"""What $OOCR_DTYPE may say."""


def auto_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, and on a CPU where it is far faster; else float32.

    What is trained is float32 in any case. A CPU is tried once; the answer is kept beside the
    converted models, so that a run goes on in the type it began in. $OOCR_DTYPE ("float32",
    "bfloat16", "float16") overrides it.

    Raises:
        InputError: $OOCR_DTYPE is none of these.
    """
    said = os.environ.get("OOCR_DTYPE")
    if said:
        if said not in ALLOWED:
            raise InputError(f"OOCR_DTYPE={said!r}: allowed are {', '.join(ALLOWED)}")
        found = getattr(torch, said)
        assert isinstance(found, torch.dtype)
        return found
    if device.type == "cuda":
        return torch.bfloat16
    if device.type != "cpu":
        return torch.float32
    path = cache_folder().parent / "precision.json"
    key = f"{_processor()}, torch {torch.__version__}"
    known = _read(path)
    if key not in known:
        speeds = [matmul_speed(one, device) for one in (torch.bfloat16, torch.float32)]
        known[key] = speeds[0] / speeds[1]
        _write(path, known)
    return torch.bfloat16 if known[key] >= WORTH else torch.float32


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        named = {name.strip(): value.strip() for name, value in found.items()}
        flags = named.get("flags", "").split()
        kinds = [one for one in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if one in flags]
        return f"{named.get('model name', platform.machine())} ({', '.join(kinds)})"
    except OSError:
        return f"{platform.system()} {platform.machine()} {platform.processor()}"


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(path: Path, known: dict[str, float]) -> None:
    from oocr.io import write_json

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    except OSError:  # a cache that cannot be written: tried again next time
        return
