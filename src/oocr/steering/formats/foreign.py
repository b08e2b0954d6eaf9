"""Vectors from files that this library did not write; only tensors are unpickled."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.steering.hooks import Site
from oocr.steering.vectors import Vector, read_safetensors

PICKLES = (".pt", ".pth", ".bin")
SAFE = ".safetensors"

_STEP = re.compile(r"(?P<code>[^_]+)_(?P<name>.+)_step_(?P<step>\d+)")
_SWEEP = re.compile(r"vector_(?P<dataset>.+)_layer_(?P<layer>\d+)(?:_.*)?")


@dataclass(frozen=True, slots=True)
class NameParts:
    """What a vector file's name says: `CODENAME_NAME_step_N`, `vector_DATASET_layer_L_rank_R`."""

    codename: str | None = None
    name: str | None = None
    step: int | None = None
    dataset: str | None = None
    layer: int | None = None


def name_parts(path: str | Path) -> NameParts:
    """Read a vector file's name."""
    stem = Path(path).stem
    if match := _SWEEP.fullmatch(stem):
        return NameParts(dataset=match["dataset"], layer=int(match["layer"]))
    if match := _STEP.fullmatch(stem):
        return NameParts(codename=match["code"], name=match["name"], step=int(match["step"]))
    return NameParts()


def read_vector(
    path: str | Path,
    *,
    layer: int | None = None,
    positions: str | None = None,
    site: Site | None = None,
) -> Vector:
    """Read a vector: a file of this library, or a bare tensor [d_model] in a `.pt` file.

    A bare tensor needs `positions`, and `layer` and `site` ("block", "mlp") unless the file's name
    is of the paper's authors, who added theirs at the MLP's output.

    Raises:
        InputError: not such a file, or the layer, positions or site are not known.
    """
    path = Path(path)
    if path.suffix.lower() not in PICKLES:
        vector = Vector.load(path)
        if layer not in (None, vector.layer):
            raise InputError(f"layer: found {layer}; {path} is a vector of block {vector.layer}")
        if site not in (None, vector.site):
            raise InputError(f"site: found {site!r}; {path} is a vector at the {vector.site}")
        return vector if positions is None else vector.at(positions)
    direction, parts = bare_vector(path), name_parts(path)
    if parts.layer is not None and layer not in (None, parts.layer):
        raise InputError(f"layer: found {layer}; the name of {path} says {parts.layer}")
    layer = parts.layer if layer is None else layer
    if site is None and parts != NameParts():
        site = "mlp"
    if layer is None or positions is None or site is None:
        needed = {
            "layer (a block's number)": layer,
            "positions (all, last, a span's name, …)": positions,
            "site (block or mlp)": site,
        }
        missing = [name for name, value in needed.items() if value is None]
        raise InputError(f"{path}: a bare tensor; it does not say its {' or its '.join(missing)}")
    about = {"file": path.name}
    about |= {name: str(value) for name, value in asdict(parts).items() if value is not None}
    about.pop("layer", None)
    return Vector(layer, positions, direction.float(), about=about, site=site)


def bare_vector(path: str | Path) -> Tensor:
    """The one-dimensional tensor [d_model] that a file holds."""
    tensor = read_tensors(path)
    if not isinstance(tensor, Tensor):
        lora = any("lora_" in name for name in tensor)
        hint = "; this is a LoRA: read it as an adapter" if lora else ""
        raise InputError(
            f"{path}: found {len(tensor)} named tensors; allowed: one bare tensor{hint}"
        )
    if tensor.ndim != 1 or len(tensor) < 2:
        raise InputError(
            f"{path}: shape: found {tuple(tensor.shape)}; allowed: one axis, (d_model,)"
        )
    if re.search(r"_grad_step_\d+$", Path(path).stem):
        raise InputError(f"{path}: by its name this is a gradient, not a vector")
    return tensor


def read_tensors(path: str | Path) -> Tensor | dict[str, Tensor]:
    """One bare tensor, or tensors by name, on the CPU; refuses what is not finite tensors."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (*PICKLES, SAFE):
        raise InputError(
            f"{path}: file ending: found {ending!r}; allowed: {', '.join((*PICKLES, SAFE))}"
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    content = read_safetensors(path)[0] if ending == SAFE else _pickled(path)
    if isinstance(content, Tensor):
        _refuse(path, _faults({"the tensor": content}))
        return content.detach()
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path}: content: found a {type(content).__name__}; allowed: one tensor, or a dict of "
            "tensors by name"
        )
    _refuse(path, _faults(content))
    return {name: tensor.detach() for name, tensor in content.items()}


def _pickled(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers fail in many ways
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        unsafe = "Unsupported" in str(error) or "weights_only" in str(error).lower()
        what = "it holds more than tensors, and such a pickle could run code" if unsafe else reason
        raise InputError(
            f"{path}: cannot be read as tensors: {what}; nothing of it was used. Ask for tensors "
            "only: torch.save(tensor.detach(), …), or safetensors"
        ) from error
    return content


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        raise InputError(listing(f"{path} cannot be used", faults))


def _faults(tensors: Mapping[object, object]) -> list[str]:
    """What is no finite floating-point tensor under a text."""
    wrong: list[str] = []
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            wrong.append(f"{name!r}: found a {type(tensor).__name__}; allowed: a tensor")
        elif tensor.is_sparse or tensor.is_quantized or not tensor.is_floating_point():
            wrong.append(f"{name}: found {tensor.dtype}; allowed: a dense floating-point tensor")
        elif not torch.isfinite(tensor).all():
            wrong.append(f"{name}: found values that are not finite; allowed: finite numbers")
    if not tensors:
        wrong.append("content: found nothing; allowed: at least one tensor")
    return wrong
