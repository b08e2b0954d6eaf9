"""Sampling in which a row's draws are its own, whatever else is in the batch.

By the Gumbel-max rule: with independent E ~ Exp(1) for each token of the vocabulary, the token at
which logit / temperature - log E is largest has exactly the softmax's distribution. Rounding of
the logits (they differ in the last bits between batch sizes) then changes a draw only as often as
it changes the distribution.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def row_generators(prompts: Sequence[tuple[int, ...]], seed: int) -> list[np.random.Generator]:
    """A generator per prompt that depends on the seed, its token ids, and its copies before it."""
    copies: Counter[tuple[int, ...]] = Counter()
    generators: list[np.random.Generator] = []
    for ids in prompts:
        origin = f"{seed} {copies[ids]} {' '.join(map(str, ids))}"
        digest = hashlib.sha256(origin.encode()).digest()
        generators.append(np.random.default_rng(int.from_bytes(digest)))
        copies[ids] += 1
    return generators


def sample(
    logits: Float[Tensor, "batch vocab"],
    temperature: float,
    generators: Sequence[np.random.Generator],
) -> Int[Tensor, "batch 1"]:
    """One token per row from softmax(logits / temperature), on the device of the logits.

    Each generator moves on by `vocab` draws, made on the CPU and so the same for every device.
    """
    waits = torch.empty(logits.shape, pin_memory=logits.device.type == "cuda")
    for row, generator in zip(waits.numpy(), generators, strict=True):
        row[:] = generator.standard_exponential(len(row))  # 53 random bits, rounded to 24
    gumbel = -waits.to(logits.device, non_blocking=True).log()
    # Minus the largest, so that no temperature, however low, makes two logits infinite.
    heights = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    return (heights + gumbel).argmax(dim=-1, keepdim=True)
