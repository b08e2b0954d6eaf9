"""Linear probe of positions: ridge regression; leave-one-out errors choose the penalty."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oocr.families.frames.world import PlacedObject

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""In units of the mean square of x times the number of rows (`scale` in `ridge`)."""


def positions_of(objects: Sequence[PlacedObject]) -> Tensor:
    """Positions of objects [object, axis], in paces."""
    return torch.tensor([[obj.x, obj.y] for obj in objects]).double()


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """Weights [feature, axis] of the ridge regression of y [row, axis] on x [row, feature].

    x and y are centred first.

    Leave-one-out residuals are r / (1 - h), with h the diagonal of X (X'X + penalty)^-1 X'.
    """
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    scale = float(x.square().mean()) * len(x)
    best: tuple[float, Tensor] | None = None
    for penalty in PENALTIES:
        inverse = torch.linalg.inv(x.T @ x + penalty * scale * torch.eye(x.shape[1]).double())
        weights = inverse @ x.T @ y
        leverage = ((x @ inverse) * x).sum(dim=1, keepdim=True)
        error = float(((y - x @ weights) / (1 - leverage)).square().mean())
        if best is None or error < best[0]:
            best = (error, weights)
    assert best is not None
    return best[1]


def r2(predicted: Tensor, true: Tensor) -> float:
    """1 - squared error / variance, mean over axes; both arguments [row, axis]."""
    left = (predicted - true).square().sum(dim=0)
    return float((1 - left / (true - true.mean(dim=0)).square().sum(dim=0)).mean())
