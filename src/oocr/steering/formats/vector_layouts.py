"""Steering vectors from files of any project, in all layouts that are known here.

    this library            .safetensors with its metadata
    llama.cpp, repeng       GGUF control vectors
    a bare tensor           [d_model] in .pt, .pth, .bin, .npy, .safetensors; the file's name may
                            say the layer (CAA, EasyEdit, this paper's authors)
    a tensor and numbers    {"vector": tensor, "layer": 12, "model": "…"}
    by layer                {12: tensor}, {"layer_12": tensor}, {"model.layers.12.mlp": tensor}
    steering-vectors        {"layer_activations": {12: tensor}, "layer_type": "decoder_block"}
    lm-eval                 {"layers.12": {"steering_vector": tensor, "action": "add", …}}
    stacked                 [layers, d_model]: row 12 is block 12; persona_vectors' files, whose
                            row 0 is what block 0 reads: row 13 is block 12

What is said beside the tensors is used, kept in `Vector.about`, or named there as left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from oocr.data.source_file import shown
from oocr.errors import InputError
from oocr.hub_files import HUB_FILE, fetch_vector, hub_path
from oocr.steering.formats.gguf_vector import is_gguf_file, read_gguf
from oocr.steering.formats.tensor_files import content_of, tensor_fault
from oocr.steering.formats.vector_file import VectorFile
from oocr.steering.hooks import Site
from oocr.steering.vector_file import RESERVED
from oocr.steering.vectors import Vector
from oocr.words import counted, ranges, short_list

CONTAINERS = ("layer_activations", "directions", "vectors", "steering_vectors")
"""Keys below which files keep their vectors by layer."""

LAYER_KEYS = ("layer", "layer_idx", "layer_index", "layer_id", "layer_num", "layer_number")
WIDTH_KEYS = ("d_model", "hidden_size", "dim", "hidden_dim")
MODEL_KEYS = ("model", "model_name", "model_id", "base_model", "model_name_or_path")
FACTORS = (
    *("alpha", "coef", "coeff", "coefficient", "factor", "multiplier", "scale", "scaling"),
    *("strength", "weight"),
)
"""Keys of a factor that the tensor isn't multiplied by."""

LAYER_TYPES: dict[str, Site] = {"decoder_block": "block", "mlp": "mlp"}
"""steering-vectors' `layer_type` -> site."""

SITE_NAMES: dict[str, Site] = {**LAYER_TYPES, "block": "block", "block output": "block"}
SITE_NAMES["mlp output"] = "mlp"

FROM_0 = "a block's number, from 0 on (what is counted from the end depends on the model)"

OTHER_MODULES = {
    *("attn", "attention", "head", "heads", "ln", "norm", "norms", "layernorm", "rmsnorm", "bn"),
    *("pre", "mid", "input", "up", "gate", "q", "k", "v", "o", "qkv", "embed", "bias"),
}
"""Words in a key that say that a vector is of neither a block's output nor its MLP's."""

NAMES: dict[str, Site | None] = {
    r"vector_(?P<dataset>.+)_layer_(?P<layer>\d+)(?:_.*)?": "mlp",  # this paper's authors
    r"(?P<codename>[^_]+)_(?P<name>.+)_step_(?P<step>\d+)": "mlp",  # they too
    r"vec_layer_(?P<layer>\d+)(?:_.*)?": "block",  # CAA
    r"layer_?(?P<layer>\d+)": None,  # EasyEdit
}
"""Names that projects give to their vectors' files, and the site at which they add them."""

_HIDDEN_STATES = re.compile(r".*_(prompt_avg|response_avg|prompt_last)_diff")


def read_vector(
    path: str | Path,
    *,
    layer: int | None = None,
    positions: str | None = None,
    site: Site | None = None,
) -> Vector:
    """Read one vector from a file of this library or of another project.

    A file of this library says it all, a GGUF control vector acts at all tokens. Other files need
    `positions`, `site` ("block", "mlp") and `layer`, unless they say it; of several vectors `layer`
    chooses one. The list of layouts is in `oocr.steering.formats.vector_layouts`.

    Raises:
        InputError: not such a file, or the layer, positions or site are not known.
    """
    file = read_vector_file(path)
    if layer is None and len(file.layers) > 1:
        raise InputError(
            f"{path}: {file.format}: it has vectors at blocks {ranges(file.layers)}; choose one by "
            "layer= (on the command line --layer)"
        )
    return file.completed(None if layer is None else [layer], positions, site).vectors[0]


