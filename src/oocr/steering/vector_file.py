"""The vector file: a safetensors file that says what its vector is, where it acts, whence it came.

    direction.4             fp32 [d_model], added at block 4 with its scale folded in
    direction.4.codename    of a vector at joined spans: one tensor each, in place of that one

All metadata are strings: `format`, `layer`, `site` ("block output", "mlp output"), `operation`
("add"), `scale` ("folded in"), `positions`, `spans` (JSON: name -> text), and the entries of
`Vector.about` under their own names; a trained vector has `model`, `model_id`, `model_revision`,
`model_sha256`, `model_fingerprint`, `model_dtype`, `model_type` (those that are known), `task`,
`training_data` (a hash), `seed`, `step`, and the versions of `oocr`, `torch`, `transformers`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from safetensors import safe_open
from torch import Tensor

from oocr.errors import InputError
from oocr.io import write_tensors
from oocr.steering.attach import check_fits
from oocr.steering.positions import JOIN, spans_of
from oocr.steering.vectors import Site, Vector

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel

FORMAT = "oocr-vector-2"
OLD_FORMAT = "oocr-vector-1"
"""It had all of `about` in one JSON string, and joined spans as rows of one tensor."""

SITES = {"block": "block output", "mlp": "mlp output"}
FIXED = {"operation": "add", "scale": "folded in"}
OWN = ("format", "layer", "site", *FIXED, "positions", "spans")
"""Names that `about` cannot use."""


def write(path: Path, vector: Vector) -> Path:
    """Write a vector's file.

    Raises:
        InputError: an entry of `about` has one of the names in `OWN`.
    """
    if taken := sorted(set(OWN) & set(vector.about)):
        raise InputError(f"about: {taken[0]!r} is taken; allowed: names but {', '.join(OWN)}")
    metadata = {
        "format": FORMAT,
        "layer": str(vector.layer),
        "site": SITES[vector.site],
        **FIXED,
        "positions": vector.positions,
        "spans": json.dumps(dict(vector.spans), sort_keys=True, ensure_ascii=False),
        **vector.about,
    }
    direction = vector.direction.detach().float().cpu()
    rows = direction if direction.ndim == 2 else direction[None]
    names = _names(vector.layer, vector.positions)
    tensors = {name: row.clone() for name, row in zip(names, rows, strict=True)}
    return write_tensors(path, tensors, metadata)


def read(path: Path, model: LanguageModel | None = None) -> Vector:
    """Read a vector's file; with a model, check that it fits it and warn if it is another one.

    Raises:
        InputError: not such a file, or a vector that does not fit the model.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            names: list[str] = list(file.keys())
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    except Exception as error:  # safetensors raises several types
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        vector = _made(metadata, tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if model is not None:
        try:
            check_fits(model, vector)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return vector


def _made(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Vector:
    found = metadata.get("format")
    if found not in (FORMAT, OLD_FORMAT):
        raise InputError(
            f"not a vector file of this library: format: found {found!r}; "
            f"allowed: {FORMAT}, {OLD_FORMAT}; it has the tensors {_some(tensors)}"
        )
    said = _entry(metadata, "layer")
    if not re.fullmatch(r"-1|\d{1,6}", said, re.ASCII):
        raise InputError(f"layer: found {said!r}; allowed: -1, or a block's number")
    layer = int(said)
    for name, allowed in FIXED.items():
        if metadata.get(name, allowed) != allowed:
            raise InputError(f"{name}: found {metadata[name]!r}; allowed: {allowed!r}")
    positions = _entry(metadata, "positions")
    spans_of(positions)
    names = _names(layer, positions) if found == FORMAT else [f"direction.{layer}"]
    if set(names) != set(tensors):
        raise InputError(f"tensors: found {_some(tensors)}; expected {_some(names)}")
    rows = [tensors[name] for name in names]
    if len({row.shape for row in rows}) > 1 or not all(row.is_floating_point() for row in rows):
        kinds = ", ".join(f"{row.dtype} {tuple(row.shape)}" for row in rows)
        raise InputError(f"tensors: found {kinds}; allowed: floating-point ones of one shape")
    joined = found == FORMAT and JOIN in positions
    return Vector(
        layer=layer,
        positions=positions,
        direction=(torch.stack(rows) if joined else rows[0]).float(),
        spans=_texts(metadata, "spans"),
        about=_texts(metadata, "about")
        if found == OLD_FORMAT
        else {name: text for name, text in metadata.items() if name not in OWN},
        site=_site(metadata.get("site", SITES["block"])),
    )


def _names(layer: int, positions: str) -> list[str]:
    name = f"direction.{layer}"
    return [f"{name}.{span}" for span in positions.split(JOIN)] if JOIN in positions else [name]


def _entry(metadata: Mapping[str, str], name: str) -> str:
    if name not in metadata:
        raise InputError(f"{name}: missing in the metadata, which has {_some(metadata)}")
    return metadata[name]


def _texts(metadata: Mapping[str, str], name: str) -> dict[str, str]:
    try:
        found: Any = json.loads(_entry(metadata, name))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise InputError(f"{name}: found {metadata[name]!r}; allowed: a JSON object of strings")
    return found


def _site(name: str) -> Site:
    for site in get_args(Site):
        if SITES[site] == name:
            found: Site = site
            return found
    raise InputError(f"site: found {name!r}; allowed: {', '.join(SITES.values())}")


def _some(names: Mapping[str, object] | list[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:6]) + (", …" if len(listed) > 6 else "") if listed else "none"
