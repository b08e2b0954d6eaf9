"""Names of a LoRA's tensors: in this library, in PEFT now and earlier, in other projects.

Names come with or without the adapter's name, and with a path to the blocks that moved inside the
model. What stays is the block's number and the module inside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from oocr.errors import InputError

_BLOCKS = r"(?:layers|h|blocks|block)"
_KEY = re.compile(
    rf"(?:base_model\.model\.)?(?P<path>(?:[\w-]+\.)*?{_BLOCKS})\.(?P<layer>\d+)\.(?P<module>.+)"
    r"\.(?P<part>lora_[AB]|lora_magnitude_vector)"
    r"(?:\.(?P<adapter>(?!weight$|bias$)[\w-]+))?(?:\.(?P<kind>weight|bias))?"
)
_WRAPPERS = re.compile(r"(?<![\w-])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing put into names."""

_NO_TEXT = re.compile(r"vision|visual|audio|image|speech|multi_modal_projector|mm_projector")
"""Parts of a model that texts do not pass through."""

_MODULE = re.compile(rf"(?:[\w-]+\.)*?{_BLOCKS}\.(\d+)\.(.+)")
PREFIX = "base_model.model."
_NO_BIAS = {("bias", "lora_A"), ("bias", "lora_magnitude_vector")}
MAGNITUDE = "lora_magnitude_vector"
"""DoRA's lengths of the rows of W; PEFT's files name it without ".weight"."""


@dataclass(frozen=True, slots=True, order=True)
class LoraKey:
    """What a LoRA tensor's name says, as in model.layers.7.mlp.down_proj.lora_A.weight."""

    layer: int
    module: str
    part: str
    kind: str
    path: str

    @property
    def place(self) -> tuple[int, str]:
        """Block and module."""
        return self.layer, self.module

    @property
    def tensor(self) -> str:
        """Which of its module's tensors it is: the part, or "lora_B.bias"."""
        return "lora_B.bias" if self.kind == "bias" else self.part

    def named(self, block: str) -> str:
        """PEFT's name for it, in a model that calls the block so ("model.layers.7")."""
        name = f"{PREFIX}{block}.{self.module}.{self.part}"
        return name if self.part == MAGNITUDE else f"{name}.{self.kind}"


def lora_key(name: str) -> LoraKey | None:
    """Read a tensor's name; None: it is not a LoRA's weight in a numbered block of the decoder."""
    match = _KEY.fullmatch(_WRAPPERS.sub("", name))
    if match is None or is_beside_text(name):
        return None
    layer, module, part, path = int(match["layer"]), match["module"], match["part"], match["path"]
    kind = match["kind"] or "weight"
    return LoraKey(layer, module, part, kind, path) if (kind, part) not in _NO_BIAS else None


def is_beside_text(name: str) -> bool:
    """Whether a tensor belongs to a part of the model that is not used for text."""
    return bool(_NO_TEXT.search(re.split(r"lora_", name)[0]))


def under_names(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], blocks: Sequence[str]
) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """An adapter's config and tensors under a model's names of its blocks; refuses other blocks."""
    keys = {name: lora_key(name) for name in tensors}
    if not all(keys.values()):
        return config, tensors  # not understood; PEFT decides whether they fit
    renamed: dict[str, Tensor] = {}
    for name, key in keys.items():
        assert key is not None
        renamed[key.named(_block(key.layer, blocks))] = tensors[name]
    targets = {
        field: [_renamed(target, blocks) for target in config[field]]
        for field in ("target_modules", "target_parameters")
        if config.get(field)
    }
    patterns = {
        field: {_renamed(target, blocks): value for target, value in config[field].items()}
        for field in ("rank_pattern", "alpha_pattern")
        if config.get(field)
    }
    return {**config, **patterns, **targets}, renamed


def _renamed(target: str, blocks: Sequence[str]) -> str:
    match = _MODULE.fullmatch(target)
    return f"{_block(int(match[1]), blocks)}.{match[2]}" if match else target


def _block(layer: int, blocks: Sequence[str]) -> str:
    if layer >= len(blocks):
        raise InputError(
            f"the adapter does not fit: it adapts block {layer}, the model has blocks 0 to "
            f"{len(blocks) - 1}"
        )
    return blocks[layer]
