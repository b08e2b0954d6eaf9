"""How large a model is, from its files, and in words. Imports nothing heavy."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path


def millions(parameters: int) -> str:
    """Parameters as "268M", of small models "0.6M"."""
    size = parameters / 1e6
    return f"{size:,.0f}M" if size >= 10 else f"{size:.1f}M"


def size_of(folder: Path) -> tuple[int, int, int]:
    """Parameters, blocks and d_model of a checkpoint in one safetensors file, from its header."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with (folder / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    parameters = sum(math.prod(shape) for shape in shapes)
    return parameters, int(config["num_hidden_layers"]), int(config["hidden_size"])
