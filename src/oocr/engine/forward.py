"""The last block's output under an intervention, from a recording or by a plain pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.recording import Recording, record
from oocr.engine.replay import replay
from oocr.errors import InputError
from oocr.models.branches import mlp_of
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.hooks import hidden_of, hooked, reuses_keys, unit_direction
from oocr.steering.positions import select_each
from oocr.steering.vectors import SteeringVector, Vector, added, check_fits

Intervention = Vector | Adapter


def start_block(intervention: Intervention | SteeringVector) -> int:
    """The first block whose computation the intervention changes."""
    if isinstance(intervention, Adapter):
        return min(intervention.layers)
    return intervention.layer + (intervention.site == "block")


def first_column(batch: Batch, chosen: Bool[Tensor, "batch token"]) -> int:
    """The first token column that a pass must run, for steered tokens and for the wanted rows."""
    columns = chosen.any(dim=0).nonzero()
    # Without a steered token one column is still run, to get logits.
    return min(int(columns[0]) if len(columns) else batch.ids.shape[1] - 1, batch.first_row)


@dataclass(frozen=True, slots=True)
class SteeringMask:
    """Where vectors act in a recorded batch; computed once, so that no step waits for a device."""

    first: int  # the first token column that has to be run
    chosen: Bool[Tensor, "batch tail *span"]  # True at steered tokens, from that column on
    alike: bool  # shared columns are steered equally in all sequences that share them

    @staticmethod
    def of(
        batch: Batch, chosen: Bool[Tensor, "batch token *span"], *, in_time: bool
    ) -> SteeringMask:
        """The mask of a selection; `in_time`: earlier tokens' keys and values are recorded."""
        anywhere = chosen.any(dim=2) if chosen.ndim > 2 else chosen
        first = first_column(batch, anywhere) if in_time else 0
        alike = all(
            bool((mask == part.per_row(mask[part.rows])).all())
            for part in batch.shared
            for mask in (chosen[:, part.begin : part.end],)
        )
        return SteeringMask(first, chosen[:, first:], alike)


def steered_rows(
    model: LanguageModel,
    recording: Recording,
    site: Vector | SteeringVector,
    directions: Float[Tensor, "stack *span d_model"],
    mask: SteeringMask,
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows, with each arm's direction added."""
    start = start_block(site)
    tail = recording.inputs[start][:, mask.first :]
    push = added(mask.chosen, directions.to(tail.dtype)).to(tail.device)
    if site.site == "mlp":
        start += 1
        hidden = _through_mlp(model, recording, site.layer, tail, push, mask.first)
    else:
        hidden = tail + push
    hidden = hidden.flatten(0, 1)
    return replayed_rows(model, recording, hidden, start, mask.first, alike=mask.alike)


def _through_mlp(
    model: LanguageModel,
    recording: Recording,
    layer: int,
    tail: Tensor,
    pushes: Float[Tensor, "stack batch tail d_model"],
    first: int,
) -> Float[Tensor, "stack batch tail d_model"]:
    """A block's output with `added` added to its MLP's output, before any norm after the MLP."""

    def with_push(push: Tensor) -> Tensor:
        def add(_module: object, _args: object, output: Any) -> Any:
            hidden = hidden_of(output)
            moved = hidden + push.reshape(hidden.shape).to(hidden.device)
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        with hooked(mlp_of(model, layer).module.register_forward_hook(add)):
            return replay(model, recording, tail, layer, first, stop=layer + 1)

    return torch.stack([with_push(push) for push in pushes])


def replayed_rows(
    model: LanguageModel,
    recording: Recording,
    hidden: Float[Tensor, "stack_batch tail d_model"],
    start: int,
    first: int = 0,
    *,
    alike: bool = True,
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows, in a replay of `hidden` from `start`."""
    keep = max(first, recording.batch.first_row)
    hidden = replay(model, recording, hidden, start, first, keep=keep, alike=alike)
    return rows_of(hidden, recording.batch, keep)


def projected_rows(
    model: LanguageModel,
    recording: Recording,
    hidden: Float[Tensor, "stack_batch token d_model"],
    layer: int,
    u: Float[Tensor, " d_model"],
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the wanted rows, a direction projected out of a LoRA's change.

    With d = h_adapted - h_base at the output of the one adapted block, the blocks above get h_base
    + d - (d . u) u, |u| = 1. `hidden` is that block's input; the recording has it and the next
    one's.
    """
    after = replay(model, recording, hidden, layer, stop=layer + 1, alike=True).float()
    base = recording.inputs[layer + 1].float()
    base = base.repeat(len(after) // len(base), 1, 1)
    added, u = after - base, u.to(after.device)
    kept = base + added - (added @ u)[..., None] * u
    return replayed_rows(model, recording, kept.to(hidden.dtype), layer + 1)


def projected_out(
    model: LanguageModel, layers: Sequence[int], direction: Tensor
) -> Float[Tensor, " d_model"]:
    """The unit direction on the model's device; refuses a LoRA in several blocks, or norm 0."""
    if len(layers) != 1:
        raise InputError(f"project_out: found a LoRA in blocks {tuple(layers)}; allowed: one block")
    return unit_direction(model, direction, "project_out").to(model.device)


def rows_of(hidden: Tensor, batch: Batch, first: int) -> Float[Tensor, "stack row d_model"]:
    """The residual streams at the batch's wanted rows, per stacked copy, on the batch's device."""
    stacked = hidden.reshape(-1, batch.size, *hidden.shape[1:])
    rows = batch.rows.to(hidden.device)
    return stacked[:, rows[:, 0], rows[:, 1] - first].to(batch.rows.device)


@torch.no_grad()
def final_rows(
    model: LanguageModel,
    recording: Recording,
    interventions: Sequence[Vector] | Adapter | None,
    *,
    everywhere: bool = True,
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows.

    `interventions`: vectors of one site, stacked; one adapter; or None (the base). The recording
    has their start blocks (n_blocks for None). `everywhere` refuses sequences in which a vector's
    positions select nothing.
    """
    batch = recording.batch
    if interventions is None:
        return rows_of(recording.inputs[model.n_blocks], batch, 0)
    if isinstance(interventions, Adapter):
        start = start_block(interventions)
        with interventions.on(model):
            return replayed_rows(model, recording, recording.inputs[start], start)
    site = interventions[0]
    for vector in interventions:
        check_fits(model, vector)
        if vector.where != site.where:
            raise InputError("stacked vectors must share their layer, site and positions")
    chosen = select_each(batch, site.positions, everywhere=everywhere)
    directions = torch.stack([vector.direction for vector in interventions]).to(model.device)
    mask = SteeringMask.of(
        batch, chosen, in_time=bool(recording.keys_values) and reuses_keys(model)
    )
    return steered_rows(model, recording, site, directions, mask)


def plain_rows(
    model: LanguageModel,
    batch: Batch,
    intervention: Intervention | None,
    *,
    everywhere: bool = True,
) -> Float[Tensor, "row d_model"]:
    """The same rows by one plain hooked forward pass: slow; the reference for the others."""
    context: AbstractContextManager[None] = nullcontext()
    if isinstance(intervention, Vector):
        chosen = select_each(batch, intervention.positions, everywhere=everywhere)
        context = intervention.on(model, chosen)
    elif intervention is not None:
        context = intervention.on(model)
    with context:
        recording = record(model, batch, [model.n_blocks], cache=False)
    return rows_of(recording.inputs[model.n_blocks], batch, 0)[0]
