"""Forward hooks that change the hidden states of one site, always removed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from oocr.errors import InputError
from oocr.models.branches import mlp_of
from oocr.models.language_model import LanguageModel

Site = Literal["block", "mlp"]
"""A block's output, or its MLP's output before any norm that follows it."""

Change = Callable[[Tensor], Tensor]
"""New hidden states [batch, token, d_model] from those of one forward call."""


class PassEnded(Exception):  # noqa: N818
    """Raised by a hook to end a pass early, where nothing after it is needed."""


@contextmanager
def hooked(*handles: RemovableHandle, ends: bool = False) -> Iterator[None]:
    """Remove hooks on leaving, also by an error; with `ends` they may raise `PassEnded`."""
    try:
        yield
    except PassEnded:
        if not ends:
            raise
    finally:
        for handle in handles:
            handle.remove()


def hidden_of(output: Any) -> Tensor:
    """The residual stream in a block's output (a tensor, or a sequence that begins with it)."""
    hidden = output[0] if isinstance(output, tuple | list) else output
    assert isinstance(hidden, Tensor)
    return hidden


def changed_input(args: tuple[Any, ...], kwargs: dict[str, Any], change: Change) -> Any:
    """A block's arguments with changed hidden states: the return value of a pre-hook."""
    if args:
        return (change(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}


@dataclass(frozen=True, slots=True, eq=False)
class StreamHook:
    """One change of hidden states at a block (-1: at the input of block 0), as PyTorch calls it.

    Equal changes have equal names. `at_tokens`: it must know which tokens a call is about.
    """

    layer: int
    name: str
    at_tokens: bool
    change: Change

    def after(self, _module: object, _args: object, output: Any) -> Any:
        """A forward hook that changes the output of a block or an MLP."""
        if isinstance(output, tuple | list):
            return type(output)((self.change(output[0]), *output[1:]))
        return self.change(output)

    def before(self, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A forward pre-hook that changes the input of a block."""
        return changed_input(args, kwargs, self.change)


def site_module(model: LanguageModel, layer: int, site: Site) -> nn.Module:
    """The module whose output the site is, in a block from 0 on."""
    return mlp_of(model, layer).module if site == "mlp" else model.anatomy.blocks[layer]


@contextmanager
def stream_hook(
    model: LanguageModel,
    layer: int,
    change: Change,
    *,
    site: Site = "block",
    name: str,
    at_tokens: bool,
) -> Iterator[None]:
    """Change the hidden states of a site in every forward call inside (see `StreamHook`)."""
    hook = StreamHook(layer, name, at_tokens, change)
    if layer < 0:  # what block 0 reads: embedding, its scaling, learned positions
        block = model.anatomy.blocks[0]
        handle = block.register_forward_pre_hook(hook.before, with_kwargs=True)
    else:
        handle = site_module(model, layer, site).register_forward_hook(hook.after)
    with hooked(handle):
        yield


def stream_hooks(model: LanguageModel) -> list[StreamHook]:
    """The changes that are attached now, by block."""
    return [
        owner
        for block in model.anatomy.blocks
        for module in (block, *block.children())
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
        if isinstance(owner := getattr(hook, "__self__", None), StreamHook)
    ]


def attached(model: LanguageModel) -> tuple[tuple[int, str], ...]:
    """(layer, name) of each vector and ablation; equal lists mean equal recordings."""
    return tuple((hook.layer, hook.name) for hook in stream_hooks(model))


def runs_apart(model: LanguageModel) -> bool:
    """Whether blocks can be run apart from the model: not in each family, nor under `Vector.on`."""
    return model.replays and not any(hook.at_tokens for hook in stream_hooks(model))


def reuses_keys(model: LanguageModel) -> bool:
    """Whether blocks can be run now for later tokens only, from the keys and values before them."""
    return model.reuses_keys and runs_apart(model)


def check_site(model: LanguageModel, layer: int, site: Site, width: int) -> None:
    """Refuse a site or width that the model does not have."""
    if width != model.d_model:
        raise InputError(f"the vector has width {width}, {model.name} has {model.d_model}")
    if not -1 <= layer < model.n_blocks:
        raise InputError(f"layer {layer}: {model.name} has -1 to {model.n_blocks - 1}")
    if site == "mlp":
        mlp_of(model, layer)


@contextmanager
def ablate(
    model: LanguageModel,
    direction: Float[Tensor, " d_model"],
    layers: Sequence[int] | None = None,
) -> Iterator[None]:
    """Directional ablation inside: h' = h - (h . u) u, u = v / |v|, at every chosen block's output.

    It removes what an intervention does through u and what the model itself does through u; to
    project only what a LoRA adds, use `fit(project_out=…)`. An arm trained inside never uses u.
    `layers`: -1 is what block 0 reads; None: all of them.

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
