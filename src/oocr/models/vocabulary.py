"""Log-probabilities of single tokens in one pass over the LM head.

In a small model the head is most of the weights, and a training step that reads it twice, once for
logits and once for their gradient, waits for memory. log Z and d log Z / d h = sum_v p_v w_v need
it once: with the running maximum m, both sums over chunks of the vocabulary are kept relative to
exp(m) (online softmax). Exact up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from oocr.models.matmul import product

CHUNK = 2048
"""Rows of the head at a time: they should stay in the core's cache between the two products."""


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

    Args:
        hidden: after the final norm.
        weight: of the LM head, frozen.
        bias: of the LM head, frozen.
        at: rows of `hidden`.
        ids: token ids.
        scale: what logits are multiplied by.
        softcap: c in c * tanh(logits / c).
    """
    log_z: Tensor = _LogZ.apply(hidden, weight, bias, scale, softcap)  # type: ignore[no-untyped-call]
    own = (hidden[at] * weight[ids]).sum(dim=-1).float()
    if bias is not None:
        own = own + bias[ids].float()
    own = own * scale
    if softcap is not None:
        own = torch.tanh(own / softcap) * softcap
    return own - log_z[at]


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
        for begin in range(0, weight.shape[0], CHUNK):
            part = weight[begin : begin + CHUNK]
            logits = product(hidden, part).float()
            if bias is not None:
                logits = logits + bias[begin : begin + CHUNK].float()
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
