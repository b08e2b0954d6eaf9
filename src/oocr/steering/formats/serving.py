"""Requirements on a vector for servers that add vectors to the residual stream."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from oocr.errors import InputError
from oocr.steering.vectors import Vector


def check_block_outputs(vectors: Sequence[Vector], tool: str, *, lowest: int = 0) -> None:
    """Refuse (`InputError`) sites and blocks that a tool has no name for, and blocks given twice.

    `lowest`: -1 where the tool can also add to what block 0 reads.
    """
    for vector in vectors:
        if vector.site != "block":
            raise InputError(
                f"site: found 'mlp'; {tool} adds vectors to block outputs; allowed: 'block'"
            )
        if vector.layer < lowest:
            raise InputError(
                f"layer: found {vector.layer}; {tool} adds to the outputs of blocks; "
                f"allowed: blocks from {lowest} on"
            )
    blocks = [vector.layer for vector in vectors]
    if not blocks or len(set(blocks)) < len(blocks):
        raise InputError(f"vectors: found blocks {blocks}; allowed: one vector for each block")


def little_endian(vector: Vector) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The direction as little-endian float32, whatever this machine's order is."""
    return np.ascontiguousarray(vector.direction.numpy(), dtype="<f4")


def base64_of(vector: Vector) -> str:
    """The bytes of `little_endian` as text."""
    return base64.b64encode(little_endian(vector).tobytes()).decode("ascii")
