"""The MLP of a block, and what its output goes through before it joins the residual stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from oocr.errors import InputError

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel
    from oocr.models.outline import Outline

MODULES = ("mlp", "ffn", "feed_forward", "block_sparse_moe", "moe", "fc2")
NORMS = ("post_feedforward_layernorm", "post_mlp_layernorm")
FACTORS = ("residual_multiplier",)


@dataclass(frozen=True, eq=False)
class Mlp:
    """A block's MLP: h_out = h_mid + factor * norm(output).

    Attributes:
        module: the MLP itself; its output is the site.
        norm: what its output goes through (Gemma, OLMo-2), or None.
        factor: what it is multiplied by (Granite).
    """

    module: nn.Module
    norm: nn.Module | None
    factor: float

    def joins(self, output: Tensor) -> Tensor:
        """What an output of the MLP adds to the residual stream."""
        normed: Tensor = output if self.norm is None else self.norm(output)
        return normed * self.factor if self.factor != 1.0 else normed


def mlp_of(model: LanguageModel | Outline, layer: int) -> Mlp:
    """The MLP of a block.

    Raises:
        InputError: the block has none under a known name.
    """
    block: Any = model.anatomy.blocks[layer]
    found = next((getattr(block, name) for name in MODULES if hasattr(block, name)), None)
    if not isinstance(found, nn.Module):
        raise InputError(
            f"site 'mlp': block {layer} of {model.name} has no {', '.join(MODULES)}; "
            "allowed: site 'block'"
        )
    norm = next((getattr(block, name) for name in NORMS if hasattr(block, name)), None)
    factor = next((float(getattr(block, name)) for name in FACTORS if hasattr(block, name)), 1.0)
    return Mlp(found, norm, factor)
