"""Directional ablation: h' = h - (h . u) u at every chosen block's output, u = v / |v|.

What an intervention does through u is gone, whatever made it: is the direction necessary?
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel


@contextmanager
def ablate(
    model: LanguageModel,
    direction: Float[Tensor, " d_model"],
    layers: Sequence[int] | None = None,
) -> Iterator[None]:
    """Take a direction out of the residual stream while the block runs; removed on leaving.

    Args:
        model: the model; adapters may be attached, before or inside.
        direction: of any norm but 0.
        layers: blocks at whose output; -1 is what block 0 reads; None: all of them.

    Raises:
        InputError: a direction of another width or of norm 0; a block that isn't there.
    """
    last = model.n_blocks - 1
    chosen = range(-1, model.n_blocks) if layers is None else layers
    if tuple(direction.shape) != (model.d_model,):
        raise InputError(
            f"direction: found shape {tuple(direction.shape)}; allowed: ({model.d_model},)"
        )
    norm = direction.float().norm()
    if not norm > 0:
        raise InputError("direction: found norm 0, which names no direction to take out")
    for layer in chosen:
        if not -1 <= layer <= last:
            raise InputError(f"layers: found {layer}; allowed: -1 to {last}")
    unit = direction.float() / norm

    def without(hidden: Tensor) -> Tensor:
        u = unit.to(hidden.device)
        h = hidden.float()
        left: Tensor = (h - (h @ u)[..., None] * u).to(hidden.dtype)
        return left

    def after(_module: object, _args: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return (without(output[0]), *output[1:])
        return without(output)

    def before(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (without(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": without(kwargs["hidden_states"])}

    blocks = model.anatomy.blocks
    with ExitStack() as stack:
        for layer in chosen:
            if layer < 0:
                handle = blocks[0].register_forward_pre_hook(before, with_kwargs=True)
            else:
                handle = blocks[layer].register_forward_hook(after)
            stack.callback(handle.remove)
        yield
