"""Attention in a 16-bit type on a CPU, with a gradient of a few batched products.

PyTorch's own gradient is slow there: 8 texts of 23 tokens with 12 heads of 128 take 8 ms on a core,
a last token of each 6, and here 3 and 1 (`benchmarks/products.py`).

With S = scale Q K' + mask, P = exp(S - lse), O = P V and dO the gradient of O:

    dV = P' dO    dS = P * (dO V' - rowsum(dO * O))    dQ = scale dS K    dK = scale dS' Q

S and P are in float32; P and dS are rounded before the products, as PyTorch rounds them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oocr.models.machine import is_cpu

MOST_PAIRS = 4096
"""Queries times keys of a head: with more of them nothing is gained."""

HALF = (torch.bfloat16, torch.float16)


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """`F.scaled_dot_product_attention` (with its arguments), or None where it does not fit."""
    usual = attn_mask is not None and not (dropout_p or is_causal or enable_gqa)
    trained = torch.is_grad_enabled() and query.requires_grad
    if not (usual and trained and is_cpu(query.device)) or query.dtype not in HALF:
        return None
    assert attn_mask is not None
    alike = query.shape[:2] == key.shape[:2] and key.shape == value.shape and query.ndim == 4
    alike = alike and query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    if not alike or attn_mask.requires_grad or attn_mask.ndim != 4:
        return None
    if query.shape[2] * key.shape[2] > MOST_PAIRS:
        return None
    if attn_mask.dtype == torch.bool:
        nothing = torch.zeros(attn_mask.shape, dtype=query.dtype)
        attn_mask = nothing.masked_fill_(~attn_mask, float("-inf"))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    output: Tensor = _Attention.apply(query, key, value, attn_mask, scale)  # type: ignore[no-untyped-call]
    return output


class _Attention(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float
    ) -> Tensor:
        output: Tensor
        output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=mask, scale=scale
        )
        ctx.save_for_backward(query, key, value, mask, output, lse)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *saved, mask, output, lse = ctx.saved_tensors
        # Laid out one head after the other: conversions and products are slow on other strides.
        query, key, value, pull, output = (x.contiguous() for x in (*saved, grads[0], output))
        # A padding token may attend to nothing: its row of P is 0.
        lse = lse.masked_fill(~lse.isfinite(), 0.0)
        scores = query.float() @ key.float().transpose(2, 3)
        shares = scores.mul_(ctx.scale).add_(mask).sub_(lse[..., None]).exp_()
        wide = pull.float()
        inner = output.float().mul_(wide).sum(dim=-1, keepdim=True)
        d_shares = wide @ value.float().transpose(2, 3)
        d_scores = d_shares.sub_(inner).mul_(shares).to(pull.dtype)
        d_value = shares.to(pull.dtype).transpose(2, 3) @ pull
        d_query = (d_scores @ key).mul_(ctx.scale)
        d_key = (d_scores.transpose(2, 3) @ query).mul_(ctx.scale)
        return d_query, d_key, d_value, None, None
