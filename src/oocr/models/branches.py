"""A block's additions to the residual stream: its MLP's output, after its norm and factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.anatomy import HasAnatomy

MLP_MODULES = ("mlp", "ffn", "feed_forward", "block_sparse_moe", "moe", "fc2")
MLP_NORMS = ("post_feedforward_layernorm", "post_mlp_layernorm")


@dataclass(frozen=True, eq=False, kw_only=True)
class Branch:
    """What a block adds to its residual stream: h_out = h_mid + factor * norm(output).

    Attributes:
        norm: what the output goes through (Gemma, OLMo-2), or None.
        factor: what it is multiplied by (Granite).
    """

    norm: nn.Module | None
    factor: float

    def joins(self, output: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
        """The vector that an output adds to the residual stream."""
        normed: Tensor = output if self.norm is None else self.norm(output)
        return normed * self.factor if self.factor != 1.0 else normed


@dataclass(frozen=True, eq=False, kw_only=True)
class Mlp(Branch):
    """A block's MLP; its output is the site."""

    module: nn.Module


def has_mlp(model: HasAnatomy, layer: int) -> bool:
    """Whether a block has an MLP under a known name (Mamba's blocks have none)."""
    return first_of(model.anatomy.blocks[layer], MLP_MODULES) is not None


def mlp_of(model: HasAnatomy, layer: int) -> Mlp:
    """The MLP of a block; InputError: the block has none under a known name."""
    block = model.anatomy.blocks[layer]
    module = first_of(block, MLP_MODULES)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"site 'mlp': block {layer} of {model.name} has no {', '.join(MLP_MODULES)}; "
            "allowed: site 'block'"
        )
    return Mlp(module=module, norm=first_of(block, MLP_NORMS), factor=residual_factor(block))


def residual_factor(block: nn.Module) -> float:
    """What a block multiplies its attention's and its MLP's outputs by."""
    return float(first_of(block, ("residual_multiplier",), 1.0))


def first_of(module: object, names: Sequence[str], default: Any = None) -> Any:
    """The first of these attributes that a module has."""
    return next((getattr(module, name) for name in names if hasattr(module, name)), default)