def read_vector_file(path: str | Path) -> VectorFile:
    """Read a file of vectors, even if fields are missing.

    Raises:
        InputError: no such file, or no vector in it; the message says what it is.
    """
    if (address := hub_path(path)) is not None:
        hub_file = fetch_vector(address)
        known = read_vector_file(hub_file.local)
        # Later messages and commands use the name as given.
        about = {**known.about, HUB_FILE: str(hub_file.address)}
        return replace(known, path=Path(path), about=about)
    path = Path(path)
    if is_gguf_file(path):
        return VectorFile.of(path, "a GGUF control vector", read_gguf(path))
    content, metadata = content_of(path)
    if metadata.get("format", "").startswith("oocr-"):  # newer versions are refused there
        return VectorFile.of(path, "of this library", [Vector.load(path)])
    if re.search(r"_grad_step_\d+$", path.stem):
        raise InputError(f"{path}: by its name this is a gradient, not a vector")
    # What `save_pretrained` writes says "pt" or the like of how the tensors were made.
    metadata.pop("format", None)
    return _Layout(path, *fields_in_name(path)).file(content, metadata)


def fields_in_name(path: Path) -> tuple[dict[str, str], Site | None]:
    """Fields in a vector's file name ("layer", "step", …), and the site of such files."""
    for pattern, site in NAMES.items():
        if match := re.fullmatch(pattern, path.stem):
            return match.groupdict(), site
    return {}, None


