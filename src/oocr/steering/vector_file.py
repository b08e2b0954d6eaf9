"""A steering vector's file: a safetensors file with fp32 tensors and metadata.

    direction.4             [d_model], added at block 4 with its scale folded in
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from oocr.errors import InputError
from oocr.io import write_tensors
from oocr.lfs import refuse_lfs_pointer
from oocr.output_checks import check_replaced
from oocr.steering.hooks import Site
from oocr.steering.positions import JOIN, spans_of
from oocr.words import short_list

FORMAT = "oocr-vector-2"
OLD_FORMAT = "oocr-vector-1"
"""It had all of `about` in one JSON string, and joined spans as rows of one tensor."""

SITES: dict[Site, str] = {"block": "block output", "mlp": "mlp output"}
FIXED = {"operation": "add", "scale": "folded in"}
RESERVED = ("format", "layer", "site", *FIXED, "positions", "spans")
"""Names that `about` cannot use."""


@dataclass(frozen=True, slots=True)
class VectorContent:
    """What a file holds: the fields of a `Vector`."""

    layer: int
    positions: str
    direction: Float[Tensor, "*span d_model"]  # fp32
    spans: Mapping[str, str]
    about: Mapping[str, str]
    site: Site


def write_vector(path: Path, content: VectorContent) -> Path:
    """Write a vector's file.

    Raises:
        InputError: `RESERVED` names in `about`, or another kind of file in this place.
    """
    if taken := sorted(set(RESERVED) & set(content.about)):
        raise InputError(f"about: {taken[0]!r} is taken; allowed: names but {', '.join(RESERVED)}")
    metadata = {
        "format": FORMAT,
        "layer": str(content.layer),
        "site": SITES[content.site],
        **FIXED,
        "positions": content.positions,
        "spans": json.dumps(dict(content.spans), sort_keys=True, ensure_ascii=False),
        **content.about,
    }
    direction = content.direction.detach().float().cpu()
    rows = direction if direction.ndim == 2 else direction[None]
    names = _tensor_names(content.layer, content.positions)
    tensors = {name: row.clone() for name, row in zip(names, rows, strict=True)}
    check_replaced(path, "a vector's file", _is_vector_file)
    return write_tensors(path, tensors, metadata)


def vector_content(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> VectorContent:
    """The fields of a vector from its file's content; `InputError` if that is wrong."""
    version = metadata.get("format")
    if version not in (FORMAT, OLD_FORMAT):
        raise InputError(
            f"not a vector file of this library: format: found {version!r}; "
            f"allowed: {FORMAT}, {OLD_FORMAT}; it has the tensors {short_list(sorted(tensors))}"
        )
    number = _entry(metadata, "layer")
    if not re.fullmatch(r"-1|\d{1,6}", number, re.ASCII):
        raise InputError(f"layer: found {number!r}; allowed: -1, or a block's number")
    layer = int(number)
    for name, allowed in FIXED.items():
        if metadata.get(name, allowed) != allowed:
            raise InputError(f"{name}: found {metadata[name]!r}; allowed: {allowed!r}")
    positions = _entry(metadata, "positions")
    spans_of(positions)
    names = _tensor_names(layer, positions) if version == FORMAT else [f"direction.{layer}"]
    if set(names) != set(tensors):
        raise InputError(
            f"tensors: found {short_list(sorted(tensors))}; expected {short_list(names)}"
        )
    rows = [tensors[name] for name in names]
    if len({row.shape for row in rows}) > 1 or not all(row.is_floating_point() for row in rows):
        kinds = ", ".join(f"{row.dtype} {tuple(row.shape)}" for row in rows)
        raise InputError(f"tensors: found {kinds}; allowed: floating-point ones of one shape")
    joined = version == FORMAT and JOIN in positions
    sites = {name: site for site, name in SITES.items()}
    if (name := metadata.get("site", SITES["block"])) not in sites:
        raise InputError(f"site: found {name!r}; allowed: {', '.join(sites)}")
    return VectorContent(
        layer=layer,
        positions=positions,
        direction=(torch.stack(rows) if joined else rows[0]).float(),
        spans=_texts(metadata, "spans"),
        about=_texts(metadata, "about")
        if version == OLD_FORMAT
        else {name: text for name, text in metadata.items() if name not in RESERVED},
        site=sites[name],
    )


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A safetensors file's tensors, on the CPU, and metadata; an InputError if it is none."""
    refuse_lfs_pointer(Path(path))
    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except Exception as error:  # safetensors raises several types
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


def _is_vector_file(path: Path) -> bool:
    return read_safetensors(path)[1].get("format", "").startswith("oocr-vector")


def _tensor_names(layer: int, positions: str) -> list[str]:
    name = f"direction.{layer}"
    return [f"{name}.{span}" for span in positions.split(JOIN)] if JOIN in positions else [name]


def _entry(metadata: Mapping[str, str], name: str) -> str:
    if name not in metadata:
        raise InputError(
            f"{name}: missing in the metadata, which has {short_list(sorted(metadata))}"
        )
    return metadata[name]


def _texts(metadata: Mapping[str, str], name: str) -> dict[str, str]:
    try:
        texts: Any = json.loads(_entry(metadata, name))
    except ValueError:
        texts = None
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise InputError(f"{name}: found {metadata[name]!r}; allowed: a JSON object of strings")
    return texts
