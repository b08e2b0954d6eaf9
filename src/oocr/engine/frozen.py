"""The frozen prefix: what steering at block L from token p on cannot change is computed once.

Recording runs the model once and keeps, for a batch, the input of chosen blocks (the prefix in
depth), the keys and values that every later block made (the prefix in time), and all else that
each block was called with (masks, rotary tables), whatever the family calls it. Replaying calls
the blocks from `start` on, for the tokens from `first` on only.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.models.language_model import LanguageModel

_CACHE_NAMES = ("past_key_values", "past_key_value", "layer_past")


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


class _Enough(Exception):  # noqa: N818
    """Ends a recording pass early."""


@torch.no_grad()
def record(
    model: LanguageModel,
    batch: Batch,
    starts: Collection[int],
    *,
    cache: bool = True,
    stop: int | None = None,
) -> Frozen:
    """Run the untouched model over a batch and keep what replays from `starts` need.

    Args:
        model: the model; whatever is attached to it now is part of what is recorded.
        batch: the tokens.
        starts: blocks from which will be replayed (n_blocks: only final norm and head).
        cache: also keep keys and values, for replays that begin at a later token.
        stop: nothing from this block on will be replayed, so the pass ends before it.
    """
    from transformers import DynamicCache

    blocks = model.anatomy.blocks
    lowest = min(starts)
    inputs: dict[int, Tensor] = {}
    calls: dict[int, dict[str, Any]] = {}

    def before(index: int) -> Any:
        def hook(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if index == stop:
                raise _Enough
            rest = {**dict(zip(_parameters(model, index), args, strict=False)), **kwargs}
            hidden = rest.pop("hidden_states")
            if index in starts:
                inputs[index] = hidden.detach()
            calls[index] = rest

        return hook

    def after(_module: object, _args: object, output: Any) -> None:
        inputs[len(blocks)] = hidden_of(output).detach()

    def enough(_module: object, _args: object) -> None:
        raise _Enough  # the LM head, dear in a small model, is not wanted here

    handles = [
        blocks[index].register_forward_pre_hook(before(index), with_kwargs=True)
        for index in range(lowest, len(blocks))
    ]
    if len(blocks) in starts:
        handles.append(blocks[-1].register_forward_hook(after))
    handles.append(model.anatomy.final_norm.register_forward_pre_hook(enough))
    past = DynamicCache() if cache else None  # without a config: full length in every block
    try:
        model.hf(
            input_ids=batch.ids,
            attention_mask=batch.mask.long(),
            position_ids=batch.positions,
            use_cache=cache,
            past_key_values=past,
            logits_to_keep=1,
        )
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    keys_values: dict[int, tuple[Tensor, Tensor]] = {}
    if past is not None:
        for index in range(lowest, len(blocks) if stop is None else stop):
            keys, values = past.layers[index].keys, past.layers[index].values
            assert keys is not None
            assert values is not None
            keys_values[index] = (keys, values)
    for index, call in calls.items():
        calls[index] = {
            name: _explicit_mask(batch, value) if name == "attention_mask" else value
            for name, value in call.items()
            if name not in (*_CACHE_NAMES, "use_cache", "cache_position")
        }
    return Frozen(batch, inputs, calls, keys_values)


Recordings = dict[tuple[object, ...], Frozen]
"""Recordings by what was recorded: start blocks and token ids."""


def record_shared(
    model: LanguageModel, batch: Batch, starts: Collection[int], known: Recordings
) -> Frozen:
    """`record`, unless the same tokens were recorded before: then only what is asked differs."""
    ids = batch.ids.cpu()
    key = (
        *sorted(starts),
        tuple(ids.shape),
        ids.numpy().tobytes(),
        batch.mask.cpu().numpy().tobytes(),
    )
    if key not in known:
        known[key] = record(model, batch, starts)
    return replace(known[key], batch=batch)


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


def _parameters(model: LanguageModel, index: int) -> list[str]:
    return list(inspect.signature(model.anatomy.blocks[index].forward).parameters)


def _cache_name(model: LanguageModel, index: int) -> str:
    names = _parameters(model, index)
    return next((name for name in _CACHE_NAMES if name in names), _CACHE_NAMES[0])


def hidden_of(output: Any) -> Tensor:
    """The residual stream out of what a block returns (a tensor, or a tuple that begins so)."""
    hidden = output[0] if isinstance(output, tuple) else output
    assert isinstance(hidden, Tensor)
    return hidden


def _explicit_mask(batch: Batch, mask: Any) -> Any:
    """The mask a block got, or the causal one written out.

    Attention over fewer queries than keys aligns an implicit causal mask to the wrong end.
    """
    if mask is not None:
        return mask
    size = batch.ids.shape[1]
    causal = torch.ones(size, size, dtype=torch.bool, device=batch.ids.device).tril()
    return (
        causal & batch.mask[:, None, None, :] if not bool(batch.mask.all()) else causal[None, None]
    )


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
