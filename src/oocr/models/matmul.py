"""Products with frozen float32 weights on a CPU, by oneDNN.

PyTorch multiplies float32 by the BLAS it was built with, which is slow for few rows: on a two-core
AMD machine 16 rows ran at 57 to 71 GFLOP/s by MKL and at 103 to 109 by oneDNN, 656 rows at 170 to
187 and 181 to 207 (`benchmarks/products.py`). oneDNN comes with every x86 build of PyTorch. Sums
are in float32 in both; rounding differs.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode


def _available() -> bool:
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return x86 and there and hasattr(torch.ops.mkldnn, "_linear_pointwise")


AVAILABLE = _available()


def product(
    rows: Float[Tensor, "*batch d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "*batch d_out"]:
    """Rows @ weight.T + bias; no gradient."""
    found: Tensor
    if AVAILABLE and weight.dtype == torch.float32 and weight.device.type == "cpu":
        found = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    else:
        found = F.linear(rows, weight, bias)
    return found


class FrozenProducts(TorchFunctionMode):
    """While it is active, linear maps with frozen float32 weights on a CPU go through `product`."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch for each of its functions."""
        if func is F.linear and AVAILABLE:
            rows, weight, bias = _arguments(*args, **(kwargs or {}))
            if _fits(rows, weight, bias):
                return _Product.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _arguments(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    return input, weight, bias


def _fits(rows: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    same = rows.dtype == weight.dtype == torch.float32
    frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
    return same and frozen and rows.device.type == weight.device.type == "cpu" and rows.numel() > 0


class _Product(torch.autograd.Function):
    """d rows = d out @ weight; weights are frozen, so that is all."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return product(grads[0].contiguous(), ctx.weight.T), None, None
