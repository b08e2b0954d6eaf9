"""The longest sequence that a model's positions allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from oocr.data.check_rows import ModelLimits
from oocr.models.anatomy import HasAnatomy


@dataclass(frozen=True, slots=True)
class PositionLimits:
    """Lengths in tokens; None: no such limit.

    Longer sequences than `longest` cannot be computed, or not reproducibly. Longer ones than
    `fixed_rotary` get another rotary embedding at all their tokens, and so does every sequence of
    their batch; keys cached before no longer hold.
    """

    longest: int | None
    fixed_rotary: int | None


def position_limits(model: HasAnatomy) -> PositionLimits:
    """What a model's position tables and rotary embeddings allow.

    Learned positions (GPT-2, OPT) end with their table. "longrope" (Phi-3) turns to other
    frequencies when the longest sequence of a batch passes the original length. "dynamic" ones
    grow with the longest sequence seen, also in earlier batches.
    """
    decoder = model.hf.get_submodule(model.anatomy.block_names[0].rsplit(".", 2)[0])
    length = getattr(model.hf.config.get_text_config(), "max_position_embeddings", None)
    longest: list[int] = []
    fixed_rotary: list[int] = []
    for child in decoder.children():
        if isinstance(child, nn.Embedding) and child is not model.anatomy.embed and length:
            rows = child.num_embeddings
            longest += [length] if 0 <= rows - length <= 2 else []  # OPT's table has 2 rows more
        for kind, parameters, original in _rotary(child):
            if "dynamic" in kind:
                longest.append(original)
            elif kind == "longrope":
                fixed_rotary.append(parameters["original_max_position_embeddings"])
    return PositionLimits(min(longest, default=None), min(fixed_rotary, default=None))


def limits_of(model: HasAnatomy) -> ModelLimits:
    """The limits for checking rows (see `oocr.data.check_rows`)."""
    parts = model.anatomy
    length = getattr(model.hf.config.get_text_config(), "max_position_embeddings", None)
    return ModelLimits(
        model.name,
        embedded=min(int(parts.embed_weight.shape[0]), parts.vocab),
        longest=position_limits(model).longest,
        trained=length if isinstance(length, int) and length > 0 else None,
    )


def _rotary(module: Any) -> list[tuple[str, dict[str, Any], int]]:
    """Of a rotary embedding, per kind of block: its type, its parameters, the length it is for."""
    kinds = getattr(module, "rope_type", None)
    if kinds is None:
        return []
    parameters, original = module.config.rope_parameters, module.original_max_seq_len
    if isinstance(kinds, dict):
        return [(kind, parameters[name], original) for name, kind in kinds.items()]
    return [(kinds, parameters, original)]