class _Layout:
    """Makes a `VectorFile` from a file's content and the fields in its name."""

    def __init__(self, path: Path, name: dict[str, str], site: Site | None) -> None:
        self.path, self.name, self.site = path, name, site

    def file(self, content: object, metadata: Mapping[str, object]) -> VectorFile:
        if isinstance(content, list | tuple) and content:
            content = self.stack([*content])
        if isinstance(content, Tensor):
            return self.tensor(content, metadata)
        if not isinstance(content, Mapping) or not content:
            raise self.refusal(f"found {_kind(content)}")
        if any(isinstance(key, str) and "lora_" in key for key in content):
            raise self.refusal("these are a LoRA's tensors: it is read as an adapter")
        for name in CONTAINERS:
            inner = content.get(name)
            if isinstance(inner, Mapping | list | tuple):
                others = {str(key): value for key, value in content.items() if key != name}
                return self.file(inner, {**metadata, **others})
        if all(isinstance(e, Mapping) and "steering_vector" in e for e in content.values()):
            tensors = {name: self.of_lm_eval(name, entry) for name, entry in content.items()}
            return self.file(tensors, {"site": "block", "positions": "all"})
        tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        others = {str(key): value for key, value in content.items() if key not in tensors}
        metadata = {**metadata, **others}
        numbers = {key: _numbers_in(key) for key in tensors}
        if len(tensors) == 1 and not all(numbers.values()) and isinstance(next(iter(tensors)), str):
            return self.tensor(next(iter(tensors.values())), metadata)
        if tensors and all(len(layers) == 1 for layers in numbers.values()):
            layer_of = {key: layers[0] for key, layers in numbers.items()}
            return self.by_layer(tensors, layer_of, metadata)
        is_model = any(isinstance(key, str) and key.endswith(".weight") for key in content)
        what = "a model's weights" if is_model else f"{len(tensors)} tensors"
        raise self.refusal(f"found {what} under {short_list(map(repr, content), 4)}")

    def stack(self, rows: list[object]) -> Tensor:
        tensors = [row for row in rows if isinstance(row, Tensor)]
        if len(tensors) < len(rows) or len({row.shape for row in tensors}) > 1:
            kinds = ", ".join(sorted({_kind(row) for row in rows}))
            raise self.refusal(f"found a list of {len(rows)} entries ({kinds})")
        return torch.stack(tensors)

    def tensor(self, tensor: Tensor, metadata: Mapping[str, object]) -> VectorFile:
        """One tensor: a vector, or a row for each block."""
        tensor = _without_outer_axes(tensor)
        if tensor.ndim == 3 and tensor.shape[1] == 1:  # [layers, 1, d_model]
            tensor = tensor[:, 0]
        if tensor.ndim == 2:
            shift = int(_HIDDEN_STATES.fullmatch(self.path.stem) is not None)
            words = f"{len(tensor)} rows of a tensor, row 0 of "
            words += "what block 0 reads" if shift else "block 0"
            directions = {row - shift: tensor[row] for row in range(len(tensor))}
            return self.file_of(words, directions, metadata, rows=len(tensor), shift=shift)
        layers = {
            key: number for key in LAYER_KEYS if (number := _whole(metadata.get(key))) is not None
        }
        by_name = _whole(self.name.get("layer"))
        if len({*layers.values(), by_name} - {None}) > 1:
            words = ", ".join(f"{key} {metadata[key]!r}" for key in layers)
            raise InputError(
                f"{self.path}: layer: found {words}, and {by_name} in the file's name; allowed: one"
            )
        layer = next(iter(layers.values()), by_name)
        others = {key: value for key, value in metadata.items() if key not in layers}
        words = "a tensor with metadata" if metadata else "a bare tensor"
        return self.file_of(words, {layer: tensor}, others)

    def by_layer(
        self,
        tensors: Mapping[object, Tensor],
        layers: Mapping[object, int],
        metadata: Mapping[str, object],
    ) -> VectorFile:
        frames = {re.sub(r"\d+", "#", str(key)) for key in tensors}
        if len(frames) > 1 or len(set(layers.values())) < len(layers):
            names = ", ".join(map(repr, list(tensors)[:4]))
            raise self.refusal(f"found tensors under {names}, … of more than one kind")
        words = set(re.split(r"[^a-z]+", frames.pop().lower()))
        if others := words & OTHER_MODULES:
            raise self.refusal(
                f"found vectors of another module ({', '.join(sorted(others))}); allowed: of a "
                "block's output, or its MLP's"
            )
        if "mlp" in words:
            metadata = {**metadata, "site": "mlp"}
        form = f"{counted(len(tensors), 'vector')} by layer"
        return self.file_of(
            form, {layers[key]: tensor for key, tensor in tensors.items()}, metadata
        )

    def of_lm_eval(self, name: object, entry: Mapping[str, object]) -> Tensor:
        """The tensor of a hook point, multiplied by its coefficient."""
        vector, factor = entry["steering_vector"], entry.get("steering_coefficient", 1.0)
        fixed = {"action": "add", "bias": None, "head_index": None}
        wrong = [key for key, value in fixed.items() if entry.get(key, value) != value]
        if wrong or not isinstance(vector, Tensor) or not isinstance(factor, int | float):
            key = wrong[0] if wrong else "steering_vector"
            allowed = repr(fixed.get(key, "a tensor and a number"))
            raise InputError(
                f"{self.path}: {name}: {key}: found {shown(entry.get(key))}; allowed: {allowed}"
            )
        return vector * factor

    def file_of(
        self,
        form: str,
        tensors: Mapping[int | None, Tensor] | Mapping[int, Tensor],
        metadata: Mapping[str, object],
        *,
        rows: int = 0,
        shift: int = 0,
    ) -> VectorFile:
        if (first := min((n for n in tensors if n is not None), default=0)) < -shift:
            raise self.refusal(f"layer: found {first}; allowed: {FROM_0}")
        directions = {layer: self.direction(layer, tensor) for layer, tensor in tensors.items()}
        widths = sorted({len(direction) for direction in directions.values()})
        if len(widths) > 1:
            raise self.refusal(f"found widths {', '.join(map(str, widths))}")
        site, positions, left_out = None, None, list[str]()
        about = {key: text for key, text in self.name.items() if key != "layer"}
        for key, value in metadata.items():
            if key in ("site", "layer_type"):
                names = SITE_NAMES if key == "site" else LAYER_TYPES
                if not isinstance(value, str) or value not in names:
                    allowed = ", ".join(names)
                    raise InputError(
                        f"{self.path}: {key}: found {shown(value)}; allowed: {allowed}"
                    )
                site = names[value]
            elif key == "positions" and isinstance(value, str):
                positions = value
            elif key in WIDTH_KEYS and _whole(value) is not None:
                if _whole(value) != widths[0]:
                    raise self.refusal(f"found width {widths[0]}, and {key} {value!r}")
            elif key in MODEL_KEYS and isinstance(value, str):
                about["model"] = value
            elif key in FACTORS:
                left_out.append(f"{key} {shown(value)}, which it is not multiplied by")
            elif isinstance(value, str | int | float) and key not in RESERVED:
                about[key] = str(value)
            elif value is not None:
                left_out.append(f"{key} ({_kind(value)})")
        fields = {**about, "layer": str(next(iter(directions)))}
        by_name = {key for key, text in self.name.items() if fields[key] == text}
        by_name |= {"site"} if site is None and self.site else set()
        about = {"file": self.path.name, **about}
        about |= {"left out": "; ".join(left_out)} if left_out else {}
        return VectorFile(
            *(self.path, form, directions, site or self.site, positions, about),
            by_name=frozenset(by_name),
            rows=rows,
            shift=shift,
        )

    def direction(self, layer: int | None, tensor: Tensor) -> Tensor:
        """A direction [d_model] in float32."""
        tensor = _without_outer_axes(tensor)
        where = "" if layer is None else f"block {layer}: "
        if fault := tensor_fault(tensor):
            raise self.refusal(f"{where}{fault}")
        if tensor.ndim != 1 or len(tensor) < 2:
            raise self.refusal(
                f"{where}shape: found {tuple(tensor.shape)}; allowed: one axis, (d_model,)"
            )
        return tensor.detach().float()

    def refusal(self, words: str) -> InputError:
        return InputError(
            f"{self.path}: {words}; no vector was read. Allowed: one tensor [d_model], or one for "
            "each layer: {12: tensor}, {'layer_12': tensor}, or rows [layers, d_model]"
        )


def _without_outer_axes(tensor: Tensor) -> Tensor:
    while tensor.ndim > 1 and tensor.shape[0] == 1:
        tensor = tensor[0]
    return tensor


def _numbers_in(key: object) -> list[int]:
    """The whole numbers that a key is, or has in it."""
    if isinstance(key, str):
        return [int(text) for text in re.findall(r"(?<![A-Za-z0-9])-\d+|\d+", key)]
    return [key] if isinstance(key, int) and not isinstance(key, bool) else []


def _whole(value: object) -> int | None:
    """A whole number, or the text of one."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,6}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if hasattr(value, "__len__") else "")
