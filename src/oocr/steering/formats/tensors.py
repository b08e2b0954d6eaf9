"""Tensors from other people's files; nothing but tensors is ever unpickled."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError

PICKLES = (".pt", ".pth", ".bin")
SAFE = ".safetensors"


def read_tensors(path: str | Path) -> Tensor | dict[str, Tensor]:
    """What a tensor file holds: one bare tensor, or tensors by name; on the CPU.

    A `.pt`, `.pth` or `.bin` file is a pickle, which could run code; it is read with
    `torch.load(weights_only=True)`, which makes tensors and plain containers and nothing else.

    Raises:
        InputError: not such a file, or one that holds anything but finite floating-point tensors.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (*PICKLES, SAFE):
        raise InputError(
            f"{path}: file ending: found {ending!r}; allowed: {', '.join((*PICKLES, SAFE))}"
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    found = _safetensors(path) if ending == SAFE else _pickled(path)
    if isinstance(found, Tensor):
        _refuse(path, {"the tensor": found})
        return found.detach()
    if not isinstance(found, Mapping):
        raise InputError(
            f"{path}: content: found a {type(found).__name__}; allowed: one tensor, or a dict of "
            "tensors by name"
        )
    _refuse(path, found)
    return {name: tensor.detach() for name, tensor in found.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # safetensors raises several types
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


def _pickled(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers fail in many ways
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        unsafe = "Unsupported" in str(error) or "weights_only" in str(error).lower()
        what = "it holds more than tensors, and such a pickle could run code" if unsafe else reason
        raise InputError(
            f"{path}: cannot be read as tensors: {what}; nothing of it was used. Ask for tensors "
            "only: torch.save(tensor.detach(), …), or safetensors"
        ) from error
    return found


def _refuse(path: Path, tensors: Mapping[object, object]) -> None:
    """Refuse what is no finite floating-point tensor under a text, all of it in one error."""
    wrong: list[str] = []
    for name, one in tensors.items():
        if not isinstance(name, str) or not isinstance(one, Tensor):
            wrong.append(f"{name!r}: found a {type(one).__name__}; allowed: a tensor")
        elif one.is_sparse or one.is_quantized or not one.is_floating_point():
            wrong.append(f"{name}: found {one.dtype}; allowed: a dense floating-point tensor")
        elif not torch.isfinite(one).all():
            wrong.append(f"{name}: found values that are not finite; allowed: finite numbers")
    if not tensors:
        wrong.append("content: found nothing; allowed: at least one tensor")
    if wrong:
        raise InputError(listing(f"{path} cannot be used", wrong))
