"""One GPU that is not here: what is assumed of it when a run is planned for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oocr.errors import InputError
from oocr.runs.flops import FlopCount

RESERVED = 2**30
"""Bytes of it that the driver, CUDA's context and its libraries take."""

PEAK = 312.0
"""TFLOP/s: an A100's dense peak in bfloat16, as its data sheet has it."""

SHARE = 0.4
"""Share of the peak assumed in large products: what careful training of dense models reports. Not
measured here."""

BANDWIDTH = 2.0e12
"""Bytes per second: an A100 80GB's data sheet says 2,039 GB/s."""

READS = 0.7
"""Share of the bandwidth assumed."""

LAUNCH = 1e-3
"""Seconds that Python and launching one block's kernels take at least, assumed: a pass over few
tokens waits for them, or for the weights."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What is assumed.

    Attributes:
        memory: bytes.
        peak: operations per second.
    """

    memory: int
    peak: float = PEAK * 1e12

    @property
    def room(self) -> int:
        """Bytes that a run can have."""
        return self.memory - RESERVED

    def seconds(self, one: FlopCount) -> float:
        """A pass takes as long as its sums, its weights' way or its launches, whichever is most."""
        sums = one.flops / (SHARE * self.peak)
        return max(sums, one.read / (READS * BANDWIDTH), one.blocks * LAUNCH)

    @property
    def said(self) -> str:
        """The assumptions, in a sentence."""
        return (
            f"predicted, not measured: one GPU with {self.memory / 2**30:.0f} GiB, of which "
            f"{RESERVED / 2**30:.0f} GiB for CUDA; {SHARE:.0%} of {self.peak / 1e12:.0f} TFLOP/s "
            f"(bfloat16 peak), {READS:.0%} of {BANDWIDTH / 1e12:.1f} TB/s, at least "
            f"{LAUNCH * 1e3:.0f} ms for a block"
        )


def gpu_of(text: str, tflops: float | None = None) -> Gpu:
    """A GPU from "80", "80GB" or "80 GiB"; gigabytes are taken as GiB, as sellers name them.

    Args:
        text: its memory.
        tflops: its peak in bfloat16.

    Raises:
        InputError: not a size, or not a speed.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:gi?b?)?\s*", text, re.IGNORECASE)
    if found is None or float(found.group(1)) * 2**30 <= RESERVED:
        raise InputError(f"--gpu: {text!r} is not a memory size; allowed: 80, 80GB, 24GiB, …")
    peak = PEAK if tflops is None else tflops
    if not 0 < peak < float("inf"):
        raise InputError(f"--tflops: {peak} is not a speed; allowed: above 0, e.g. 312 (A100)")
    return Gpu(int(float(found.group(1)) * 2**30), peak * 1e12)
