"""A pretend GPU in pure Python, on PyTorch's hook for Python backends: real numbers, from the CPU.

After `setup()`, which a process cannot undo, "gpu:0" and "gpu:1" are devices and the library takes
them for GPUs. What CUDA refuses is refused: tensors on two devices (but for what CUDA lets through:
0-dim CPU tensors beside elementwise operands, indices on the CPU), a CPU generator, `.numpy()`,
integer matrix products, operators of other namespaces than aten; and float64, which MPS lacks and
most GPUs are slow in. `waits()` lists what makes the
host wait; `DEVICES` counts bytes, and refuses what is over a device's capacity.

It does not show: speed, streams, kernels' own rounding, memory inside kernels, fragmentation.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from oocr.models import machine

GPU = "gpu"
LIBRARY = "/oocr/"
NAMESPACES = ("aten", "transformers")
"""Whose operators have kernels for any device; not mkldnn's."""
aten = torch.ops.aten
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
}
PRODUCTS = {
    aten.mm.default,
    aten.bmm.default,
    aten.addmm.default,
    aten.baddbmm.default,
    aten.mv.default,
    aten.dot.default,
}
SAME_DEVICE = PRODUCTS | {
    aten.cat.default,
    aten.embedding.default,
    aten.index_select.default,
    aten.gather.default,
    aten.stack.default,
}
"""Operators that do not even take a 0-dim CPU tensor beside one on a GPU."""


@dataclass
class Memory:
    """Bytes on one device."""

    used: int = 0
    peak: int = 0
    capacity: int = 2**40
    held: Counter[int] = field(default_factory=Counter)  # storage -> tensors that share it

    def take(self, tensor: OnGpu) -> None:
        """Count a tensor's storage until the last tensor on it is gone."""
        storage = tensor.inner.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        if not place:
            return
        if not self.held[place]:
            if self.used + size > self.capacity:
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {size} bytes. {tensor.device} has a "
                    f"total capacity of {self.capacity} bytes of which {self.used} are in use"
                )
            self.used += size
            self.peak = max(self.peak, self.used)
        self.held[place] += 1
        weakref.finalize(tensor, self._release, place, size)

    def _release(self, place: int, size: int) -> None:
        self.held[place] -= 1
        if not self.held[place]:
            self.used -= size


DEVICES = {f"{GPU}:{index}": Memory() for index in range(2)}
LOCKED = Memory(capacity=2**40)
"""Page-locked host memory; its capacity is that of one tensor."""

_waits: list[tuple[str, str]] | None = None


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU; `inner` has its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device) -> OnGpu:
        if inner.dtype == torch.float64:
            raise TypeError("MPS has no float64")
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=device,
        )
        tensor.inner = inner
        DEVICES[str(device)].take(tensor)
        return tensor

    def __repr__(self) -> str:
        return f"OnGpu({self.inner!r}, device='{self.device}')"

    __hash__ = object.__hash__

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {self.device} tensor to numpy. Use Tensor.cpu()")

    def tolist(self) -> Any:
        _wait("tolist")
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def pin_memory(self, *_: Any) -> Any:
        raise RuntimeError(f"cannot pin a '{self.device}' tensor: only dense CPU tensors can be")

    def __deepcopy__(self, _memo: Any) -> OnGpu:
        return OnGpu(self.inner.clone(), self.device)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@cache
def _argument_names(func: Any) -> tuple[str, ...]:
    return tuple(argument.name for argument in func._schema.arguments)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is aten.copy_.default:
        target, source = args[:2]
        _note_copy(source, target.device, non_blocking=len(args) > 2 and args[2])
        _inner(target).copy_(_inner(source))
        return target
    if func is aten._to_copy.default:
        device = torch.device(kwargs.get("device") or args[0].device)
        _note_copy(args[0], device, non_blocking=kwargs.get("non_blocking"))
        kept = {name: kwargs[name] for name in ("dtype", "memory_format") if name in kwargs}
        copied = aten._to_copy.default(_inner(args[0]), **kept, device="cpu")
        return copied if device.type == "cpu" else OnGpu(copied, _indexed(device))
    named = [*zip(_argument_names(func), args, strict=False), *kwargs.items()]
    tensors: list[tuple[str, torch.Tensor]] = []
    for name, value in named:
        if isinstance(value, torch.Tensor):
            tensors.append((name, value))
        elif isinstance(value, list | tuple):
            tensors += [(name, part) for part in value if isinstance(part, torch.Tensor)]
        elif isinstance(value, torch.Generator):
            raise RuntimeError(f"Expected a '{GPU}' generator but found 'cpu' [{func}]")
    device = next((part.device for _, part in tensors if isinstance(part, OnGpu)), None)
    if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == GPU:
        device = _indexed(torch.device(kwargs["device"]))
    _refuse(func, tensors, device)
    if func in WAITING or (
        func in INDEXING and any(n == "indices" and p.dtype == torch.bool for n, p in tensors)
    ):
        _wait(str(func))
    inner_args, inner_kwargs = _inner(args), {name: _inner(kwargs[name]) for name in kwargs}
    if "device" in inner_kwargs:
        inner_kwargs["device"] = torch.device("cpu")
    if "pin_memory" in inner_kwargs:
        inner_kwargs["pin_memory"] = False
    if func is aten.histc.default and not inner_args[0].is_floating_point():  # a GPU counts these
        counts = func(inner_args[0].double(), *inner_args[1:], **inner_kwargs)
        output = counts.to(inner_args[0].dtype)
    else:
        output = func(*inner_args, **inner_kwargs)
    known = {id(p.inner): p for _, p in tensors if isinstance(p, OnGpu)}  # in-place: the argument
    return _on_gpu(output, known, device)


