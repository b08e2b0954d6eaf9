"""Residual streams and logits under an intervention, through the frozen prefix."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.frozen import Frozen, replay
from oocr.engine.record import record
from oocr.errors import InputError
from oocr.interventions.adapters import Adapter, attach_adapter
from oocr.interventions.attach import attach_vector, check_fits
from oocr.interventions.positions import select
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel

Intervention = Vector | Adapter


def start_block(intervention: Intervention) -> int:
    """The first block whose computation the intervention changes."""
    if isinstance(intervention, Vector):
        return intervention.layer + 1
    return min(intervention.layers)


def steered_tail(
    frozen: Frozen,
    start: int,
    directions: Float[Tensor, "stack d_model"],
    chosen: Tensor,
) -> tuple[Float[Tensor, "stack_batch tail d_model"], int]:
    """The input of block `start` with each direction added at the chosen tokens.

    Returns:
        hidden: from the first chosen column on, one copy of the batch per direction.
        first: that column.
    """
    hidden = frozen.inputs[start]
    columns = chosen.any(dim=0).nonzero()
    # Where nothing is chosen one column is still run, so that the logits come out.
    first = int(columns[0]) if len(columns) else hidden.shape[1] - 1
    needed = int(frozen.batch.rows[:, 1].min()) if len(frozen.batch.rows) else first
    first = min(first, needed) if frozen.keys_values else 0
    tail = hidden[:, first:]
    push = chosen[:, first:, None] * directions.to(hidden.dtype)[:, None, None, :]
    return (tail + push).flatten(0, 1), first


def rows_of(hidden: Tensor, batch: Batch, first: int) -> Float[Tensor, "stack row d_model"]:
    """The residual streams at the batch's wanted rows, per stacked copy."""
    stacked = hidden.reshape(-1, batch.size, *hidden.shape[1:])
    return stacked[:, batch.rows[:, 0], batch.rows[:, 1] - first]


@torch.no_grad()
def final_rows(
    model: LanguageModel,
    frozen: Frozen,
    interventions: Sequence[Vector] | Adapter | None,
    *,
    everywhere: bool = True,
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows.

    Args:
        model: the model.
        frozen: recorded with the start blocks that are needed (n_blocks for None).
        interventions: vectors of one site, stacked; or one adapter; or None for the base.
        everywhere: refuse sequences in which a vector's positions select nothing.
    """
    batch = frozen.batch
    if interventions is None:
        return rows_of(frozen.inputs[model.n_blocks], batch, 0)
    if isinstance(interventions, Adapter):
        start = start_block(interventions)
        with attach_adapter(model, interventions):
            hidden = replay(model, frozen, frozen.inputs[start], start)
        return rows_of(hidden, batch, 0)
    site = interventions[0]
    for one in interventions:
        check_fits(model, one)
        if (one.layer, one.positions) != (site.layer, site.positions):
            raise InputError("stacked vectors must share their layer and positions")
    start = start_block(site)
    chosen = select(batch, site.positions, everywhere=everywhere)
    directions = torch.stack([one.direction for one in interventions]).to(model.device)
    hidden, first = steered_tail(frozen, start, directions, chosen)
    return rows_of(replay(model, frozen, hidden, start, first), batch, first)


def plain_rows(
    model: LanguageModel, batch: Batch, intervention: Intervention | None
) -> Float[Tensor, "row d_model"]:
    """The same rows by one plain hooked forward pass: slow, and the reference for the rest."""
    context: AbstractContextManager[None]
    if isinstance(intervention, Adapter):
        context = attach_adapter(model, intervention)
    elif isinstance(intervention, Vector):
        context = attach_vector(model, intervention, select(batch, intervention.positions))
    else:
        context = nullcontext()
    with context:
        frozen = record(model, batch, [model.n_blocks], cache=False)
    return frozen.inputs[model.n_blocks][batch.rows[:, 0], batch.rows[:, 1]]
