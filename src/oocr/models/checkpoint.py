"""A folder's weight files before they are read: their names, and the shapes of their tensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oocr.errors import InputError
from oocr.lfs import refuse_lfs_pointer
from oocr.words import counted

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTER = "adapter_config.json"
METADATA = "__metadata__"

PREFIXES = ("_orig_mod.", "module.", "_fsdp_wrapped_module.")
"""Prefixes of weight names by torch.compile, DataParallel and FSDP."""


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a whole model; other files beside it are ignored."""
    names = (WHOLE, INDEX, *PICKLES)
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in names)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, all of which are there; none: it has names of its own.

    Raises:
        InputError: some are missing, there are two sets of them, or there are only pickles.
    """
    whole, index = folder / WHOLE, folder / INDEX
    names = files_of_index(index) if index.is_file() else []
    here = [name for name in names if (folder / name).is_file()]
    if whole.is_file():
        if others := [name for name in here if name != WHOLE]:
            raise InputError(
                f"{folder}: found two sets of weights, {WHOLE} and the {len(others)} files of "
                f"{INDEX}; allowed: one. Delete the other"
            )
        return [whole]
    if missing := [name for name in names if name not in here]:
        raise InputError(
            f"{folder}: {len(missing)} of {len(names)} files of weights are not there "
            f"(first: {missing[0]}); copy or download them (hf download)"
        )
    if not names and any((folder / name).is_file() for name in PICKLES):
        raise InputError(
            f"{folder}: its weights are pickles (pytorch_model.bin), which can run code, and are "
            "not read; write them as safetensors with "
            "transformers.AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    return [folder / name for name in names]


def other_weights(folder: Path) -> list[str]:
    """The safetensors files in a model's folder that are not read as its weights."""
    read = {file.name for file in weight_files(folder)} or {WHOLE}
    files = {file.name for file in folder.glob("*.safetensors")}
    return sorted(file for file in files - read if not file.startswith("adapter_"))


def files_of_index(index: Path) -> list[str]:
    """The files that an index of weights names; InputError: it is no such index."""
    refuse_lfs_pointer(index)
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{index}: not an index of weight files: {error}") from error


def check_files(folder: Path) -> dict[str, str]:
    """Refuse weights that cannot be read as a model's; what in their names is to be replaced.

    Only headers are read. The replacements are patterns, as transformers' `key_mapping` takes them.

    Raises:
        InputError: files missing, cut short or not downloaded; empty tensors; an unmerged adapter.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        shapes |= shapes_of(file)
    if empty := [name for name, shape in shapes.items() if 0 in shape]:
        raise InputError(
            f"{folder}: {len(empty)} of {len(shapes)} tensors are empty (first: {empty[0]}): "
            "DeepSpeed ZeRO-3 saved them without gathering them; zero_to_fp32.py of the training "
            "checkpoint writes the whole weights"
        )
    if loras := [name for name in shapes if ".lora_" in name]:
        raise InputError(
            f"{folder}: {len(loras)} of {len(shapes)} tensors are of an adapter that is not merged "
            f"(first: {loras[0]}); save the model after merge_and_unload(), or the adapter alone"
        )
    for prefix in PREFIXES:
        if shapes and all(name.startswith(prefix) for name in shapes):
            return {"^" + prefix.replace(".", r"\."): ""}
    return {}


def safetensors_header(file: Path) -> Mapping[str, Any]:
    """The header of a safetensors file: its metadata, and name -> dtype, shape, data_offsets.

    Raises:
        InputError: it is none, or cut short.
    """
    refuse_lfs_pointer(file)
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > size:
                raise ValueError("it does not begin with a header")
            header = json.loads(opened.read(length))
        tensors = [tensor for name, tensor in header.items() if name != METADATA]
        stated = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise InputError(f"{file}: not a readable safetensors file: {error}") from error
    if stated > size:
        raise InputError(
            f"{file}: cut short: found {size:,} bytes; its header says {stated:,}. Copy or "
            "download it again"
        )
    return dict(header)


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's tensors by name; InputError: see `safetensors_header`."""
    header = safetensors_header(file)
    return {name: tuple(header[name]["shape"]) for name in header if name != METADATA}


def check_keys(
    name: str, hf: Any, info: Mapping[str, Any], config: Any, place: str = "its files"
) -> None:
    """Refuse a model some of whose weights `from_pretrained` did not find in the files."""
    kind = type(hf).__name__
    saved_as = (getattr(config, "architectures", None) or [kind])[0]
    hint = f" (they were saved as a {saved_as})" if saved_as != kind else ""
    if missing := sorted(map(str, info.get("missing_keys") or ())):
        raise InputError(
            f"{name}: {len(missing)} weights of {kind} have missing values in {place} (first: "
            f"{missing[0]}); they would be random{hint}"
        )
    if others := sorted(info.get("mismatched_keys") or ()):
        key, shape, needed = others[0]
        raise InputError(
            f"{name}: {counted(len(others), 'weight')} of another shape in {place} than "
            f"config.json says (first: {key}: found {tuple(shape)}; allowed: {tuple(needed)}){hint}"
        )


def left_over(name: str, hf: Any, keys: list[str]) -> list[str]:
    """The note on tensors that no weight of the model uses.

    Raises:
        InputError: they belong to modules that the model has, which would compute something else.
    """
    owners = {path for path, module in hf.named_modules() if [*module.parameters(recurse=False)]}
    if needed := [key for key in keys if key.rpartition(".")[0] in owners]:
        raise InputError(
            f"{name}: config.json builds modules without {counted(len(needed), 'tensor')} that its "
            f"files have for them (first: {needed[0]}); allowed: the config.json of these weights"
        )
    return [f"{counted(len(keys), 'tensor')} of its files (first: {keys[0]})"] if keys else []


def check_finite(name: str, hf: Any) -> None:
    """Refuse weights that are not finite numbers."""
    import torch

    wrong = [
        key
        for key, weight in hf.named_parameters()
        if weight.device.type != "meta" and weight.is_floating_point() and weight.itemsize > 1
        if not weight.detach().sum(dtype=torch.float32).isfinite()  # fast, and may overflow
        and not weight.isfinite().all()
    ]
    if wrong:
        raise InputError(
            f"{name}: {len(wrong)} of its weights hold values that are not finite (first: "
            f"{wrong[0]}); allowed: finite numbers"
        )