def _on_gpu(value: Any, known: dict[int, OnGpu], device: Any) -> Any:
    """An operator's output; no closure, which would hold tensors until garbage is collected."""
    if isinstance(value, list | tuple):
        return type(value)(_on_gpu(part, known, device) for part in value)
    if not isinstance(value, torch.Tensor):
        return value
    argument = known.get(id(value))
    return OnGpu(value, device) if argument is None else argument


def _refuse(func: Any, tensors: list[tuple[str, torch.Tensor]], device: Any) -> None:
    """What CUDA refuses."""
    if func.namespace not in NAMESPACES:
        raise NotImplementedError(f"Could not run '{func}' with arguments from the '{GPU}' backend")
    for name, part in tensors:
        on_gpu = isinstance(part, OnGpu)
        if on_gpu and part.device == device:
            continue
        is_index = func in INDEXING and name == "indices" and not on_gpu
        is_scalar = part.ndim == 0 and not on_gpu and func not in SAME_DEVICE
        if not (is_index or is_scalar):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{device} and {part.device}! ({name} of {func})"
            )
        if is_index:
            _wait("an index that is on the CPU")
    if func in PRODUCTS and not all(part.is_floating_point() for _, part in tensors):
        raise NotImplementedError(f'"{func}" not implemented for integers on a GPU')


def _inner(value: Any) -> Any:
    if isinstance(value, OnGpu):
        return value.inner
    return [*map(_inner, value)] if isinstance(value, list | tuple) else value


def _indexed(device: torch.device) -> torch.device:
    return torch.device(GPU, device.index or 0)


def _note_copy(source: torch.Tensor, target: torch.device, non_blocking: Any) -> None:
    if source.device.type != target.type and not non_blocking:
        name = "CPU" if target.type == "cpu" else "GPU"
        _wait(f"copy of {source.nbytes} bytes to the {name}")


def _wait(what: str) -> None:
    if _waits is None:
        return
    frame = sys._getframe(2)
    while frame is not None:  # to the library's own line
        path = frame.f_code.co_filename
        if LIBRARY in path and "site-packages" not in path:
            _waits.append((what, f"{path.split(LIBRARY)[-1]}:{frame.f_lineno}"))
            return
        frame = frame.f_back  # type: ignore[assignment]
    _waits.append((what, "elsewhere"))


@contextmanager
def waits() -> Iterator[list[tuple[str, str]]]:
    """What makes the host wait while the block runs, each with the library's line."""
    global _waits
    before, _waits = _waits, []
    try:
        yield _waits
    finally:
        _waits = before


def _page_locked(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    if tensor.nbytes > LOCKED.capacity:
        raise RuntimeError("CUDA error: out of memory")
    return tensor


def setup() -> None:
    """Make the devices known to PyTorch and, as GPUs, to the library."""
    from torch.utils import backend_registration

    if machine.GPU == GPU:
        return
    backend_registration._setup_privateuseone_for_python_backend(GPU)
    library = setup.library = torch.library.Library("aten", "IMPL", "PrivateUse1")  # type: ignore[attr-defined]

    def empty(size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> OnGpu:
        return OnGpu(torch.empty(size, dtype=dtype), _indexed(torch.device(device)))

    def strided(
        size: Any, stride: Any, *, dtype: Any = None, device: Any = None, **_: Any
    ) -> OnGpu:
        return OnGpu(torch.empty_strided(size, stride, dtype=dtype), _indexed(torch.device(device)))

    def copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> Any:
        _note_copy(source, target.device, non_blocking)  # `torch.tensor(…, device=…)`
        _inner(target).copy_(_inner(source))
        return target

    kernels = {"empty.memory_format": empty, "empty_strided": strided, "_copy_from": copy_from}
    for name, kernel in kernels.items():
        library.impl(name, kernel, "PrivateUse1")

    def memory(device: Any) -> Memory:
        return DEVICES[str(_indexed(torch.device(device)))]

    def free(device: Any) -> tuple[int, int]:
        return memory(device).capacity - memory(device).used, memory(device).capacity

    machine.GPU = GPU
    machine.page_locked = _page_locked
    cuda: Any = torch.cuda
    cuda.mem_get_info = free
    cuda.memory_allocated = cuda.memory_reserved = lambda device: memory(device).used
    cuda.max_memory_reserved = lambda device: memory(device).peak
    cuda.synchronize = lambda _device: None
