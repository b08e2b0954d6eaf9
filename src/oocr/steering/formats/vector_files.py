"""Steering vectors from files of any project: one, or one for each of several blocks.

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from oocr.data.source_file import shown
from oocr.errors import InputError
from oocr.models.gguf.header import is_gguf
from oocr.steering.formats.foreign import SAFE, content_of
from oocr.steering.formats.gguf import GGUF, read_gguf
from oocr.steering.hooks import Site
from oocr.steering.vectors import FORMAT, OLD_FORMAT, RESERVED, Vector

CONTAINERS = ("layer_activations", "directions", "vectors", "steering_vectors")
"""Keys below which files keep their vectors by layer."""

LAYER_KEYS = ("layer", "layer_idx", "layer_index", "layer_id", "layer_num", "layer_number")
WIDTH_KEYS = ("d_model", "hidden_size", "dim", "hidden_dim")
MODEL_KEYS = ("model", "model_name", "model_id", "base_model", "model_name_or_path")
FACTORS = ("alpha", "coeff", "coefficient", "multiplier", "scale", "strength", "weight")
"""Keys of a factor that the tensor isn't multiplied by."""

LAYER_TYPES: dict[str, Site] = {"decoder_block": "block", "mlp": "mlp"}
"""steering-vectors' `layer_type` -> site."""

FROM_0 = "a block's number, from 0 on (what is counted from the end depends on the model)"

OTHER_MODULES = {
    *("attn", "attention", "head", "heads", "ln", "norm", "layernorm", "pre", "mid", "input"),
    *("up", "gate", "q", "k", "v", "o", "qkv", "embed", "weight", "bias"),
}
"""Words in a key that say that a vector is of neither a block's output nor its MLP's."""

_STEP = re.compile(r"(?P<code>[^_]+)_(?P<name>.+)_step_(?P<step>\d+)")
_SWEEP = re.compile(r"vector_(?P<dataset>.+)_layer_(?P<layer>\d+)(?:_.*)?")
_CAA = re.compile(r"vec_layer_(?P<layer>\d+)(?:_.*)?")
_LAYER = re.compile(r"layer_?(?P<layer>\d+)")
_HIDDEN_STATES = re.compile(r".*_(prompt_avg|response_avg|prompt_last)_diff")


@dataclass(frozen=True, slots=True)
class NameParts:
    """What a vector file's name says, if it is of a form that some project writes."""

    codename: str | None = None
    name: str | None = None
    step: int | None = None
    dataset: str | None = None
    layer: int | None = None
    site: Site | None = None


def name_parts(path: str | Path) -> NameParts:
    """Read a vector file's name.

    `CODENAME_NAME_step_N` and `vector_DATASET_layer_L_rank_R` are of the paper's authors, who add
    theirs at the MLP's output; `vec_layer_L_MODEL` is CAA's, `layer_L` EasyEdit's.
    """
    stem = Path(path).stem
    if match := _SWEEP.fullmatch(stem):
        return NameParts(dataset=match["dataset"], layer=int(match["layer"]), site="mlp")
    if match := _STEP.fullmatch(stem):
        code, name, step = match["code"], match["name"], int(match["step"])
        return NameParts(codename=code, name=name, step=step, site="mlp")
    if match := _CAA.fullmatch(stem):
        return NameParts(layer=int(match["layer"]), site="block")
    if match := _LAYER.fullmatch(stem):
        return NameParts(layer=int(match["layer"]))
    return NameParts()


