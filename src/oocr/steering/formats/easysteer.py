"""A file for EasySteer: a steering specification in JSON that holds the vectors themselves.

A server takes it as `--steering-config`, a request as `steering`. Fields as `SteeringSpec` takes
them (`vllm/steer_vectors/api.py` of EasySteer's vLLM 0.26); the digest of a direction is that of
its `payloads.py`: SHA-256 of "direction:1", the tensor's name, its shape and its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from oocr.errors import InputError
from oocr.io import write_json
from oocr.steering.formats.serving import base64_of, check_block_outputs, little_endian
from oocr.steering.positions import JOIN
from oocr.steering.vectors import Vector

APPLY: dict[str, dict[str, object]] = {
    "all": {"prompt": "all", "generation": "all"},
    "prompt": {"prompt": "all"},
    "answer": {"generation": "all"},
    "last": {"prompt_positions": [-1]},
    "from:last": {"prompt_positions": [-1], "generation": "all"},
}
"""Positions -> where EasySteer adds the vector. It looks for no span's text."""


def write_easysteer(
    path: str | Path, vectors: Vector | Sequence[Vector], *, everywhere: bool = False
) -> Path:
    """Write one vector, or one for each of several blocks; `everywhere`: at every token.

    Raises:
        InputError: a site, block or positions that EasySteer cannot express.
    """
    listed = [vectors] if isinstance(vectors, Vector) else list(vectors)
    check_block_outputs(listed, "EasySteer")
    entries = [_entry(vector, everywhere=everywhere) for vector in listed]
    # Where several vectors act at a token its default would use the first alone.
    return write_json(Path(path), {"vectors": entries, "conflict": "sequential"})


def _entry(vector: Vector, *, everywhere: bool) -> dict[str, object]:
    if vector.direction.ndim > 1 or (vector.positions not in APPLY and not everywhere):
        single = " of one span (vector.only(span))" if JOIN in vector.positions else ""
        raise InputError(
            f"positions: found {vector.positions!r}; EasySteer does not look for a span's text; "
            f"allowed: a vector{single} at {', '.join(APPLY)}, or with everywhere=True (on the "
            "command line --everywhere) at every token"
        )
    name, direction = f"layer.{vector.layer}", little_endian(vector)
    digest = hashlib.sha256(b"direction:1")
    for part in (name.encode(), str(direction.shape).encode(), direction.tobytes()):
        digest.update(part)
    tensor = {"shape": list(direction.shape), "data": base64_of(vector)}
    return {
        "data": {
            "version": 1,
            "kind": "direction",
            "tensors": {name: tensor},
            "extra": {},
            "sha256": digest.hexdigest(),
        },
        "algorithm": "direct",
        "scale": 1.0,
        "layers": [vector.layer],
        "normalize": False,
        "apply": APPLY["all" if everywhere else vector.positions],
    }
