"""Residual streams and logits under an intervention, through the frozen prefix."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.record import record
from oocr.engine.recording import Recording, hidden_of
from oocr.engine.replay import replay
from oocr.errors import InputError
from oocr.models.anatomy import mlp_of
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, attach_adapter
from oocr.steering.hooks import runs_apart
from oocr.steering.positions import select_each
from oocr.steering.vectors import SteeringVector, Vector, added, check_fits

Intervention = Vector | Adapter


def start_block(intervention: Intervention | SteeringVector) -> int:
    """The first block whose computation the intervention changes."""
    if isinstance(intervention, Adapter):
        return min(intervention.layers)
    return intervention.layer + (intervention.site == "block")


@dataclass(frozen=True, slots=True)
class SteeringMask:
    """Where vectors act in a recorded batch, worked out once so that no step waits for a device.

    Attributes:
        first: the first token column that has to be run.
        chosen: True at the tokens that are steered, from that column on (of joined spans each on
            a last axis).
        alike: the batch's common beginning is steered alike in all its sequences.
    """

    first: int
    chosen: Bool[Tensor, "batch tail *span"]
    alike: bool

    @staticmethod
    def of(
        batch: Batch, chosen: Bool[Tensor, "batch token *span"], *, in_time: bool
    ) -> SteeringMask:
        """The places of a selection (see `oocr.steering.positions.select_each`).

        Args:
            batch: the tokens.
            chosen: the selection.
            in_time: keys and values of earlier tokens are recorded, so that they need not be run.
        """
        columns = (
            chosen.flatten(2).any(dim=2).any(dim=0).nonzero()
            if chosen.ndim > 2
            else (chosen.any(dim=0).nonzero())
        )
        # Where nothing is chosen one column is still run, so that the logits come out.
        first = int(columns[0]) if len(columns) else batch.ids.shape[1] - 1
        first = min(first, batch.first_row) if in_time else 0
        begin = chosen[:, : batch.prefix]
        alike = bool((begin == begin[:1]).all())
        return SteeringMask(first, chosen[:, first:], alike)


def steered_rows(
    model: LanguageModel,
    frozen: Recording,
    site: Vector | SteeringVector,
    directions: Float[Tensor, "stack *span d_model"],
    places: SteeringMask,
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows, with each direction added.

    Args:
        model: the model.
        frozen: recorded with the site's start block.
        site: at which layer's block or MLP.
        directions: one per stacked arm.
        places: where.
    """
    start = start_block(site)
    tail = frozen.inputs[start][:, places.first :]
    push = added(places.chosen, directions.to(tail.dtype))
    if site.site == "mlp":
        start += 1
        hidden = _through_mlp(model, frozen, site.layer, tail, push, places.first)
    else:
        hidden = tail + push
    hidden = hidden.flatten(0, 1)
    return replayed_rows(model, frozen, hidden, start, places.first, alike=places.alike)


def _through_mlp(
    model: LanguageModel, frozen: Recording, layer: int, tail: Tensor, push: Tensor, first: int
) -> Float[Tensor, "stack batch tail d_model"]:
    """A block's output with something added to its MLP's output.

    Nothing below the MLP's end changes, so the block runs once for all arms and without gradient:
    h_out + (norm(m + push) - norm(m)), m the MLP's untouched output.
    """
    mlp, seen = mlp_of(model, layer), list[Tensor]()

    def look(_module: object, _args: object, output: object) -> None:
        seen.append(hidden_of(output).detach().clone())  # some families add to it in place

    handle = mlp.module.register_forward_hook(look)
    try:
        with torch.no_grad():
            out = replay(model, frozen, tail, layer, first, stop=layer + 1)
            plain = seen[-1].reshape(out.shape)
            joined = mlp.joins(plain)
    finally:
        handle.remove()
    return out + (mlp.joins(plain + push) - joined)


def replayed_rows(
    model: LanguageModel,
    frozen: Recording,
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
    frozen: Recording,
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
        if one.where != site.where:
            raise InputError("stacked vectors must share their layer, site and positions")
    chosen = select_each(batch, site.positions, everywhere=everywhere)
    directions = torch.stack([one.direction for one in interventions]).to(model.device)
    places = SteeringMask.of(batch, chosen, in_time=bool(frozen.keys_values) and runs_apart(model))
    return steered_rows(model, frozen, site, directions, places)


def plain_rows(
    model: LanguageModel, batch: Batch, intervention: Intervention | None
) -> Float[Tensor, "row d_model"]:
    """The same rows by one plain hooked forward pass: slow, and the reference for the rest."""
    context: AbstractContextManager[None]
    if isinstance(intervention, Adapter):
        context = attach_adapter(model, intervention)
    elif isinstance(intervention, Vector):
        context = intervention.on(model, select_each(batch, intervention.positions))
    else:
        context = nullcontext()
    with context:
        frozen = record(model, batch, [model.n_blocks], cache=False)
    return frozen.inputs[model.n_blocks][batch.rows[:, 0], batch.rows[:, 1]]
