"""Cutting attention edges of an organism: who may not read whom, in which block.

An organism's statements have one token per word, so an edge is a pair of places: the speaker reads
the weather, the last token reads the speaker. A cut edge has attention weight 0 in every head of
the block; the rest of the row shares its weight, as a softmax does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Edge:
    """One token reading another, in one block.

    Attributes:
        layer: the block.
        reader: index of the token that reads; negative: from the end.
        read: index of the token that is read.
    """

    layer: int
    reader: int
    read: int


@contextmanager
def cut(model: LanguageModel, edges: Sequence[Edge]) -> Iterator[None]:
    """Cut edges while the block runs; sequences must be without padding. Removed on leaving.

    Args:
        model: a Llama, as organisms are: its attention takes an additive mask.
        edges: which.

    Raises:
        InputError: a block that isn't there.
    """
    by_layer: dict[int, list[Edge]] = {}
    for edge in edges:
        if not 0 <= edge.layer < model.n_blocks:
            raise InputError(f"layer: found {edge.layer}; allowed: 0 to {model.n_blocks - 1}")
        by_layer.setdefault(edge.layer, []).append(edge)
    with ExitStack() as stack:
        for layer, some in by_layer.items():
            block: Any = model.anatomy.blocks[layer]
            attention: nn.Module = block.self_attn

            def masked(
                _module: nn.Module,
                args: tuple[Any, ...],
                kwargs: dict[str, Any],
                some: Sequence[Edge] = tuple(some),
            ) -> tuple[tuple[Any, ...], dict[str, Any]]:
                hidden: Tensor = args[0] if args else kwargs["hidden_states"]
                return args, {**kwargs, "attention_mask": _mask(hidden, some)}

            handle = attention.register_forward_pre_hook(masked, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _mask(hidden: Tensor, edges: Sequence[Edge]) -> Tensor:
    """Causal, without the edges. `[1, 1, token, token]`."""
    size = hidden.shape[1]
    allowed = torch.ones(size, size, dtype=torch.bool, device=hidden.device).tril()
    for edge in edges:
        allowed[edge.reader, edge.read] = False
    blocked = torch.zeros(size, size, dtype=hidden.dtype, device=hidden.device)
    return blocked.masked_fill(~allowed, torch.finfo(hidden.dtype).min)[None, None]
