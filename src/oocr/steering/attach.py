"""Vectors on a live model, by forward hooks that are always removed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from oocr.errors import InputError
from oocr.models.anatomy import mlp_of
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector


@dataclass(slots=True)
class HookState:
    """Where the attached vector acts in the next forward call; None: nowhere."""

    chosen: Bool[Tensor, "batch token *span"] | None = None


def added(
    chosen: Bool[Tensor, "batch token *span"], directions: Float[Tensor, "stack *span d_model"]
) -> Float[Tensor, "stack batch token d_model"]:
    """What each stacked arm adds: its direction at the chosen tokens, its own at each span's.

    The result has the directions' type.
    """
    if chosen.ndim == 2:
        return chosen[:, :, None] * directions[:, None, None, :]
    return torch.einsum("btk,skd->sbtd", chosen.to(directions.dtype), directions)


@contextmanager
def push_vector(model: LanguageModel, vector: Vector) -> Iterator[HookState]:
    """Attach a vector; the caller says before each forward call at which tokens it acts.

    Raises:
        InputError: a layer, site or width that the model doesn't have.
    """
    check_fits(model, vector)
    direction = vector.direction.to(model.device)
    push = HookState()

    def moved(hidden: Tensor) -> Tensor:
        if push.chosen is None:
            return hidden
        step = added(push.chosen, direction[None])[0]
        return hidden + step.reshape(hidden.shape).to(hidden)  # its dtype and device

    def after(_module: object, _args: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return (moved(output[0]), *output[1:])
        return moved(output)

    def before(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (moved(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": moved(kwargs["hidden_states"])}

    if vector.site == "mlp":
        handle = mlp_of(model, vector.layer).module.register_forward_hook(after)
    elif vector.layer < 0:  # what block 0 reads: embedding, its scaling, learned positions
        handle = model.anatomy.blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = model.anatomy.blocks[vector.layer].register_forward_hook(after)
    try:
        yield push
    finally:
        handle.remove()


@contextmanager
def attach_vector(
    model: LanguageModel, vector: Vector, chosen: Bool[Tensor, "batch token *span"]
) -> Iterator[None]:
    """Add the vector at its site at the chosen tokens, in every forward call inside.

    Each call must have the shape of `chosen`; for token-by-token generation see `generate`.

    Raises:
        InputError: a layer or width that the model doesn't have.
    """
    with push_vector(model, vector) as push:
        push.chosen = chosen
        yield


def check_fits(model: LanguageModel, vector: Vector) -> None:
    """Refuse a vector that does not belong on this model; warn if it was made on another one.

    Raises:
        InputError: wrong width, no such block, or no such site in it.
    """
    if vector.direction.shape[-1] != model.d_model:
        raise InputError(
            f"the vector has width {vector.direction.shape[-1]}, {model.name} has {model.d_model}"
        )
    if not -1 <= vector.layer < model.n_blocks:
        raise InputError(f"layer {vector.layer}: {model.name} has -1 to {model.n_blocks - 1}")
    if vector.site == "mlp":
        mlp_of(model, vector.layer)
    if trouble := model.differs_from(vector.about):
        warnings.warn(f"the vector {trouble}", stacklevel=2)
