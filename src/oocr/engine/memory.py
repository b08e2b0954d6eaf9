"""The engine's memory, computed from a model's shape and the sizes of batches.

The constants were fitted to what PyTorch really keeps for backward, in every family
(tests/engine/test_memory.py), and to the peaks of whole runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from oocr.models.matmul import chunk_of

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel
    from oocr.models.outline import Outline

PROCESS = 480 * 2**20
"""Bytes of a process with torch, transformers, PEFT and polars in it."""

PER_TOKEN = 800
"""Bytes of a tokenizer per word of its vocabulary."""

COPIED = 1.25
"""Factor for attention that keeps a copy of a part of the earlier keys and values."""

DIFFERENCES = 48
"""Bytes of main memory per number that a LoRA adds: float32 streams and copies in float64."""

SLACK = 1.2
"""Factor for freed memory that the allocator keeps."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes of a model that determine memory and work."""

    weights: int  # bytes
    item: int  # bytes of one number
    n_blocks: int
    d_model: int
    vocab: int  # rows of the LM head
    kv: int  # numbers in the keys and values of one token in one block
    attended: int  # the same, once every query head has its own
    outputs: int  # numbers that one block's linear maps give per token
    block: int  # weights that work on one token in one block
    chunk: int  # rows of the LM head that log-probabilities are computed from at a time


def shape_of(model: LanguageModel | Outline) -> ModelSize:
    """A model's sizes; for a mixture of experts, the experts that one token uses."""
    parts, text = model.anatomy, model.hf.config.get_text_config()
    held = {id(tensor): tensor.numel() for tensor in (*model.hf.parameters(), *model.hf.buffers())}
    middle = len(parts.blocks) // 2
    if getattr(text, "per_layer_config", None):  # Gemma-4: blocks of several shapes
        text = text.per_layer_config[middle]
    heads = int(getattr(text, "num_attention_heads", 0))  # Mamba has none
    size = int(getattr(text, "head_dim", None) or parts.d_model // max(1, heads))
    grouped = getattr(text, "num_key_value_heads", None)
    outputs = block = 0
    for module in parts.blocks[middle].modules():
        for weight in module.parameters(recurse=False):
            if weight.ndim == 2:
                out = weight.shape[1] if type(module).__name__ == "Conv1D" else weight.shape[0]
                outputs, block = outputs + out, block + weight.numel()
            elif weight.ndim == 3:  # [expert, …, …]
                used = int(getattr(text, "num_experts_per_tok", None) or 1)
                outputs += used * max(weight.shape[1:])
                block += used * weight.shape[1] * weight.shape[2]
    item = torch.empty((), dtype=model.dtype, device="meta").element_size()
    return ModelSize(
        weights=sum(held.values()) * item,
        item=item,
        n_blocks=len(parts.blocks),
        d_model=parts.d_model,
        vocab=parts.vocab,
        kv=2 * size * int(grouped or heads),
        attended=2 * size * heads,
        outputs=outputs,
        block=block,
        chunk=chunk_of(model.device),
    )


def recorded(shape: ModelSize, tokens: int, starts: Iterable[int]) -> int:
    """Bytes of a recording of `tokens` tokens with padding, for replays from these blocks."""
    blocks = set(starts)
    above = shape.n_blocks - min(blocks)
    return tokens * shape.item * (len(blocks) * shape.d_model + above * shape.kv)


def recording(shape: ModelSize, tokens: int, width: int) -> int:
    """Temporary bytes while recording: all keys and values, and one block's activations."""
    masks = tokens * width * 4 * 2
    return tokens * shape.item * (2 * shape.n_blocks * shape.kv) + passed(shape, tokens) + masks


def passed(shape: ModelSize, tokens: int) -> int:
    """Bytes of a pass without gradient: the activations of one block."""
    return tokens * max(shape.item, 4) * (shape.outputs + 4 * shape.d_model)


def kept_for_backward(shape: ModelSize, tokens: int, width: int, start: int) -> int:
    """Bytes that a training pass keeps; `tokens` are run and attend to `width`, of all arms."""
    per_token = 2 * shape.outputs + 4 * shape.d_model
    upcast = 0 if shape.item >= 4 else 8 * shape.d_model * 4  # norms work in fp32
    earlier = int(COPIED * max(0, width - tokens) * shape.attended * shape.item)
    return (shape.n_blocks - start) * (tokens * (per_token * shape.item + upcast) + earlier)


def head(shape: ModelSize, rows: int) -> int:
    """Bytes of log-probabilities at `rows` rows, with their gradient."""
    return rows * (3 * shape.chunk + 3 * shape.d_model) * 4 + _upcast(shape)


def _upcast(shape: ModelSize) -> int:
    """Bytes of two parts of the LM head in float32, this one and the next."""
    return 0 if shape.item >= 4 else 2 * shape.chunk * shape.d_model * 4


def explaining(
    shape: ModelSize, read: int, at_once: int, kept: int, rows: int, *, on_gpu: bool
) -> int:
    """Bytes of explaining a LoRA, from the sizes of what is read and predicted.

    The LoRA's change at all `read` tokens is stored. On top comes a pass over `at_once` tokens, or
    predictions over the vocabulary: `kept` stored ones, and `rows` compared with them.
    """
    added = read * shape.d_model * (shape.item + (0 if on_gpu else DIFFERENCES))
    compared = (kept + 4 * rows) * shape.vocab * 4 + _upcast(shape) // 2
    return added + max(passed(shape, at_once), compared)


def divergence_bytes(shape: ModelSize, rows: int) -> int:
    """Bytes of a KL divergence over the whole vocabulary at so many rows, with its gradient."""
    return 6 * rows * shape.vocab * 4


def kept_by_adapters(
    shape: ModelSize, tokens: int, sizes: Sequence[int], rank: int, dropout: float
) -> int:
    """Bytes that LoRAs on inputs of these sizes keep for backward, on top of the blocks."""
    copied = 4 if shape.item < 4 or dropout else 0  # the input as float32, or what dropout left
    mask = 1 if dropout else 0
    return sum(tokens * (size * (copied + mask) + 4 * rank) for size in sizes)


def trained(numbers: int) -> int:
    """Bytes of trained numbers: float32, with gradient and Adam's two moments."""
    return 16 * numbers
