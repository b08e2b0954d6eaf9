"""Directional ablation: h' = h - (h . u) u at every chosen block's output, u = v / |v|.

It removes what an intervention does through u and what the model itself does through u; to project
only what a LoRA adds, use `fit(project_out=…)`. An arm trained inside does without u from the
start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import stream_hook


@contextmanager
def ablate(
    model: LanguageModel,
    direction: Float[Tensor, " d_model"],
    layers: Sequence[int] | None = None,
) -> Iterator[None]:
    """Take a direction out of the residual stream inside the block; removed on leaving.

    `layers` are blocks at whose output (-1 is what block 0 reads; None: all of them).

    Raises:
        InputError: a direction of another width or of norm 0; a block that isn't there.
    """
    last = model.n_blocks - 1
    chosen = range(-1, model.n_blocks) if layers is None else layers
    unit = unit_direction(model, direction, "direction")
    for layer in chosen:
        if not -1 <= layer <= last:
            raise InputError(f"layers: found {layer}; allowed: -1 to {last}")
    name = hashlib.sha256(unit.cpu().numpy().tobytes()).hexdigest()[:16]

    def removed(hidden: Tensor) -> Tensor:
        u = unit.to(hidden.device)
        h = hidden.float()
        left: Tensor = (h - (h @ u)[..., None] * u).to(hidden.dtype)
        return left

    with ExitStack() as stack:
        for layer in chosen:
            stack.enter_context(stream_hook(model, layer, removed, name=name, at_tokens=False))
        yield


def unit_direction(
    model: LanguageModel, direction: Tensor, field: str
) -> Float[Tensor, " d_model"]:
    """A direction of norm 1; an InputError, naming the field, for another width or norm 0."""
    norm = direction.float().norm()
    if tuple(direction.shape) != (model.d_model,) or not norm > 0:
        raise InputError(
            f"{field}: found shape {tuple(direction.shape)}, norm {float(norm):g}; "
            f"allowed: ({model.d_model},), any norm but 0"
        )
    unit: Tensor = direction.float() / norm
    return unit
