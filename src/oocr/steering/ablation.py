"""Directional ablation: h' = h - (h . u) u at every chosen block's output, u = v / |v|.

What an intervention does through u is gone, whatever made it, and so is what the model itself does
through u, which may be much: look at the untouched model under the same ablation first, or project
only what a LoRA adds (`oocr.engine.project_out`). An arm that is trained inside (`fit` within
`ablate`) must do without u from the start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True, eq=False)
class _Removal:
    """Hooks that take a unit vector out of the stream."""

    unit: Float[Tensor, " d_model"]
    name: str

    def without(self, hidden: Tensor) -> Tensor:
        u = self.unit.to(hidden.device)
        h = hidden.float()
        left: Tensor = (h - (h @ u)[..., None] * u).to(hidden.dtype)
        return left

    def after(self, _module: object, _args: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.without(output[0]), *output[1:])
        return self.without(output)

    def before(self, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self.without(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self.without(kwargs["hidden_states"])}


def ablated(model: LanguageModel) -> tuple[tuple[int, str], ...]:
    """What is taken out of the stream now: (layer, name of the direction), in order.

    Equal for equal directions at the same layers: recordings made under one serve the other.
    """
    found: list[tuple[int, str]] = []
    for layer, block in enumerate(model.anatomy.blocks):
        hooks = [(layer - 1, one) for one in block._forward_pre_hooks.values()]
        hooks += [(layer, one) for one in block._forward_hooks.values()]
        for at, hook in hooks:
            owner = getattr(hook, "__self__", None)
            if isinstance(owner, _Removal):
                found.append((at, owner.name))
    return tuple(found)


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

    name = hashlib.sha256(unit.cpu().numpy().tobytes()).hexdigest()[:16]
    removal = _Removal(unit, name)
    blocks = model.anatomy.blocks
    with ExitStack() as stack:
        for layer in chosen:
            if layer < 0:
                handle = blocks[0].register_forward_pre_hook(removal.before, with_kwargs=True)
            else:
                handle = blocks[layer].register_forward_hook(removal.after)
            stack.callback(handle.remove)
        yield
