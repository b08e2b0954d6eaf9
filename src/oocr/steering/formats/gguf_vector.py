"""GGUF control vectors: the file of llama.cpp (`--control-vector`), repeng and others.

Tensors `direction.<block>`, fp32 [d_model], added at that block's output to every token. llama.cpp
reads the tensors' names only, refuses block 0 and has no other site; repeng wants the metadata too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from oocr.errors import InputError
from oocr.io import command_line, write_atomic
from oocr.models.gguf.header import CONTROL_VECTORS, GgufHeader, is_gguf, read_gguf_header
from oocr.output_checks import check_replaced
from oocr.steering.vectors import Vector, check_everywhere

GGUF = ".gguf"
ARCHITECTURE = "controlvector"
Scalar = str | int | float
DTYPES = {"F32": np.float32, "F16": np.float16}


def is_gguf_file(path: Path) -> bool:
    """Whether a file is a GGUF by its first bytes, or meant to be by its ending."""
    return path.suffix.lower() == GGUF or (path.suffix.lower() != ".safetensors" and is_gguf(path))


def read_gguf(path: str | Path) -> list[Vector]:
    """Read a GGUF control vector: a vector at positions "all" for each of its blocks, ascending.

    Unusual but valid properties of the file are in each vector's `about` as "note".

    Raises:
        InputError: not such a file; the message names the key or tensor.
    """
    path = Path(path)
    header = read_gguf_header(path)
    if header.kind != "controlvector":
        see = command_line(["oocr", "read", path])
        raise InputError(f"{path}: this is {header.what}, not a vector; see `{see}`")
    architecture = header.architecture
    hint = header.text(f"{architecture}.model_hint")
    notes: list[str] = []
    if architecture in (*CONTROL_VECTORS[1:], None):
        notes.append(f"general.architecture is {architecture!r}, not {ARCHITECTURE!r}")
    elif architecture != ARCHITECTURE:
        raise InputError(
            f"{path}: general.architecture: found {architecture!r}; "
            f"allowed: {', '.join(CONTROL_VECTORS)}"
        )
    if hint is None:
        notes.append("it does not say for which model it is")
    count = header.fields.get(f"{architecture}.layer_count", len(header.tensors))
    if count != len(header.tensors):
        notes.append(f"its layer_count is {count}, and it has {len(header.tensors)} vectors")
    about = {"file": path.name, **({"model_type": hint} if hint else {})}
    about |= {"note": "; ".join(notes)} if notes else {}
    about |= _others(header)
    vectors: dict[int, Vector] = {}
    for tensor in header.tensors:
        where, dtype = f"{path}: tensor {tensor.name!r}", DTYPES.get(tensor.type_name)
        match = re.fullmatch(r"direction\.(\d+)", tensor.name)
        if match is None or int(match[1]) in vectors:
            raise InputError(f"{where}: allowed: direction.<block>, each once")
        if len(tensor.shape) != 1 or dtype is None:
            raise InputError(
                f"{where}: found {tensor.type_name} of shape {tensor.shape}; allowed: F32 or F16, "
                "one axis"
            )
        place = header.data_start + tensor.offset
        data = np.fromfile(path, dtype, count=tensor.shape[0], offset=place)
        try:
            direction = torch.from_numpy(data).float()
            vectors[int(match[1])] = Vector(int(match[1]), "all", direction, about=about)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    if len({len(vector.direction) for vector in vectors.values()}) != 1:
        names = [tensor.name for tensor in header.tensors]
        raise InputError(f"{path}: tensors: found {names}; allowed: directions, one width")
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
            other widths, or no hint; another kind of file in this place.
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

    check_replaced(path, "a control vector", _is_control_vector)
    return write_atomic(path, fill)


def _is_control_vector(path: Path) -> bool:
    return read_gguf_header(path).architecture == ARCHITECTURE


def _others(header: GgufHeader) -> dict[str, str]:
    """The fields that say nothing of where the vector acts, and the lists that are left out."""
    used = {f"{header.architecture}.{name}" for name in ("model_hint", "layer_count")}
    used |= {"general.architecture", "general.type", "general.alignment"}
    others = {key: value for key, value in header.fields.items() if key not in used}
    kept = {key: str(value) for key, value in others.items() if isinstance(value, Scalar)}
    left_out = [f"{key} ({value})" for key, value in others.items() if key not in kept]
    return kept | ({"left out": "; ".join(left_out)} if left_out else {})
