"""The frozen prefix: what steering at block L from token p on cannot change is computed once.

A recording (`oocr.engine.record`) keeps, for a batch, the input of chosen blocks (the prefix in
depth), the keys and values that every later block made (the prefix in time), and all else that
each block was called with (masks, rotary tables), whatever the family calls it. Replaying calls
the blocks from `start` on, for the tokens from `first` on only.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.models.language_model import LanguageModel

CACHE_NAMES = ("past_key_values", "past_key_value", "layer_past")
"""What families call a block's cache argument."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """One recorded batch.

    Attributes:
        batch: the tokens it was recorded on.
        inputs: block index -> its input; index n_blocks is the last block's output.
        calls: block index -> the keyword arguments it was called with.
        keys_values: block index -> (keys, values), each [batch, head, token, d_head].
    """

    batch: Batch
    inputs: dict[int, Float[Tensor, "batch token d_model"]]
    calls: dict[int, dict[str, Any]]
    keys_values: dict[int, tuple[Tensor, Tensor]]

    @property
    def nbytes(self) -> int:
        """Bytes of what was recorded (masks and tables left out)."""
        pairs = [one for pair in self.keys_values.values() for one in pair]
        return sum(one.nbytes for one in (*self.inputs.values(), *pairs))


def replay(
    model: LanguageModel,
    frozen: Frozen,
    hidden: Float[Tensor, "stack_batch tail d_model"],
    start: int,
    first: int = 0,
    stop: int | None = None,
) -> Float[Tensor, "stack_batch tail d_model"]:
    """Run blocks `start` to `stop` - 1 for the tokens from `first` on; return the last output.

    Args:
        model: the model that was recorded (an adapter may now be attached from `start` on).
        frozen: the recording.
        hidden: input of block `start` for the tokens from `first` on. Several arms may be stacked
            along the first axis: [arm * batch, …], arms outermost.
        start: first block to run.
        first: first token column to run; earlier ones come from the recording.
        stop: block to stop before; None: run them all.
    """
    stack = hidden.shape[0] // frozen.batch.size
    for index in range(start, len(model.anatomy.blocks) if stop is None else stop):
        call = {
            name: _tail(value, name, frozen.batch, first, stack)
            for name, value in frozen.calls[index].items()
        }
        if first > 0:
            call[_cache_name(model, index)] = _Prefix(frozen, first, stack)
        hidden = hidden_of(model.anatomy.blocks[index](hidden, **call))
    return hidden


class _Prefix:
    """A cache that joins recorded keys and values of earlier tokens to the new ones."""

    is_compileable = False

    def __init__(self, frozen: Frozen, first: int, stack: int) -> None:
        self.frozen, self.first, self.stack = frozen, first, stack

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        old_keys, old_values = self.frozen.keys_values[layer]
        return self._join(old_keys, keys), self._join(old_values, values)

    def _join(self, old: Tensor, new: Tensor) -> Tensor:
        old = old[:, :, : self.first]
        if self.stack > 1:
            old = old.repeat(self.stack, 1, 1, 1)
        return torch.cat([old, new], dim=2)

    def get_seq_length(self, *_args: Any) -> int:
        return self.first


def parameters_of(model: LanguageModel, index: int) -> list[str]:
    """Names of a block's arguments, in order."""
    return list(inspect.signature(model.anatomy.blocks[index].forward).parameters)


def _cache_name(model: LanguageModel, index: int) -> str:
    names = parameters_of(model, index)
    return next((name for name in CACHE_NAMES if name in names), CACHE_NAMES[0])


def hidden_of(output: Any) -> Tensor:
    """The residual stream out of what a block returns (a tensor, or a tuple that begins so)."""
    hidden = output[0] if isinstance(output, tuple) else output
    assert isinstance(hidden, Tensor)
    return hidden


def _tail(value: Any, name: str, batch: Batch, first: int, stack: int) -> Any:
    """A block's argument for the tokens from `first` on, repeated for stacked arms."""
    if isinstance(value, tuple):
        return tuple(_tail(one, name, batch, first, stack) for one in value)
    if not isinstance(value, Tensor):
        return value
    if name == "attention_mask":
        value = value[:, :, first:]
    elif value.ndim >= 2 and value.shape[1] == batch.ids.shape[1]:
        value = value[:, first:]  # rotary tables, position ids: [batch or 1, token, …]
    if stack > 1 and value.shape[0] == batch.size and batch.size > 1:
        value = value.repeat(stack, *[1] * (value.ndim - 1))
    return value
