"""Token log-probabilities in one pass over the head: the plain log-softmax, and its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oocr.models.matmul import token_logps


def plain(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    at: Tensor,
    ids: Tensor,
    scale: float,
    softcap: float | None,
) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias).float() * scale
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return logits.log_softmax(dim=-1)[at, ids]


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.3, None), (1.0, 5.0), (2.0, 9.0)])
@pytest.mark.parametrize("size", [0.1, 40.0])
def test_values_and_gradients_are_those_of_log_softmax(
    chunk: int,
    biased: bool,
    scale: float,
    softcap: float | None,
    size: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("oocr.models.matmul.CHUNK", chunk)
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(50, 6, generator=generator)
    bias = torch.randn(50, generator=generator) if biased else None
    hidden = torch.randn(4, 6, generator=generator) * size
    at, ids = torch.tensor([0, 0, 1, 3, 3]), torch.tensor([0, 49, 7, 7, 30])
    first, other = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    mine = token_logps(first, weight, bias, at, ids, scale=scale, softcap=softcap)
    expected = plain(other, weight, bias, at, ids, scale, softcap)
    torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-4)
    factors = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0])
    (mine * factors).sum().backward()  # type: ignore[no-untyped-call]
    (expected * factors).sum().backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(first.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_half_precision_keeps_to_its_own_rounding() -> None:
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(3000, 16, generator=generator).bfloat16()
    hidden = torch.randn(3, 16, generator=generator).bfloat16()
    at, ids = torch.tensor([0, 1, 2]), torch.tensor([5, 6, 2999])
    mine = token_logps(hidden, weight, None, at, ids)
    assert mine.dtype == torch.float32
    exact = plain(hidden.float(), weight.float(), None, at, ids, 1.0, None)
    torch.testing.assert_close(mine, exact, rtol=2e-2, atol=3e-2)


def test_without_gradients_nothing_is_kept_for_them() -> None:
    weight, at = torch.eye(5), torch.tensor([0])
    with torch.no_grad():
        logps = token_logps(torch.ones(1, 5), weight, None, at, torch.tensor([2]))
    assert not logps.requires_grad
    assert float(logps) == pytest.approx(-torch.log(torch.tensor(5.0)).item())
