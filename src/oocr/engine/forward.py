"""Residual streams and logits under an intervention, through the frozen prefix."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.frozen import Frozen
from oocr.engine.record import record
from oocr.engine.replay import replay
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


@dataclass(frozen=True, slots=True)
class Places:
    """Where vectors act in a recorded batch, worked out once so that no step waits for a device.

    Attributes:
        first: the first token column that has to be run.
        chosen: True at the tokens that are steered, from that column on.
        alike: the batch's common beginning is steered alike in all its sequences.
    """

    first: int
    chosen: Bool[Tensor, "batch tail"]
    alike: bool

    @staticmethod
    def of(batch: Batch, chosen: Bool[Tensor, "batch token"], *, in_time: bool) -> Places:
        """The places of a selection (see `oocr.interventions.positions.select`).

        Args:
            batch: the tokens.
            chosen: the selection.
            in_time: keys and values of earlier tokens are recorded, so that they need not be run.
        """
        columns = chosen.any(dim=0).nonzero()
        # Where nothing is chosen one column is still run, so that the logits come out.
        first = int(columns[0]) if len(columns) else batch.ids.shape[1] - 1
        first = min(first, batch.first_row) if in_time else 0
        begin = chosen[:, : batch.prefix]
        alike = bool((begin == begin[:1]).all())
        return Places(first, chosen[:, first:], alike)


def steered_rows(
    model: LanguageModel,
    frozen: Frozen,
    start: int,
    directions: Float[Tensor, "stack d_model"],
    places: Places,
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows, with each direction added.

    Args:
        model: the model.
        frozen: recorded with block `start`.
        start: the block whose input the directions are added to.
        directions: one per stacked arm.
        places: where.
    """
    tail = frozen.inputs[start][:, places.first :]
    push = places.chosen[:, :, None] * directions.to(tail.dtype)[:, None, None, :]
    hidden = (tail + push).flatten(0, 1)
    return replayed_rows(model, frozen, hidden, start, places.first, alike=places.alike)


def replayed_rows(
    model: LanguageModel,
    frozen: Frozen,
    hidden: Float[Tensor, "stack_batch tail d_model"],
    start: int,
    first: int = 0,
    *,
    alike: bool = True,
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows, in a replay of `hidden` from `start`."""
    keep = max(first, frozen.batch.first_row)
    hidden = replay(model, frozen, hidden, start, first, keep=keep, alike=alike)
    return rows_of(hidden, frozen.batch, keep)


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
            return replayed_rows(model, frozen, frozen.inputs[start], start)
    site = interventions[0]
    for one in interventions:
        check_fits(model, one)
        if (one.layer, one.positions) != (site.layer, site.positions):
            raise InputError("stacked vectors must share their layer and positions")
    start = start_block(site)
    chosen = select(batch, site.positions, everywhere=everywhere)
    directions = torch.stack([one.direction for one in interventions]).to(model.device)
    places = Places.of(batch, chosen, in_time=bool(frozen.keys_values))
    return steered_rows(model, frozen, start, directions, places)


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
