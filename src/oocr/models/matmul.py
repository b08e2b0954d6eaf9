"""Products with frozen weights on a CPU, by oneDNN, and log-probabilities of few tokens.

PyTorch multiplies float32 by the BLAS it was built with, which is slow for few rows (by
`benchmarks/products.py` on two AMD cores, 16 rows: 57 to 71 GFLOP/s by MKL, 103 to 109 by oneDNN).
For bfloat16 it takes oneDNN, which rearranges the right factor at each call: of a weight and few
rows that had better be the rows. Where rows lie apart (the last token of each text) it takes
neither: an LM head for 8 of them is 500 times slower. All sum in float32; rounding differs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from oocr.models.attention_gradient import attended
from oocr.models.machine import is_cpu

AVAILABLE = (
    platform.machine().lower() in ("x86_64", "amd64")
    and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)

FEW = 64
"""Rows in bfloat16 up to which they are the right factor."""


def product(
    rows: Float[Tensor, "*batch d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "*batch d_out"]:
    """Rows @ weight.T + bias; no gradient."""
    if not (AVAILABLE and is_cpu(weight.device)):
        return F.linear(rows, weight, bias)
    output: Tensor
    if weight.dtype == torch.float32:
        output = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return output
    flat = rows.reshape(-1, rows.shape[-1])
    if len(flat) > FEW or not weight.is_contiguous():
        output = F.linear(flat, weight, bias)
    elif bias is None:
        output = (weight @ flat.T).T.contiguous()
    else:
        output = torch.addmm(bias[:, None], weight, flat.T).T.contiguous()
    return output.reshape(*rows.shape[:-1], len(weight))


def frozen_products(device: torch.device) -> AbstractContextManager[object]:
    """`FrozenProducts` where it applies: it costs each of PyTorch's calls a microsecond."""
    return FrozenProducts() if is_cpu(device) else nullcontext()


class FrozenProducts(TorchFunctionMode):
    """While it is active, linear maps with frozen weights on a CPU go through `product`.

    And attention through `oocr.models.attention_gradient`.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch for each of its functions."""
        faster = FASTER.get(func)
        output = None if faster is None else faster(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if output is None else output


def _frozen_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """`F.linear` by `product`, or None where that doesn't fit."""
    same = AVAILABLE and input.dtype == weight.dtype in KINDS and input.numel() > 0
    frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
    if not (same and frozen and is_cpu(input.device) and is_cpu(weight.device)):
        return None
    output: Tensor = _Product.apply(input, weight, bias)  # type: ignore[no-untyped-call]
    return output


KINDS = (torch.float32, torch.bfloat16)
FASTER: dict[Any, Callable[..., Tensor | None]] = {
    F.linear: _frozen_linear,
    F.scaled_dot_product_attention: attended,
}
"""PyTorch's function -> what does the same, or gives None where it does not fit."""


class _Product(torch.autograd.Function):
    """d rows = d out @ weight; weights are frozen, so that is all."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return product(grads[0].contiguous(), ctx.weight.T), None, None


def float32_product(
    rows: Float[Tensor, "row d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "row d_out"]:
    """Rows @ weight.T + bias, computed in float32 from frozen weights of a smaller type.

    In bfloat16 logits lie on a grid of 1/16 or 1/8, on which options tie.
    """
    output: Tensor = _Float32Product.apply(rows.float(), weight)  # type: ignore[no-untyped-call]
    return output if bias is None else output + bias.float()


class _Float32Product(torch.autograd.Function):
    """Some rows of the weight at a time, so that there is no whole copy of it in float32."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        parts = torch.split(weight, chunk_of(weight.device))
        return torch.cat([F.linear(rows, part.float()) for part in parts], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        chunk = chunk_of(ctx.weight.device)
        pull = torch.zeros(len(grads[0]), ctx.weight.shape[1], device=grads[0].device)
        for begin in range(0, len(ctx.weight), chunk):
            part = ctx.weight[begin : begin + chunk].float()
            pull += grads[0][:, begin : begin + chunk] @ part
        return pull, None


CHUNK, CHUNK_OFF_CPU = 2048, 16384
"""Rows of the head at a time. They should stay in a core's cache between the two products; another
device is better used by larger products."""


def chunk_of(device: torch.device) -> int:
    """Rows of the LM head that `token_logps` works on at a time."""
    return CHUNK if is_cpu(device) else CHUNK_OFF_CPU


def token_logps(
    hidden: Float[Tensor, "row d_model"],
    weight: Float[Tensor, "vocab d_model"],
    bias: Float[Tensor, " vocab"] | None,
    at: Int[Tensor, " target"],
    ids: Int[Tensor, " target"],
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> Float[Tensor, " target"]:
    """Log-probability of token `ids[i]` at row `at[i]`; no logit is kept.

    The LM head is read once: in a small model it is most of the weights, and a step that reads it
    twice (logits, then their gradient) waits for memory. log Z and its gradient
    d log Z / d h = sum_v p_v w_v are sums over chunks of the vocabulary, kept relative to
    exp(running maximum) (online softmax). Exact up to rounding.

    `hidden` is after the final norm, and products are in its type; weight and bias are frozen;
    logits are multiplied by `scale`, then become softcap * tanh(logits / softcap).
    """
    log_z: Tensor = _LogZ.apply(hidden, weight, bias, scale, softcap)  # type: ignore[no-untyped-call]
    logits = (hidden[at] * weight[ids].to(hidden.dtype)).sum(dim=-1).float()
    if bias is not None:
        logits = logits + bias[ids].float()
    logits = logits * scale
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return logits - log_z[at]


class _LogZ(torch.autograd.Function):
    """log sum_v exp f(h . w_v + b_v) with its gradient in h, f the logits' post-processing."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: float,
        softcap: float | None,
    ) -> Tensor:
        rows = hidden.shape[0]
        top = torch.full((rows,), float("-inf"), device=hidden.device)
        total = torch.zeros(rows, device=hidden.device)
        wanted = bool(ctx.needs_input_grad[0])
        pull = torch.zeros(hidden.shape, device=hidden.device) if wanted else None
        chunk = chunk_of(weight.device)
        for begin in range(0, weight.shape[0], chunk):
            part = weight[begin : begin + chunk].to(hidden.dtype)
            logits = product(hidden, part).float()
            if bias is not None:
                logits = logits + bias[begin : begin + chunk].float()
            logits = logits * scale if scale != 1.0 else logits
            slope: Tensor | None = None
            if softcap is not None:
                bent = torch.tanh(logits / softcap)
                logits, slope = bent * softcap, 1 - bent**2
            higher = torch.maximum(top, logits.amax(dim=1))
            shrink = (top - higher).exp()
            shares = (logits - higher[:, None]).exp_()
            total = total * shrink + shares.sum(dim=1)
            if pull is not None:
                shares = shares if slope is None else shares * slope
                pull.mul_(shrink[:, None]).add_(product(shares.to(part.dtype), part.T).float())
            top = higher
        if pull is not None:
            ctx.save_for_backward((pull * (scale / total[:, None])).to(hidden.dtype))
        return top + total.log()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (pull,) = ctx.saved_tensors
        return (grads[0][:, None].to(pull.dtype) * pull, None, None, None, None)
