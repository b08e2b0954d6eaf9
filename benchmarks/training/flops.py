"""FLOPs of the work that a training step cannot do without, counted from shapes.

A multiplication and an addition are two FLOPs. A vector is added at the output of block L. A line
has n tokens, the first one steered is token p, t = n - p is its tail; blocks are 0 to N - 1.
Nothing below block L + 1 and nothing before p changes, so the necessary work is

    blocks L + 1 … N - 2:   every Linear, t tokens, forward and gradient of its input
                            (weights are frozen: no gradient of theirs)
    attention there:        forward 4 d_head per head and (query, key) pair, all keys up to the
                            query; gradient: of scores and queries 4 d_head for all those pairs,
                            of keys and values 4 d_head for pairs whose key is in the tail
    block N - 1:            keys and values of the tail; query, output and MLP at the answer's rows
    LM head:                the answer's rows, forward and gradient: 4 d_model vocab each

A LoRA on block L's down_proj reads what is frozen, so it costs the same blocks for all tokens
(p = 0) and its own matrices: forward, gradient of both, gradient of what lies between them.
Lines are counted one by one, also where they begin alike and the engine runs that once.
Norms, rotary embeddings, softmax and other pointwise work are not counted. They are work, but not
matrix products; the share of the peak is lower for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.training.plan import Line


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder with grouped queries and a gated MLP (Llama, Qwen, Gemma)."""

    blocks: int
    width: int
    heads: int
    key_heads: int
    head: int
    mlp: int
    vocab: int

    @staticmethod
    def of(config: Any) -> Shape:
        """From a Hugging Face config."""
        heads = int(config.num_attention_heads)
        return Shape(
            blocks=int(config.num_hidden_layers),
            width=int(config.hidden_size),
            heads=heads,
            key_heads=int(config.num_key_value_heads),
            head=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            mlp=int(config.intermediate_size),
            vocab=int(config.vocab_size),
        )

    @property
    def keys_values(self) -> int:
        """Weights of the two Linears that make keys and values."""
        return 2 * self.width * self.key_heads * self.head

    @property
    def rest(self) -> int:
        """Weights of a block's other Linears: queries, attention output, MLP."""
        return 2 * self.width * self.heads * self.head + 3 * self.width * self.mlp


def linear(weights: int, tokens: int) -> int:
    """Forward through Linears with so many weights; the gradient of their input costs the same."""
    return 2 * weights * tokens


def attention(shape: Shape, pairs: int) -> int:
    """Scores and weighted values of so many (query, key) pairs, forward."""
    return 4 * shape.heads * shape.head * pairs


def attention_gradient(shape: Shape, pairs: int, free_pairs: int) -> int:
    """Gradient of scores and queries for all pairs, of keys and values for those not frozen."""
    return 4 * shape.heads * shape.head * (pairs + free_pairs)


def line_step(shape: Shape, block: int, tokens: int, first: int, asked: int = 1) -> int:
    """One line of a vector's training step; see the module.

    Args:
        shape: of the model.
        block: at whose output the vector is added.
        tokens: length of the line, which ends where the answer's last token is asked.
        first: the first steered token.
        asked: tokens of the answer.
    """
    tail = tokens - first
    pairs, ends = (sum(range(begin + 1, tokens + 1)) for begin in (first, tokens - asked))
    free = tail * (tail + 1) // 2
    every = 2 * linear(shape.keys_values + shape.rest, tail)
    every += attention(shape, pairs) + attention_gradient(shape, pairs, free)
    last = 2 * linear(shape.keys_values, tail) + 2 * linear(shape.rest, asked)
    free_ends = ends - asked * first
    last += attention(shape, ends) + attention_gradient(shape, ends, free_ends)
    head = 2 * linear(shape.width * shape.vocab, asked)
    above = shape.blocks - 1 - block
    return head + (last if above else 0) + max(above - 1, 0) * every


def lora_own(shape: Shape, rank: int, tokens: int) -> int:
    """A LoRA's own matrices on down_proj: forward, both gradients, the gradient in between."""
    down, up = shape.mlp * rank, rank * shape.width
    return linear(down, tokens) + linear(up, tokens) + linear(down + 2 * up, tokens)


def batch_step(
    shape: Shape, kind: str, block: int, lines: Sequence[Line], rank: int, arms: int = 1
) -> int:
    """A training step of some arms over a batch (mean over a plan's batches: `plan_step`)."""
    total = 0
    for line in lines:
        tokens = len(line.ids)
        first = 0 if kind == "lora" else line.chosen.index(True)
        total += line_step(shape, block, tokens, first, len(line.answer))
        total += lora_own(shape, rank, tokens) if kind == "lora" else 0
    return total * arms


def plan_step(
    shape: Shape, kind: str, block: int, batches: Sequence[Sequence[Line]], rank: int, arms: int = 1
) -> float:
    """The mean training step over batches."""
    steps = [batch_step(shape, kind, block, lines, rank, arms) for lines in batches]
    return sum(steps) / len(steps)
