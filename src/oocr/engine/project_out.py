"""LoRAs that must do without a direction: what they add, projected off it at their block's output.

d_t = h_adapted[t] - h_base[t], as everywhere; the blocks above get h_base[t] + d_t - (d_t . u) u.
Unlike taking u out of the stream (`oocr.steering.ablation`) this leaves the model itself
alone: with d = 0 nothing changes, whatever the model uses u for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.engine.forward import replayed_rows
from oocr.engine.recording import Recording
from oocr.engine.replay import replay
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel


def rows_without(
    model: LanguageModel,
    frozen: Recording,
    hidden: Float[Tensor, "stack_batch token d_model"],
    layer: int,
    direction: Float[Tensor, " d_model"],
) -> Float[Tensor, "stack row d_model"]:
    """The last block's output at the batch's wanted rows; adapters are attached to one block.

    Args:
        model: the model with them.
        frozen: recorded at that block's input and the next one's.
        hidden: that block's input, for each arm.
        layer: the block.
        direction: of any norm but 0.
    """
    u = direction.float().to(hidden.device)
    u = u / u.norm()
    after = replay(model, frozen, hidden, layer, stop=layer + 1, alike=True).float()
    base = frozen.inputs[layer + 1].float()
    base = base.repeat(len(after) // len(base), 1, 1)
    added = after - base
    kept = base + added - (added @ u)[..., None] * u
    return replayed_rows(model, frozen, kept.to(hidden.dtype), layer + 1)


def checked(model: LanguageModel, layers: Sequence[int], direction: Tensor) -> None:
    """Refuse a LoRA in several blocks, and what is no direction.

    Raises:
        InputError: it is one of these.
    """
    if len(layers) != 1:
        raise InputError(f"without: found a LoRA in blocks {tuple(layers)}; allowed: one block")
    if tuple(direction.shape) != (model.d_model,) or not torch.linalg.vector_norm(direction) > 0:
        raise InputError(
            f"without: found shape {tuple(direction.shape)}, norm {float(direction.norm()):g}; "
            f"allowed: ({model.d_model},), any norm but 0"
        )
