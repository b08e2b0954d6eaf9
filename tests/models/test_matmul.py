"""Products with frozen weights are PyTorch's own, up to rounding, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from oocr.models.matmul import AVAILABLE, FrozenProducts, product


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of weights that went through `product`."""
    seen: list[tuple[int, ...]] = []
    real = product

    def watched(
        rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> object:
        seen.append(tuple(weight.shape))
        return real(rows, weight, bias)

    monkeypatch.setattr("oocr.models.matmul.product", watched)
    return seen


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7), (1, 1, 7), (3, 2, 5, 7)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_frozen_linear_has_the_same_output_and_gradient(
    shape: tuple[int, ...], bias: bool, used: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(7, 4, bias=bias).requires_grad_(False)
    rows = torch.randn(shape)
    first, two = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    weighting = torch.randn(*shape[:-1], 4)
    expected = layer(first)
    (expected * weighting).sum().backward()
    with FrozenProducts():
        output = layer(two)
    (output * weighting).sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(two.grad, first.grad)
    assert used == ([(4, 7), (7, 4)] if AVAILABLE else [])


def test_inputs_and_gradients_need_not_be_contiguous() -> None:
    layer = nn.Linear(6, 4).requires_grad_(False)
    rows = torch.randn(6, 5).T.requires_grad_()
    with FrozenProducts():
        output = layer(rows)
    torch.testing.assert_close(output, linear(rows, layer.weight, layer.bias))
    (gradient,) = torch.autograd.grad(output.T[:, ::1].expand(4, 5).sum(), rows)
    torch.testing.assert_close(gradient, layer.weight.sum(0).expand(5, 6))


@pytest.mark.parametrize("count", [3, 90])
@pytest.mark.parametrize("bias", [False, True])
def test_so_it_has_in_bfloat16_for_rows_that_lie_apart(
    count: int, bias: bool, used: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 8, bias=bias).requires_grad_(False).bfloat16()
    whole = torch.randn(count, 5, 16).bfloat16().requires_grad_()
    last = whole[:, -1:, :]  # one token of each text
    weighting = torch.randn(count, 1, 8)
    with FrozenProducts():
        output = layer(last)
    exact = linear(last.double(), layer.weight.double(), layer.bias.double() if bias else None)
    assert output.shape == exact.shape
    assert output.is_contiguous()
    torch.testing.assert_close(output.double(), exact, rtol=4e-3, atol=4e-3)
    (gradient,) = torch.autograd.grad((output * weighting).sum(), whole)
    (expected,) = torch.autograd.grad((exact * weighting).sum(), whole)
    torch.testing.assert_close(gradient.double(), expected.double(), rtol=1e-2, atol=1e-2)
    assert used == ([(8, 16), (16, 8)] if AVAILABLE else [])


def test_what_is_trained_or_of_other_types_is_left_to_pytorch(used: list[tuple[int, ...]]) -> None:
    trained = nn.Linear(7, 4)
    double = nn.Linear(7, 4).double().requires_grad_(False)
    with FrozenProducts():
        trained(torch.randn(3, 7)).sum().backward()
        double(torch.randn(3, 7, dtype=torch.float64))
        nn.Linear(7, 4).requires_grad_(False)(torch.randn(0, 7))
    assert trained.weight.grad is not None
    assert not used


def test_without_onednn_it_is_the_plain_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oocr.models.matmul.AVAILABLE", False)
    rows, weight, bias = torch.randn(3, 7), torch.randn(4, 7), torch.randn(4)
    assert torch.equal(product(rows, weight, bias), linear(rows, weight, bias))
