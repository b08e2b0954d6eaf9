"""The frozen prefix: what steering at block L from token p on cannot change is computed once.

A recording (`oocr.engine.record`) keeps, for a batch, the input of chosen blocks (the prefix in
depth), the keys and values that every later block made (the prefix in time), and all else that
each block was called with (masks, rotary tables), whatever the family calls it. Replaying
(`oocr.engine.replay`) calls the blocks from `start` on, for the tokens from `first` on only.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from oocr.data.batches import Batch
from oocr.models.language_model import LanguageModel

CACHE_NAMES = ("past_key_values", "past_key_value", "layer_past")
"""What families call a block's cache argument."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded batch.

    Attributes:
        batch: the tokens it was recorded on.
        inputs: block index -> its input; index n_blocks is the last block's output.
        calls: block index -> the keyword arguments it was called with.
        keys_values: block index -> (keys, values), each [batch, head, token, d_head].
        views: what replays made of `calls`, by which tokens and how many arms; kept for the next.
    """

    batch: Batch
    inputs: dict[int, Float[Tensor, "batch token d_model"]]
    calls: dict[int, dict[str, Any]]
    keys_values: dict[int, tuple[Tensor, Tensor]]
    views: dict[object, Any] = field(default_factory=dict[object, Any], compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of what was recorded (masks and tables left out)."""
        pairs = [one for pair in self.keys_values.values() for one in pair]
        return sum(one.nbytes for one in (*self.inputs.values(), *pairs))


def parameters_of(model: LanguageModel, index: int) -> list[str]:
    """Names of a block's arguments, in order."""
    return list(inspect.signature(model.anatomy.blocks[index].forward).parameters)


def cache_name(model: LanguageModel, index: int) -> str:
    """What a block calls its cache argument."""
    names = parameters_of(model, index)
    return next((name for name in CACHE_NAMES if name in names), CACHE_NAMES[0])


def hidden_of(output: Any) -> Tensor:
    """The residual stream out of what a block returns (a tensor, or a tuple that begins so)."""
    hidden = output[0] if isinstance(output, tuple) else output
    assert isinstance(hidden, Tensor)
    return hidden
