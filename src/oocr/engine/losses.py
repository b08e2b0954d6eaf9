"""Losses at the wanted rows, for one arm or for several stacked ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.models.language_model import LanguageModel


def batch_loss(
    model: LanguageModel, batch: Batch, rows: Float[Tensor, "row d_model"]
) -> Float[Tensor, ""]:
    """Nats per item: of whole answers over the vocabulary, or of the right option.

    Args:
        model: for final norm and LM head.
        batch: its targets.
        rows: the last block's output at `batch.rows`.
    """
    return stacked_losses(model, [batch], rows[None])[0]


def stacked_losses(
    model: LanguageModel, batches: Sequence[Batch], rows: Float[Tensor, "arm row d_model"]
) -> Float[Tensor, " arm"]:
    """`batch_loss` of each arm; the LM head, dear in a small model, is read once for all.

    Args:
        model: for final norm and LM head.
        batches: per arm, with its targets; their wanted rows are the same.
        rows: the last block's output at those rows, per arm.
    """
    totals = [rows.new_zeros((), dtype=torch.float32) for _ in batches]
    if any(len(batch.target_ids) for batch in batches):
        at = [batch.target_rows + arm * rows.shape[1] for arm, batch in enumerate(batches)]
        ids = [batch.target_ids for batch in batches]
        logp = model.anatomy.token_logps(rows.flatten(0, 1), torch.cat(at), torch.cat(ids))
        for arm, picked in enumerate(torch.split(logp, [len(one) for one in ids])):
            totals[arm] = totals[arm] - (batches[arm].target_weights * picked).sum()
    for arm, batch in enumerate(batches):
        if len(batch.option_ids):
            scores = option_scores(model, batch, rows[arm])
            totals[arm] = totals[arm] + F.cross_entropy(scores, batch.option_right, reduction="sum")
    return torch.stack([total / one.items for total, one in zip(totals, batches, strict=True)])


def option_scores(
    model: LanguageModel, batch: Batch, rows: Float[Tensor, "row d_model"]
) -> Float[Tensor, "choice option"]:
    """Logits of each choice's options; -inf where a choice has fewer."""
    logits = model.anatomy.readout(rows, batch.option_tokens).float()
    scores = logits[batch.option_rows[:, None], batch.option_places]
    return scores.masked_fill(batch.option_ids < 0, float("-inf"))
