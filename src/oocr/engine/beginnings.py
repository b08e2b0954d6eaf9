"""Recordings of only those columns that replays will read.

A vector that first acts at column c reads the keys and values of the c columns before it, in the
blocks above; a LoRA, which acts everywhere, reads none. So above the highest start only these
columns are run; the results of the other columns, most of the pass in a deep model, would not be
used. Masks and rotary tables of the whole texts come from a pass in which those blocks compute
nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from oocr.data.batches import Batch
from oocr.engine.recording import Recording, record
from oocr.engine.replay import BlockKeys, call_block
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import PassEnded, attached, reuses_keys

MOST = 0.5
"""Share of the columns from which on the whole pass costs no more."""


@torch.no_grad()
def record_beginning(
    model: LanguageModel, batch: Batch, starts: Collection[int], columns: int | None
) -> Recording:
    """`record`, with keys and values of the first `columns` tokens at least (None: of all)."""
    top, width = max(starts), batch.ids.shape[1]
    apart = reuses_keys(model) and model.calls_ahead and not attached(model)
    if columns is None or not apart or columns > MOST * width:
        return record(model, batch, starts)
    if not 0 < top < model.n_blocks:
        return record(model, batch, starts)
    recording = record(model, batch, starts, cache=columns > 0, hollow=top)
    if columns == 0:
        return recording
    pairs = {
        index: (keys[:, :, :columns], values[:, :, :columns])
        for index, (keys, values) in recording.keys_values.items()
    }
    hidden = recording.inputs[top][:, :columns]
    known: dict[Any, Any] = {}  # blocks share masks and tables
    for index in range(top, model.n_blocks):
        call = {
            name: _cut(value, name, width, columns, known)
            for name, value in recording.calls[index].items()
        }
        keys = BlockKeys(only=index == model.n_blocks - 1)
        with suppress(PassEnded):
            hidden = call_block(model, index, hidden, call, keys)
        pairs[index] = keys.seen
    return replace(recording, keys_values=pairs)


def _cut(value: Any, name: str, width: int, columns: int, known: dict[Any, Any]) -> Any:
    """A block's argument for the first columns."""
    if isinstance(value, tuple):
        return tuple(_cut(part, "", width, columns, known) for part in value)
    if not isinstance(value, Tensor):
        return value
    if value not in known:  # a tensor is equal to itself only
        if name == "attention_mask":
            known[value] = value[:, :, :columns, :columns]
        else:
            along = value.ndim >= 2 and value.shape[1] == width
            known[value] = value[:, :columns] if along else value
    return known[value]
