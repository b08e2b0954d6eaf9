"""Attention with a gradient of our own: PyTorch's output bit for bit, and the exact gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from oocr.models.attention_gradient import attended
from oocr.models.matmul import FrozenProducts

TEXTS, HEADS, KEYS, WIDTH = 3, 4, 9, 16


def inputs(queries: int, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    """Query, key, value as blocks have them: heads lie beside one another."""
    torch.manual_seed(0)
    sizes = (queries, KEYS, KEYS)
    made = [torch.randn(TEXTS, size, HEADS, WIDTH).to(dtype) for size in sizes]
    return [tensor.transpose(1, 2).detach().requires_grad_() for tensor in made]


def mask_of(queries: int) -> Tensor:
    """Causal; the first text begins with padding, which attends to nothing."""
    causal = torch.ones(KEYS, KEYS, dtype=torch.bool).tril()
    mask = causal.expand(TEXTS, 1, KEYS, KEYS).clone()
    mask[0, :, :, :2] = False
    return mask[:, :, -queries:]


def gradients(output: Tensor, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    pull = torch.randn(*output.shape[:1], *output.shape[2:0:-1], WIDTH).transpose(1, 2)
    return torch.autograd.grad(output, tensors, pull.to(output.dtype))


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize("queries", [1, 4, KEYS])
def test_output_and_gradient(queries: int, scale: float | None, additive: bool) -> None:
    tensors, mask = inputs(queries), mask_of(queries)
    given = mask
    if additive:
        given = torch.zeros(mask.shape).masked_fill(~mask, float("-inf")).bfloat16()
    output = attended(*tensors, attn_mask=given, scale=scale)
    assert output is not None
    assert torch.equal(output, sdpa(*tensors, attn_mask=mask, scale=scale))
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected = gradients(sdpa(*exact, attn_mask=mask, scale=scale), exact)
    for ours, wanted in zip(gradients(output, tensors), expected, strict=True):
        assert ours.isfinite().all()
        error = (ours.double() - wanted).norm() / wanted.norm()
        assert error < 5e-3, "bfloat16 rounds to 4e-3 at most"


def test_the_mode_uses_it_where_it_fits() -> None:
    tensors, mask = inputs(4), mask_of(4)

    def made_by(*tensors: Tensor, **more: Any) -> str:
        with FrozenProducts():
            return type(sdpa(*tensors, **more).grad_fn).__name__

    assert made_by(*tensors, attn_mask=mask) == "_AttentionBackward"
    others: list[tuple[list[Tensor], dict[str, Any]]] = [
        (inputs(4, torch.float32), {"attn_mask": mask}),
        ([tensor.detach() for tensor in tensors], {"attn_mask": mask}),
        (tensors, {}),
        ([x.transpose(2, 3).contiguous().transpose(2, 3) for x in tensors], {"attn_mask": mask}),
        (tensors, {"is_causal": True}),
        (tensors, {"attn_mask": mask, "dropout_p": 0.1}),
        ([tensors[0], *(x[:, :2] for x in tensors[1:])], {"attn_mask": mask, "enable_gqa": True}),
    ]
    for given, more in others:
        assert made_by(*given, **more) != "_AttentionBackward"
