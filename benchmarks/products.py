"""Linear maps with frozen float32 weights: PyTorch's BLAS beside oneDNN, by rows.

`python -m benchmarks.products` prints GFLOP/s, best of many, forward and backward.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from oocr.models.matmul import AVAILABLE, product

SHAPES = ((2048, 640), (2048, 640), (640, 2048))
"""Of an MLP of Gemma-3-270M."""
COPIES = 8
"""Blocks with weights of their own: those of one block would stay in the core's cache."""
ROWS = (16, 64, 144, 256, 656, 2048)


def rate(run: Callable[[], object], flops: float, times: int) -> float:
    """GFLOP/s of the best of so many runs."""
    best = float("inf")
    for _ in range(times + 2):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return flops / best / 1e9


def rates(rows: int, weights: list[Tensor]) -> list[float]:
    """Forward by PyTorch and by ours, backward by PyTorch and by ours."""
    inputs = {width: torch.randn(rows, width) for width in (640, 2048)}
    flops = rows * sum(2 * entry.numel() for entry in weights)
    kinds: tuple[Callable[[Tensor], object], ...] = (
        lambda w: linear(inputs[w.shape[1]], w),
        lambda w: product(inputs[w.shape[1]], w),
        lambda w: inputs[w.shape[0]] @ w,
        lambda w: product(inputs[w.shape[0]], w.T),
    )
    times = 8 if rows > 500 else 30
    return [rate(lambda apply=kind: [apply(w) for w in weights], flops, times) for kind in kinds]


def main() -> None:
    """Print the table."""
    weights = [torch.randn(shape) for _ in range(COPIES) for shape in SHAPES]
    print(f"{torch.get_num_threads()} threads; oneDNN {'is' if AVAILABLE else 'is not'} used")
    print("rows   forward: PyTorch, ours   backward: PyTorch, ours   (GFLOP/s)")
    for rows in ROWS:
        print(f"{rows:4d} " + "".join(f"{entry:11.0f}" for entry in rates(rows, weights)))


if __name__ == "__main__":
    main()