@dataclass(frozen=True, slots=True)
class VectorFile:
    """What a vector's file says; None: it does not.

    Attributes:
        format: what kind of file it is, in words.
        directions: by block; under None one whose block is not said.
        rows: of a stack of rows their number, else 0; row `shift` is block 0's output.
        left_out: what was said and not used.
        vectors: of files that say it all; then nothing else is set.
    """

    path: Path
    format: str
    directions: Mapping[int | None, Tensor] = field(default_factory=dict[int | None, Tensor])
    site: Site | None = None
    positions: str | None = None
    about: Mapping[str, str] = field(default_factory=dict[str, str])
    left_out: tuple[str, ...] = ()
    rows: int = 0
    shift: int = 0
    vectors: tuple[Vector, ...] = ()

    @property
    def layers(self) -> list[int]:
        """The blocks that it has vectors for; none: it does not say."""
        known = [vector.layer for vector in self.vectors] or self.directions
        return sorted(layer for layer in known if layer is not None)

    @property
    def missing(self) -> list[str]:
        """What has to be said to use it: of "layer", "site", "positions"."""
        if self.vectors:
            return []
        said = {"layer": self.layers or None, "site": self.site, "positions": self.positions}
        return [name for name, value in said.items() if value is None]

    def chosen(
        self,
        layers: Sequence[int] | None = None,
        positions: str | None = None,
        site: Site | None = None,
    ) -> list[Vector]:
        """The vectors of some of its blocks (None: all), with what it does not say.

        Raises:
            InputError: something is not said, or said otherwise by the file.
        """
        path, known = self.path, self.layers
        wrong = [] if layers is None else [layer for layer in layers if layer not in known]
        if known and wrong:
            raise InputError(
                f"{path}: layer: found {', '.join(map(str, wrong))}; allowed: {ranges(known)}, "
                f"the block{'s' * (len(known) > 1)} of its vector{'s' * (len(known) > 1)}"
            )
        if not known and layers is not None and len(layers) != 1:
            raise InputError(f"{path}: layer: found {len(layers)}; it holds one vector")
        if self.vectors:
            listed = [v for v in self.vectors if layers is None or v.layer in layers]
            if site not in (None, listed[0].site):
                raise InputError(
                    f"{path}: site: found {site!r}; its vector is at the {listed[0].site}"
                )
            return listed if positions is None else [v.at(positions) for v in listed]
        if site not in (None, self.site) and self.site is not None and not self._site_is_of_name:
            raise InputError(f"{path}: site: found {site!r}; the file says {self.site!r}")
        site, positions = site or self.site, positions or self.positions
        needed = {
            "layer (a block's number)": known or layers,
            "positions (all, last, a span's name, …)": positions,
            "site (block or mlp)": site,
        }
        if missing := [name for name, value in needed.items() if not value]:
            options = " ".join(f"--{name.split()[0]}" for name in missing)
            raise InputError(
                f"{path}: {self.format}; it does not say its {' or its '.join(missing)}: give "
                f"{options} (in Python: read_vector(…, {missing[0].split()[0]}=…))"
            )
        assert site is not None
        assert positions is not None
        about = {"file": path.name, **self.about}
        if self.left_out:
            about["left out"] = "; ".join(self.left_out)
        if None in self.directions:
            assert layers is not None
            return [Vector(layers[0], positions, self.directions[None], about=about, site=site)]
        return [
            Vector(layer, positions, direction, about=about | self._row(layer), site=site)
            for layer, direction in self.directions.items()
            if layer is not None and (layers is None or layer in layers)
        ]

    @property
    def _site_is_of_name(self) -> bool:
        return name_parts(self.path).site is not None

    def _row(self, layer: int) -> dict[str, str]:
        return {"row": f"{layer + self.shift} of {self.rows}"} if self.rows else {}


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
    chooses one. The list of formats is in `oocr.steering.formats.vector_files`.

    Raises:
        InputError: not such a file, or the layer, positions or site are not known.
    """
    file = vector_file(path)
    if layer is None and len(file.layers) > 1:
        raise InputError(
            f"{path}: {file.format}: it has vectors at blocks {ranges(file.layers)}; choose one by "
            "layer= (on the command line --layer)"
        )
    return file.chosen(None if layer is None else [layer], positions, site)[0]


def vector_file(path: str | Path) -> VectorFile:
    """Read a file of vectors, whatever it does not say.

    Raises:
        InputError: no such file, or no vector in it; the message says what it is.
    """
    path = Path(path)
    if path.suffix.lower() == GGUF or (path.suffix.lower() != SAFE and is_gguf(path)):
        return VectorFile(path, "GGUF control vector", vectors=tuple(read_gguf(path)))
    content, metadata = content_of(path)
    if metadata.get("format") in (FORMAT, OLD_FORMAT):
        return VectorFile(path, "vector of this library", vectors=(Vector.load(path),))
    if re.search(r"_grad_step_\d+$", path.stem):
        raise InputError(f"{path}: by its name this is a gradient, not a vector")
    # What `save_pretrained` writes says "pt" or the like of how the tensors were made.
    said = {key: text for key, text in metadata.items() if key != "format"}
    return _Parser(path).file(content, said)


class _Parser:
    """Makes a `VectorFile` of what was read."""

    def __init__(self, path: Path) -> None:
        self.path, self.parts = path, name_parts(path)

    def file(self, content: object, metadata: Mapping[str, object]) -> VectorFile:
        if isinstance(content, list | tuple) and content:
            content = self.stack(content)
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
        entries = content.values()
        if all(isinstance(entry, Mapping) and "steering_vector" in entry for entry in entries):
            return self.file(self.of_lm_eval(content), {"site": "block", "positions": "all"})
        tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        others = {str(key): value for key, value in content.items() if key not in tensors}
        metadata = {**metadata, **others}
        numbers = {key: _numbers_in(key) for key in tensors}
        if len(tensors) == 1 and not all(numbers.values()):
            return self.tensor(next(iter(tensors.values())), metadata)
        if tensors and all(len(layers) == 1 for layers in numbers.values()):
            layer_of = {key: layers[0] for key, layers in numbers.items()}
            return self.by_layer(tensors, layer_of, metadata)
        names = ", ".join(repr(key) for key in list(content)[:4])
        names += ", …" * (len(content) > 4)
        is_model = any(isinstance(key, str) and key.endswith(".weight") for key in content)
        what = "a model's weights" if is_model else f"{len(tensors)} tensors"
        raise self.refusal(f"found {what} under {names}")

    def stack(self, rows: Sequence[object]) -> Tensor:
        shapes = {tuple(row.shape) if isinstance(row, Tensor) else None for row in rows}
        if len(shapes) > 1 or None in shapes:
            kinds = ", ".join(sorted({_kind(row) for row in rows}))
            raise self.refusal(f"found a list of {len(rows)} entries ({kinds})")
        return torch.stack([row for row in rows if isinstance(row, Tensor)])

    def tensor(self, tensor: Tensor, said: Mapping[str, object]) -> VectorFile:
        """One tensor: a vector, or a row for each block."""
        while tensor.ndim > 1 and tensor.shape[0] == 1:
            tensor = tensor[0]
        if tensor.ndim == 3 and tensor.shape[1] == 1:  # [layers, 1, d_model]
            tensor = tensor[:, 0]
        if tensor.ndim == 2:
            shift = int(_HIDDEN_STATES.fullmatch(self.path.stem) is not None)
            words = f"{len(tensor)} rows of a tensor, row 0 "
            words += "of what block 0 reads" if shift else "of block 0"
            directions = {row - shift: tensor[row] for row in range(len(tensor))}
            return self.made(words, directions, said, rows=len(tensor), shift=shift)
        layer, rest = self.layer_of(said)
        words = "a bare tensor" if not said else "a tensor with metadata"
        return self.made(words, {layer: tensor}, rest)

    def layer_of(self, said: Mapping[str, object]) -> tuple[int | None, dict[str, object]]:
        """The layer that metadata or the file's name say, and the rest of the metadata."""
        given = {key: said[key] for key in LAYER_KEYS if key in said}
        numbers = {number for value in given.values() if (number := _whole(value)) is not None}
        if self.parts.layer is not None:
            numbers.add(self.parts.layer)
        if len(numbers) > 1:
            words = ", ".join(f"{key} {value!r}" for key, value in given.items())
            raise InputError(
                f"{self.path}: layer: found {words}, and {self.parts.layer} in the file's name; "
                "allowed: one"
            )
        if numbers and min(numbers) < 0:
            raise self.refusal(f"layer: found {min(numbers)}; allowed: {FROM_0}")
        used = {key for key, value in given.items() if _whole(value) is not None}
        rest = {key: value for key, value in said.items() if key not in used}
        return next(iter(numbers), None), rest

    def by_layer(
        self,
        tensors: Mapping[object, Tensor],
        numbers: Mapping[object, int],
        said: Mapping[str, object],
    ) -> VectorFile:
        frames = {re.sub(r"\d+", "#", str(key)) for key in tensors}
        repeated = len(set(numbers.values())) < len(numbers)
        if min(numbers.values()) < 0:
            raise self.refusal(f"layer: found {min(numbers.values())}; allowed: {FROM_0}")
        if len(frames) > 1 or repeated:
            names = ", ".join(repr(key) for key in list(tensors)[:4])
            raise self.refusal(f"found tensors under {names}, … of more than one kind")
        words = set(re.split(r"[^a-z]+", frames.pop().lower()))
        if bad := words & OTHER_MODULES:
            raise self.refusal(
                f"found vectors of another module ({', '.join(sorted(bad))}); allowed: of a "
                "block's output, or its MLP's"
            )
        more = {"site": "mlp"} if "mlp" in words else {}
        directions = {numbers[key]: tensor for key, tensor in tensors.items()}
        form = f"{len(directions)} vector{'s' * (len(directions) > 1)} by layer"
        return self.made(form, directions, {**said, **more})

    def of_lm_eval(self, content: Mapping[object, Mapping[str, object]]) -> dict[object, object]:
        """Its tensors by hook point, multiplied by their coefficients."""
        tensors: dict[object, object] = {}
        for name, entry in content.items():
            vector, factor = entry["steering_vector"], entry.get("steering_coefficient", 1.0)
            fixed = {"action": "add", "bias": None, "head_index": None}
            wrong = [key for key, value in fixed.items() if entry.get(key, value) != value]
            if wrong or not isinstance(vector, Tensor) or not isinstance(factor, int | float):
                key = wrong[0] if wrong else "steering_vector"
                allowed = repr(fixed.get(key, "a tensor and a number"))
                raise InputError(
                    f"{self.path}: {name}: {key}: found {shown(entry.get(key))}; allowed: {allowed}"
                )
            tensors[name] = vector * factor
        return tensors

    def made(
        self,
        words: str,
        directions: Mapping[int | None, Tensor] | Mapping[int, Tensor],
        said: Mapping[str, object],
        *,
        rows: int = 0,
        shift: int = 0,
    ) -> VectorFile:
        checked = {layer: self.checked(layer, tensor) for layer, tensor in directions.items()}
        if len(widths := {len(direction) for direction in checked.values()}) > 1:
            raise self.refusal(f"found widths {', '.join(map(str, sorted(widths)))}")
        (width,) = widths
        site, positions = self.parts.site, None
        names = ("codename", "name", "step", "dataset")
        parts = {name: getattr(self.parts, name) for name in names}
        about = {name: str(value) for name, value in parts.items() if value is not None}
        left_out: list[str] = []
        for key, value in said.items():
            if key == "site" or key == "layer_type":
                site = self.site_of(key, value)
            elif key == "positions" and isinstance(value, str):
                positions = value
            elif key in WIDTH_KEYS and _whole(value) is not None:
                if _whole(value) != width:
                    raise self.refusal(f"found width {width}, and {key} {value!r}")
            elif key in MODEL_KEYS and isinstance(value, str):
                about["model"] = value
            elif key in FACTORS:
                left_out.append(f"{key} {shown(value)}, which it is not multiplied by")
            elif isinstance(value, str | int | float) and key not in RESERVED:
                about[key] = str(value)
            elif value is not None:
                left_out.append(f"{key} ({_kind(value)})")
        return VectorFile(
            self.path, words, checked, site, positions, about, tuple(left_out), rows, shift
        )

    def site_of(self, key: str, value: object) -> Site:
        names: dict[str, Site] = {**LAYER_TYPES, "block": "block", "block output": "block"}
        names["mlp output"] = "mlp"
        if value not in names:
            raise InputError(
                f"{self.path}: {key}: found {shown(value)}; allowed: "
                f"{', '.join(names if key == 'site' else LAYER_TYPES)}"
            )
        return names[str(value)]

    def checked(self, layer: int | None, tensor: Tensor) -> Tensor:
        """A direction [d_model] in float32."""
        while tensor.ndim > 1 and tensor.shape[0] == 1:
            tensor = tensor[0]
        where = "" if layer is None else f"block {layer}: "
        if tensor.is_sparse or tensor.is_quantized or not tensor.is_floating_point():
            raise self.refusal(
                f"{where}found {tensor.dtype}; allowed: dense floating-point numbers"
            )
        if tensor.ndim != 1 or len(tensor) < 2:
            raise self.refusal(
                f"{where}shape: found {tuple(tensor.shape)}; allowed: one axis, (d_model,)"
            )
        if not torch.isfinite(tensor).all():
            raise self.refusal(f"{where}found values that are not finite; allowed: finite numbers")
        return tensor.detach().float()

    def refusal(self, words: str) -> InputError:
        return InputError(
            f"{self.path}: {words}; no vector was read. Allowed: one tensor [d_model], or one for "
            "each layer: {12: tensor}, {'layer_12': tensor}, or rows [layers, d_model]"
        )


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as "0-3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


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
