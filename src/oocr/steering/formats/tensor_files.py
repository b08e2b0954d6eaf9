"""Tensors from files that this library did not write; nothing else of them is unpickled."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oocr.errors import InputError
from oocr.lfs import refuse_lfs_pointer
from oocr.steering.vector_file import read_safetensors

PICKLES = (".pt", ".pth", ".bin")
"""Files of torch.save, of which only tensors, numbers, texts and collections of these are read."""

OTHER_PICKLES = (".pkl", ".pickle", ".joblib")
NUMPY = (".npy", ".npz")
SAFE = ".safetensors"
TENSOR_FILES = (*PICKLES, *OTHER_PICKLES, *NUMPY, SAFE)


def content_of(path: Path) -> tuple[object, dict[str, str]]:
    """The content of a file of tensors, on the CPU, and a safetensors file's metadata; not checked.

    Raises:
        InputError: no such file, another ending, or a pickle of more than plain values.
    """
    ending = path.suffix.lower()
    if ending not in TENSOR_FILES:
        allowed = ", ".join((*PICKLES, *NUMPY, SAFE))
        raise InputError(f"{path}: file ending: found {ending!r}; allowed: {allowed}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    refuse_lfs_pointer(path)
    if (kind := _other_kind(path)) is not None:
        raise InputError(f"{path}: this is {kind}, under the ending {ending}")
    if ending == SAFE:
        return read_safetensors(path)
    return (_of_numpy(path) if ending in NUMPY else _pickled(path)), {}


_STARTS = {
    b"GGUF": (".gguf", "a GGUF file"),
    b"ggla": (".gguf", "a LoRA of llama.cpp before GGUF"),
    b"\x93NUMPY": (".npy", "a NumPy array"),
    b"\x89HDF": (".h5", "an HDF5 file"),
}
"""First bytes of a file -> its ending, and its format in words."""


def _other_kind(path: Path) -> str | None:
    """The format by a file's first bytes, if its ending says another."""
    with path.open("rb") as file:
        start = file.read(16)
    kinds = [kind for first, kind in _STARTS.items() if start.startswith(first)]
    kinds += [(SAFE, "a safetensors file")] * (start[8:10] == b'{"')
    return kinds[0][1] if kinds and kinds[0][0] != path.suffix.lower() else None


def _of_numpy(path: Path) -> object:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _tensor(loaded)
        with loaded:
            return {name: _tensor(loaded[name]) for name in loaded.files}
    except Exception as error:  # numpy raises several types
        raise InputError(
            f"{path}: not a readable {path.suffix.lower()} file of numbers ({error})"
        ) from error


def _tensor(numbers: np.ndarray) -> Tensor:
    """A tensor of an array, whose bytes may be in another machine's order."""
    return torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("="), copy=False))


def _pickled(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers fail in many ways
        text = str(error).strip()
        reason = text.splitlines()[-1] if text else type(error).__name__
        unsafe = "Unsupported" in text or "weights_only" in text.lower()
        unsafe |= path.suffix.lower() in OTHER_PICKLES
        what = "it holds more than tensors, and such a pickle could run code" if unsafe else reason
        raise InputError(
            f"{path}: cannot be read as tensors: {what}; nothing of it was used. "
            + (_way_out(path, text) if unsafe else "Allowed: what torch.save wrote")
        ) from error
    return content


_WAYS = {
    "SteeringVector": 'torch.save({"layer_activations": dict(v.layer_activations), '
    '"layer_type": v.layer_type}, "vectors.pt")',
    "ControlVector": 'v.export_gguf("vectors.gguf")',
    "numpy": "torch.save({key: torch.as_tensor(value) for key, value in v.items()}, "
    '"vectors.pt") (of one array: numpy.save("vector.npy", v))',
    "": 'torch.save({layer: tensor, …}, "vectors.pt") of the plain tensors in v',
}
"""Name in a pickle -> Python that saves only its tensors, for users who trust the pickle."""


def _way_out(path: Path, error: str) -> str:
    """Lines of Python that save a pickle's content as tensors, for users who trust the pickle."""
    classes = " ".join(re.findall(r"GLOBAL (\S+)", error)) or error
    way = next(way for name, way in _WAYS.items() if name in classes)
    load = {
        ".joblib": f"joblib.load({path.name!r})",
        **dict.fromkeys((".pkl", ".pickle"), f"pickle.load(open({path.name!r}, 'rb'))"),
    }.get(path.suffix.lower(), f"torch.load({path.name!r}, weights_only=False)")
    return f"If you trust it, save its tensors alone, in Python: v = {load}; {way}"


def tensor_fault(tensor: Tensor) -> str:
    """What keeps a tensor from being used as float32 numbers; empty: nothing."""
    if tensor.is_sparse or tensor.is_quantized or not tensor.is_floating_point():
        sparse = "sparse " * tensor.is_sparse
        return f"found {sparse}{tensor.dtype}; allowed: a dense floating-point tensor"
    if not torch.isfinite(tensor.float()).all():
        return "found values that are not finite; allowed: finite numbers"
    return ""
