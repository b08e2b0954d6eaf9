"""Losses at the wanted rows of one arm or several stacked arms, and the log of training losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel

OnStep = Callable[[int, float], None]
"""Called after each step with the step's number and its loss."""


def batch_loss(
    model: LanguageModel, batch: Batch, rows: Float[Tensor, "row d_model"]
) -> Float[Tensor, ""]:
    """Nats per example: of whole answers over the vocabulary, or of the right option."""
    return stacked_losses(model, [batch], rows[None])[0]


def stacked_losses(
    model: LanguageModel, batches: Sequence[Batch], rows: Float[Tensor, "arm row d_model"]
) -> Float[Tensor, " arm"]:
    """`batch_loss` of each arm, with one read of the LM head; batches have the same wanted rows."""
    totals = [rows.new_zeros((), dtype=torch.float32) for _ in batches]
    if any(len(batch.target_ids) for batch in batches):
        at = [batch.target_rows + arm * rows.shape[1] for arm, batch in enumerate(batches)]
        ids = [batch.target_ids for batch in batches]
        logp = model.anatomy.token_logps(rows.flatten(0, 1), torch.cat(at), torch.cat(ids))
        for arm, picked in enumerate(torch.split(logp, [len(tokens) for tokens in ids])):
            totals[arm] = totals[arm] - (batches[arm].target_weights * picked).sum()
    for arm, batch in enumerate(batches):
        if len(batch.option_ids):
            scores = option_scores(model, batch, rows[arm])
            totals[arm] = totals[arm] + F.cross_entropy(scores, batch.option_right, reduction="sum")
    return torch.stack([total / batch.items for total, batch in zip(totals, batches, strict=True)])


def option_scores(
    model: LanguageModel, batch: Batch, rows: Float[Tensor, "row d_model"]
) -> Float[Tensor, "choice option"]:
    """Logits of each choice's options; -inf where a choice has fewer."""
    logits = model.anatomy.readout(rows, batch.option_tokens).float()
    scores = logits[batch.option_rows[:, None], batch.option_places]
    return scores.masked_fill(batch.option_ids < 0, float("-inf"))


@dataclass(slots=True)
class LossLog:
    """Losses of arms trained side by side; read from the device only at intervals."""

    names: Sequence[str]
    batches: int
    order: Sequence[Sequence[int]]  # the batches of each step
    on_step: OnStep | None  # called with the first arm's loss
    waiting: list[Tensor] = field(default_factory=list[Tensor])
    steps: list[list[float]] = field(default_factory=list[list[float]])  # by arm
    latest: dict[int, float] = field(default_factory=dict[int, float])

    def add(self, loss: Tensor) -> None:
        """The arms' losses before a step; not read yet."""
        self.waiting.append(loss)

    def read(self) -> None:
        """Read the losses not read yet; an InputError if one is not finite."""
        for row in torch.stack(self.waiting).tolist():
            self.steps.append(row)
            step = len(self.steps)
            for name, loss in zip(self.names, row, strict=True):
                if not math.isfinite(loss):
                    raise InputError(f"{name}: the loss became {loss} at step {step}")
            for batch in self.order[step - 1]:
                self.latest[batch] = row[0]
            if self.on_step:
                self.on_step(step, row[0])
        self.waiting.clear()

    def below(self, until: float) -> bool:
        """Whether every batch was used, and the mean of their latest losses is below a value."""
        mean = sum(self.latest.values()) / len(self.latest)
        return len(self.latest) == self.batches and mean < until
