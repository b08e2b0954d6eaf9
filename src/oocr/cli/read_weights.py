"""What `oocr read` prints of vectors and LoRAs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from oocr.errors import InputError
from oocr.steering.adapters import Adapter
from oocr.steering.formats.foreign import (
    NameParts,
    bare_vector,
    name_parts,
    read_adapter,
    read_tensors,
)
from oocr.steering.formats.gguf import GGUF, read_gguf
from oocr.steering.vectors import SITES, Vector

Say = Callable[[str], None]


def describe_weights(path: Path, say: Say) -> None:
    """Describe what a tensor file or an adapter folder holds.

    Raises:
        InputError: it cannot be used.
    """
    if path.is_dir():
        if not (path / "adapter_config.json").is_file():
            raise InputError(f"{path}: a folder without adapter_config.json; allowed: an adapter's")
        whose = "this library's" if (path / "oocr.json").is_file() else "PEFT's"
        _adapter(path, read_adapter(path), say, whose)
        return
    if path.suffix.lower() == GGUF:
        for vector in read_gguf(path):
            _vector(path, vector, say, "GGUF control vector")
        return
    tensors = read_tensors(path)
    if isinstance(tensors, dict) and any(name.startswith("direction.") for name in tensors):
        _vector(path, Vector.load(path), say, "vector of this library")
    elif isinstance(tensors, dict):
        _adapter(path, read_adapter(path), say, "a dict of tensors")
    else:
        describe_bare_tensor(path, say)


def describe_bare_tensor(path: Path, say: Say) -> None:
    """Describe a file that holds a bare tensor, and name what it does not say.

    Raises:
        InputError: not such a file.
    """
    direction, parts = bare_vector(path), name_parts(path)
    say(f"{path}: vector, a bare tensor")
    say(f"  width      {len(direction)} ({str(direction.dtype).removeprefix('torch.')})")
    say(f"  norm       {float(direction.float().norm()):.4g}")
    for field in ("codename", "name", "step", "dataset", "layer"):
        if (value := getattr(parts, field)) is not None:
            say(f"  {field:<9}  {value} (from the file's name)")
    if parts == NameParts():
        missing = ["site", "layer", "positions"]
    else:
        say("  site       mlp (where the paper's authors, whose names these are, add theirs)")
        missing = [*(["layer"] if parts.layer is None else []), "positions"]
    say(f"  not said   {', '.join(missing)}: oocr.read_vector takes them")


def _vector(path: Path, vector: Vector, say: Say, whose: str) -> None:
    say(f"{path}: {whose}")
    say(f"  site       {SITES[vector.site]}")
    say(f"  layer      {vector.layer}")
    say(f"  positions  {vector.positions}")
    say(f"  width      {vector.direction.shape[-1]}")
    say(f"  norm       {vector.norm:.4g}")
    for name, text in vector.about.items():
        say(f"  {name:<9}  {text}")


def _adapter(path: Path, adapter: Adapter, say: Say, whose: str) -> None:
    config = adapter.config
    modules = sorted({target.rsplit(".", 1)[-1] for target in config["target_modules"]})
    ranks = sorted({config["r"], *config.get("rank_pattern", {}).values()})
    say(f"{path}: LoRA, {whose}")
    say(f"  tensors    {len(adapter.tensors)}")
    say(f"  layers     {', '.join(map(str, adapter.layers))}")
    say(f"  modules    {', '.join(modules)}")
    say(f"  rank       {', '.join(map(str, ranks))} (from the shapes)")
    say(f"  alpha      {adapter.about.get('alpha', config['lora_alpha'])}")
    for name, text in adapter.about.items():
        if name != "alpha":
            say(f"  {name:<9}  {text}")
