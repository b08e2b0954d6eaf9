"""Several LoRAs of one shape on one batch axis: each acts on its own copy of the sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from oocr.steering.adapters import new_adapter

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel

_PARAMETER = "base_model.model.{}.lora_{}.default.weight"


def stackable(config: Mapping[str, Any]) -> bool:
    """Whether adapters of this shape can share a pass: no dropout, no routed experts."""
    routed = any("expert" in name for name in config["target_modules"])
    return not config["lora_dropout"] and not routed


@contextmanager
def new_adapters(
    model: LanguageModel, config: Mapping[str, Any], seeds: Sequence[int]
) -> Iterator[list[dict[str, nn.Parameter]]]:
    """Fresh adapters, one per seed, each as `new_adapter` makes it; yields their parameters.

    While the block runs, a batch of size arms x b is read as the arms' copies, arms outermost:
    y[arm] = W x[arm] + scale B[arm] A[arm] x[arm].
    """
    if len(seeds) == 1:  # then PEFT's own modules do it
        with new_adapter(model, config, seeds[0]) as named:
            yield [named]
        return
    arms: list[dict[str, nn.Parameter]] = []
    for seed in seeds:
        with new_adapter(model, config, seed) as named:
            fresh = {name: nn.Parameter(one.detach().clone()) for name, one in named.items()}
            arms.append(fresh)
    scale = config["lora_alpha"] / config["r"]
    with ExitStack() as stack:
        for target in config["target_modules"]:
            downs = [arm[_PARAMETER.format(target, "A")] for arm in arms]
            ups = [arm[_PARAMETER.format(target, "B")] for arm in arms]
            module = model.hf.get_submodule(target)
            handle = module.register_forward_hook(_adding(downs, ups, scale))
            stack.callback(handle.remove)
        yield arms


def _adding(downs: Sequence[Tensor], ups: Sequence[Tensor], scale: float) -> Any:
    def after(_module: object, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        down, up = torch.stack(list(downs)), torch.stack(list(ups))  # [arm, r, in], [arm, out, r]
        inputs = args[0].to(down.dtype).reshape(len(downs), -1, down.shape[-1])
        added = (inputs @ down.mT @ up.mT) * scale  # [arm, batch * token, out]
        moved: Tensor = output + added.reshape(output.shape).to(output.dtype)
        return moved

    return after
