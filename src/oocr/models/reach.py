"""How long a sequence may grow before a model's positions run out or change their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Reach:
    """Lengths in tokens; None: no such limit.

    Attributes:
        most: longer sequences cannot be computed, or not twice the same.
        steady: longer sequences get another rotary embedding, at all their tokens, and so does
            whatever shares a batch with them; keys that were cached before no longer hold.
    """

    most: int | None
    steady: int | None


def reach(model: LanguageModel) -> Reach:
    """What a model's position tables and rotary embeddings allow.

    Learned positions (GPT-2, OPT) end with their table. "longrope" (Phi-3) turns to other
    frequencies when the longest sequence of a batch passes the original length. "dynamic" ones
    grow with the longest sequence seen, also in earlier batches.
    """
    decoder = model.hf.get_submodule(model.anatomy.block_names[0].rsplit(".", 2)[0])
    length = getattr(model.hf.config.get_text_config(), "max_position_embeddings", None)
    most: list[int] = []
    steady: list[int] = []
    for child in decoder.children():
        if isinstance(child, nn.Embedding) and child is not model.anatomy.embed and length:
            rows = child.num_embeddings
            most += [length] if 0 <= rows - length <= 2 else []  # OPT's table has 2 rows more
        for kind, parameters, original in _rotary(child):
            if "dynamic" in kind:
                most.append(original)
            elif kind == "longrope":
                steady.append(parameters["original_max_position_embeddings"])
    return Reach(min(most, default=None), min(steady, default=None))


def _rotary(module: Any) -> list[tuple[str, dict[str, Any], int]]:
    """Of a rotary embedding, per kind of block: its type, its parameters, the length it is for."""
    kinds = getattr(module, "rope_type", None)
    if kinds is None:
        return []
    parameters, original = module.config.rope_parameters, module.original_max_seq_len
    if isinstance(kinds, dict):
        return [(kind, parameters[name], original) for name, kind in kinds.items()]
    return [(kinds, parameters, original)]
