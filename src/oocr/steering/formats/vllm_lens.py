"""A file for vllm-lens: the value of a request's `apply_steering_vectors`, a JSON list.

Each entry holds one block's direction as base64 of little-endian float32 `[1, d_model]`, added as
it is (`norm_match` off) to that block's output at every token of the prompt and of the answer.
Fields as in vllm-lens 1.3.0 (`SteeringVector` in its `_helpers/types.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oocr.io import write_json
from oocr.steering.formats.serving import base64_of, check_block_outputs
from oocr.steering.vectors import Vector, check_everywhere


def write_vllm_lens(
    path: str | Path, vectors: Vector | Sequence[Vector], *, everywhere: bool = False
) -> Path:
    """Write one vector, or one for each of several blocks.

    `everywhere` accepts positions other than "all". (vllm-lens names single tokens by their number
    in one prompt, which no file for all prompts can.)

    Raises:
        InputError: a site, block or positions that vllm-lens cannot express.
    """
    listed = [vectors] if isinstance(vectors, Vector) else list(vectors)
    check_block_outputs(listed, "vllm-lens")
    for vector in listed:
        check_everywhere(vector, "vllm-lens", everywhere=everywhere)
    return write_json(Path(path), [_entry(vector) for vector in listed])


def _entry(vector: Vector) -> dict[str, object]:
    activations = {
        "data": base64_of(vector),
        "dtype": "float32",
        "original_dtype": "torch.float32",
        "shape": [1, len(vector.direction)],
    }
    return {
        "activations": activations,
        "layer_indices": [vector.layer],
        "scale": 1.0,
        "norm_match": False,
        "position_indices": None,
    }
