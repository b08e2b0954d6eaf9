"""Products with frozen weights, by rows, and attention: PyTorch's own beside ours.

`python -m benchmarks.products` prints GFLOP/s and milliseconds, best of many, forward and backward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.nn.functional import scaled_dot_product_attention as sdpa

from oocr.models.matmul import AVAILABLE, frozen_products, product

SHAPES = {
    torch.float32: ((2048, 640), (2048, 640), (640, 2048)),
    torch.bfloat16: ((8960, 1536), (1536, 8960)),
}
"""Of an MLP of Gemma-3-270M, and of one of Qwen2.5-1.5B."""
COPIES = 8
"""Blocks with weights of their own: those of one block would stay in the core's cache."""
ROWS = (8, 16, 64, 144, 256, 656)
ATTENTION = ((1, 23), (20, 23), (41, 41), (64, 64))
"""Queries and keys; of 8 texts, with 12 heads of 128."""


def seconds(run: Callable[[], object], times: int) -> float:
    """Of the best of so many runs."""
    best = float("inf")
    for _ in range(times + 2):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def rates(rows: int, weights: list[Tensor]) -> list[float]:
    """GFLOP/s forward by PyTorch and by ours, backward by PyTorch and by ours."""
    kind, widths = weights[0].dtype, {size for weight in weights for size in weight.shape}
    inputs = {width: torch.randn(rows, width).to(kind) for width in widths}
    flops = rows * sum(2 * entry.numel() for entry in weights)
    kinds: tuple[Callable[[Tensor], object], ...] = (
        lambda w: linear(inputs[w.shape[1]], w),
        lambda w: product(inputs[w.shape[1]], w),
        lambda w: inputs[w.shape[0]] @ w,
        lambda w: product(inputs[w.shape[0]], w.T),
    )
    times = 8 if rows > 500 else 30
    return [flops / seconds(partial(_apply, kind, weights), times) / 1e9 for kind in kinds]


def _apply(kind: Callable[[Tensor], object], weights: Sequence[Tensor]) -> None:
    for w in weights:
        kind(w)


def attention_times(queries: int, keys: int) -> list[float]:
    """Milliseconds of attention in bfloat16 with its gradient, by PyTorch and by ours."""
    shapes = (queries, keys, keys)
    q, k, v = (torch.randn(8, 12, size, 128).bfloat16().requires_grad_() for size in shapes)
    mask = torch.ones(keys, keys, dtype=torch.bool).tril()[None, None, -queries:]

    def run() -> None:
        sdpa(q, k, v, attn_mask=mask).sum().backward()  # type: ignore[no-untyped-call]

    plain = seconds(run, 30)
    with frozen_products(torch.device("cpu")):
        return [1e3 * plain, 1e3 * seconds(run, 30)]


def main() -> None:
    """Print the tables."""
    print(f"{torch.get_num_threads()} threads; oneDNN {'is' if AVAILABLE else 'is not'} used")
    for kind, shapes in SHAPES.items():
        weights = [torch.randn(shape).to(kind) for _ in range(COPIES) for shape in shapes]
        print(f"{kind}: rows   forward: PyTorch, ours   backward: PyTorch, ours   (GFLOP/s)")
        for rows in ROWS:
            print(f"{rows:4d} " + "".join(f"{entry:11.0f}" for entry in rates(rows, weights)))
    print("attention, bfloat16: queries, keys   forward and backward: PyTorch, ours   (ms)")
    for queries, keys in ATTENTION:
        times = "".join(f"{entry:11.1f}" for entry in attention_times(queries, keys))
        print(f"{queries:4d} {keys:4d} {times}")


if __name__ == "__main__":
    main()
