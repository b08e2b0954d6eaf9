"""The attention of a block: its parts, and how its output joins the residual stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.branches import Branch, first_of, residual_factor
from oocr.models.quiet import quiet

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel

ATTENTION_MODULES = ("self_attn", "attn", "attention", "self_attention")
OUTPUT_LINEARS = ("o_proj", "out_proj", "dense")


@dataclass(frozen=True, eq=False, kw_only=True)
class Values(Branch):
    """The maps of a block's attention from a token to its values, and from values to the stream.

    Attributes:
        read: the Linear that gives a token's values, [..., value heads * width].
        write: the Linear from all heads' values to the stream.
        heads: query heads; several may share a value head.
    """

    read: nn.Linear
    write: nn.Linear
    heads: int

    def written(self, values: Float[Tensor, "*token values"]) -> Float[Tensor, "*token head d"]:
        """What each head writes at full attention to a token, the others silent.

        Without the output's bias, which does not depend on attention. Norm and factor are not
        applied; see `joins`.
        """
        width = self.write.in_features // self.heads
        apart = values.reshape(*values.shape[:-1], -1, width)  # [..., value head, width]
        apart = apart.repeat_interleave(self.heads // apart.shape[-2], dim=-2)
        weight = self.write.weight.reshape(-1, self.heads, width).to(values.dtype)
        return torch.einsum("...hw,dhw->...hd", apart, weight)


def attention_of(model: LanguageModel, layer: int) -> nn.Module:
    """The attention of a block; InputError: the block has none under a known name."""
    module = first_of(model.anatomy.blocks[layer], ATTENTION_MODULES)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"block {layer} of {model.name} has no attention ({', '.join(ATTENTION_MODULES)})"
        )
    return module


def values_of(model: LanguageModel, layer: int) -> Values:
    """How a block's attention reads and writes values.

    Raises:
        InputError: a family without a Linear of its own for values, or one that norms them.
    """
    block = model.anatomy.blocks[layer]
    attention = attention_of(model, layer)
    names = [name for name, _ in attention.named_children()]
    read, write = getattr(attention, "v_proj", None), first_of(attention, OUTPUT_LINEARS)
    if not isinstance(read, nn.Linear) or not isinstance(write, nn.Linear) or "v_norm" in names:
        raise InputError(
            f"values: block {layer} of {model.name} has {', '.join(names)}; allowed: attention "
            f"with the Linears v_proj and {' or '.join(OUTPUT_LINEARS)} apart, and no v_norm"
        )
    config: Any = model.hf.config
    # Elsewhere a norm of that name comes before the MLP.
    after = first_of(block, ("pre_feedforward_layernorm", "post_feedforward_layernorm"))
    return Values(
        read=read,
        write=write,
        heads=int(config.get_text_config().num_attention_heads),
        norm=getattr(block, "post_attention_layernorm", None) if after is not None else None,
        factor=residual_factor(block),
    )


@contextmanager
def eager(model: LanguageModel) -> Iterator[None]:
    """Compute attention so that its weights can be had; same numbers up to rounding.

    Raises:
        InputError: a family that cannot switch.
    """
    hf: Any = model.hf
    config = hf.config
    parts = {name: getattr(config, name, None) for name in config.sub_configs}
    before = {"": config._attn_implementation} | {
        name: part._attn_implementation for name, part in parts.items() if part is not None
    }
    try:
        with quiet():
            hf.set_attn_implementation("eager")
        chosen = config.get_text_config()._attn_implementation
        if chosen != "eager":
            raise InputError(
                f"{type(hf).__name__}: its attention is {chosen!r} and does not switch to 'eager', "
                "the only one that gives its weights"
            )
        yield
    finally:
        with quiet():
            hf.set_attn_implementation(before)
