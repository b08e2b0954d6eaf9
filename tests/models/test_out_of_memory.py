"""Running out of memory ends in a message with the numbers, and lets go of what was held."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from oocr.errors import InputError, RunError
from oocr.models.out_of_memory import is_out_of_memory, memory_errors, out_of_memory

CUDA = (
    "CUDA out of memory. Tried to allocate 1.95 GiB. GPU 1 has a total capacity of 14.57 GiB of "
    "which 1.58 GiB is free. Process 2493055 has 12.02 GiB memory in use. Including non-PyTorch "
    "memory, this process has 966.00 MiB memory in use. Of the allocated memory 734.07 MiB is "
    "allocated by PyTorch, and 33.93 MiB is reserved by PyTorch but unallocated. If reserved but "
    "unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True"
)
MPS = (
    "MPS backend out of memory (MPS allocated: 14.29 GiB, other allocations: 3.65 GiB, max "
    "allowed: 20.13 GiB). Tried to allocate 2.67 GiB on shared pool. Use "
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations"
)


def test_the_message_has_pytorchs_numbers() -> None:
    text = out_of_memory(torch.OutOfMemoryError(CUDA), "training", "Lower x.")
    assert text == (
        "out of memory on cuda:1 while training: 1.95 GiB asked for, 1.58 GiB free, 14.57 GiB in "
        "all, 734.07 MiB taken by tensors, 33.93 MiB held by PyTorch without use. Lower x."
    )
    assert "on MPS while training: 2.67 GiB asked for, 20.13 GiB in all, 14.29 GiB taken" in (
        out_of_memory(RuntimeError(MPS), "training", "")
    )


def test_the_cpus_own_error_is_one_too_and_free_memory_is_looked_up() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(10**15)
    assert is_out_of_memory(failed.value)
    text = out_of_memory(failed.value, "scoring", "")
    assert "out of memory on main memory while scoring: 4000000000000000 bytes asked for" in text
    assert "GiB free now" in text


def test_other_errors_stay_what_they_are() -> None:
    for error in (RuntimeError("shapes"), InputError("out of memory"), RunError("out of memory")):
        assert not is_out_of_memory(error)
        with pytest.raises(type(error)) as passed, memory_errors("x", "y"):
            raise error
        assert passed.value is error


def test_what_the_failed_work_held_is_let_go() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work() -> None:
        tensor = torch.zeros(1000)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError(CUDA)

    with pytest.raises(RunError, match="on cuda:1 while working") as stopped:  # noqa: SIM117
        with memory_errors("working", "Lower x."):
            work()
    gc.collect()
    assert stopped.value.__cause__ is not None
    assert held[0]() is None, "though the error is still at hand, with its traceback"
