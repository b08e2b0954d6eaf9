"""A device out of memory: a message with the numbers, the running work, and what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from oocr.errors import InputError, RunError
from oocr.models import machine

WORDS = ("out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")
"""Texts in out-of-memory errors of MPS, the CPU, cuBLAS and cuDNN, which have no own type."""

SIZE = r"([\d.]+ \w+)"
NUMBERS = {
    "asked for": rf"tried to allocate {SIZE}",
    "free": rf"of which {SIZE} is free",
    "in all": rf"(?:total capacity of|max allowed:) {SIZE}",
    "taken by tensors": rf"(?:MPS allocated:|allocated memory) {SIZE}",
    "held by PyTorch without use": rf"{SIZE} is reserved by PyTorch but unallocated",
}
"""Numbers in PyTorch's messages, for CUDA, MPS and the CPU."""

LOADING = (
    "Take a smaller model, dtype bfloat16 (half of float32), another device, or several GPUs "
    "(device_map: auto)"
)
"""What to do if memory runs out while a model is loaded."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError) or isinstance(error, RunError | InputError):
        return False
    return any(words in str(error) for words in WORDS)


def out_of_memory(error: BaseException, doing: str, advice: str) -> str:
    """The message: the running work, the numbers, and what to do.

    Numbers that PyTorch's own message lacks are asked for now.
    """
    text = str(error)
    gpu, on_mps = re.search(rf"\b(?:GPU |{machine.GPU}:)(\d+)", text), "MPS" in text
    device = torch.device(machine.GPU, int(gpu[1])) if gpu else None
    where = str(device) if device else "MPS" if on_mps else "main memory"
    numbers = {
        name: match[1]
        for name, pattern in NUMBERS.items()
        if (match := re.search(pattern, text, re.IGNORECASE))
    }
    if "in all" not in numbers:
        numbers["in all"] = _gib(machine.total_memory(device))
    if "free" not in numbers:
        numbers["free now"] = _gib(machine.free_memory(device))
    listed = ", ".join(f"{size} {name}" for name, size in numbers.items())
    return f"out of memory on {where} while {doing}: {listed}. {advice}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


@contextmanager
def memory_errors(doing: str, advice: str) -> Iterator[None]:
    """Turn running out of memory into a `RunError`; `doing` is what was being done ("loading …").

    Memory of the failed work is released.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = out_of_memory(error, doing, advice)
        traceback.clear_frames(error.__traceback__)
        machine.release_memory()
        raise RunError(message) from error
