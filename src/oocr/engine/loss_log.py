"""Losses of arms while they train, read off the device only now and then."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from oocr.errors import InputError

Progress = Callable[[int, float], None]
"""Called after each step with the step's number and its loss."""


class LossLog:
    """Losses of arms that are trained side by side, read off the device now and then.

    Args:
        names: of the arms, for errors.
        batches: how many batches there are.
        order: the first arm's batches at each step.
        on_step: told of its losses.
    """

    def __init__(
        self,
        names: Sequence[str],
        batches: int,
        order: Sequence[Sequence[int]],
        on_step: Progress | None,
    ) -> None:
        self.names, self.batches, self.order, self.on_step = names, batches, order, on_step
        self.waiting: list[Tensor] = []
        self.seen: list[list[float]] = [[] for _ in names]
        self.latest: dict[int, float] = {}

    def add(self, loss: Tensor) -> None:
        """The arms' losses before a step; not read yet."""
        self.waiting.append(loss)

    def read(self) -> None:
        """Read those that wait.

        Raises:
            InputError: one is not finite.
        """
        for row in torch.stack(self.waiting).tolist():
            step = len(self.seen[0]) + 1
            for name, own, one in zip(self.names, self.seen, row, strict=True):
                own.append(one)
                if not math.isfinite(one):
                    raise InputError(f"{name}: the loss became {one} at step {step}")
            for batch in self.order[step - 1]:
                self.latest[batch] = row[0]
            if self.on_step:
                self.on_step(step, row[0])
        self.waiting.clear()

    def below(self, until: float) -> bool:
        """Whether every batch was seen, and the mean of their latest losses is below a value."""
        mean = sum(self.latest.values()) / len(self.latest)
        return len(self.latest) == self.batches and mean < until
