"""Vectors and LoRAs from files that this library did not write; only tensors are unpickled."""

from __future__ import annotations

import json
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.steering.adapters import Adapter
from oocr.steering.hooks import Site
from oocr.steering.lora_names import MAGNITUDE, LoraKey, key_of
from oocr.steering.vectors import Vector, read_safetensors

PICKLES = (".pt", ".pth", ".bin")
SAFE = ".safetensors"

ALPHA = 32.0
"""What is assumed of a LoRA whose file doesn't say: the paper's."""

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_FLAGS = ("use_rslora", "use_dora", "lora_bias")
"""What a LoRA may have besides B A: PEFT builds it exactly from these flags and the tensors."""

_PLAIN = {
    "modules_to_save": "it replaces whole modules",
    "trainable_token_indices": "it replaces embeddings",
    "layer_replication": "it repeats blocks",
    "target_parameters": "it adapts tensors that are no Linear's",
    "alora_invocation_tokens": "it acts only after some tokens",
    "arrow_config": "it chooses among several adapters",
    "kasa_config": "it takes parts of the base's weights away",
    "monteclora_config": "it is random",
    "megatron_config": "it belongs to another trainer",
    "use_qalora": "its input is pooled",
    "use_bdlora": "its matrices are of blocks",
}
"""What is more than that, and why. Merged into its base it can be used as a checkpoint."""

_CHANGES_BASE = re.compile(r"pissa|olora|corda|loftq|lora_ga")
"""Starts of a LoRA that also change the weights of its base."""

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


def read_adapter(path: str | Path, *, alpha: float | None = None) -> Adapter:
    """Read a LoRA: a folder of this library or of PEFT, or a `.pt` dict of its tensors.

    Weights may have the names that PEFT, or the model, had at any time. A `.pt` file does not say
    alpha: 32, the paper's, is assumed unless it is given, and `about["alpha"]` says so.

    Raises:
        InputError: not such a folder or file, or more than a LoRA on modules of the blocks.
    """
    path = Path(path)
    if path.is_dir():
        if alpha is not None:
            raise InputError(f"alpha: found {alpha}; {path} is a folder, whose config says it")
        return Adapter.load(path) if (path / "oocr.json").is_file() else _peft_folder(path)
    if alpha is not None and not alpha > 0:
        raise InputError(f"alpha: found {alpha}; allowed: a number above 0")
    origin = "(assumed: the file does not say)" if alpha is None else "(given)"
    alpha = ALPHA if alpha is None else alpha
    about = {"file": path.name, "alpha": f"{alpha:g} {origin}"}
    return _lora(path, alpha, 0.0, None, about)


def _peft_folder(folder: Path) -> Adapter:
    file = folder / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: found {config!r}; allowed: one JSON object")
    alpha: Any = config.get("lora_alpha")
    start = str(config.get("init_lora_weights"))
    above_0 = isinstance(alpha, int | float) and not isinstance(alpha, bool) and alpha > 0
    merge = "(merge it into its base, and use the merged checkpoint)"
    refused = [
        ("peft_type", config.get("peft_type") != "LORA", "'LORA'"),
        *((key, config.get(key), f"nothing, {why} {merge}") for key, why in _PLAIN.items()),
        ("bias", config.get("bias", "none") != "none", "'none'"),
        ("alpha_pattern", config.get("alpha_pattern"), "one alpha for all"),
        ("init_lora_weights", _CHANGES_BASE.match(start), "a start that keeps the base"),
        ("lora_alpha", not above_0, "a number above 0"),
    ]
    faults = [(key, allowed) for key, fault, allowed in refused if fault]
    _refuse(file, [f"{key}: found {config.get(key)!r}; allowed: {word}" for key, word in faults])
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise InputError(f"{folder}: found neither {' nor '.join(WEIGHTS)}")
    about = {"folder": folder.name, "alpha": f"{alpha:g} (in its config)"}
    if base := config.get("base_model_name_or_path"):
        about["model"] = str(base)
    flags = [flag for flag in _FLAGS if config.get(flag)]
    return _lora(weights, alpha, config.get("lora_dropout") or 0.0, flags, about)


def _lora(
    path: Path,
    alpha: float,
    dropout: float,
    flags: Sequence[str] | None,
    about: Mapping[str, str],
) -> Adapter:
    """A LoRA from a file of tensors, or one error with all that is wrong with these.

    `flags` are those of PEFT's config that are set; None: the tensors' names tell.
    """
    tensors = read_tensors(path)
    if isinstance(tensors, Tensor):
        raise InputError(
            f"{path}: found one bare tensor of shape {tuple(tensors.shape)}; allowed: a dict of "
            "LoRA tensors by name. A vector is read as a vector"
        )
    wrong: list[str] = []
    keys: dict[str, LoraKey] = {}
    pairs: dict[tuple[int, str], dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        key = key_of(name)
        if key is None or (key.kind == "bias" and key.part != "lora_B"):
            wrong.append(
                f"{name}: found a name that is not understood; allowed: "
                "….layers.N.MODULE.lora_A.weight or lora_B, of the decoder's blocks"
            )
            continue
        part = "lora_B.bias" if key.kind == "bias" else key.part
        axes = 2 if part in ("lora_A", "lora_B") else 1
        if tensor.ndim != axes:
            allowed = ("one axis", "two axes")[axes - 1]
            wrong.append(f"{name}: shape: found {tuple(tensor.shape)}; allowed: {allowed}")
        elif part in pairs[key.layer, key.module]:
            wrong.append(f"{name}: found a second {part} of this module; allowed: one")
        else:
            keys[name] = key
            pairs[key.layer, key.module][part] = tensor
    paths = sorted({key.path for key in keys.values()})
    ranks: dict[str, int] = {}
    for (layer, module), parts in pairs.items():
        where = f"block {layer}, {module}"
        if not {"lora_A", "lora_B"} <= set(parts):
            if not wrong:
                wrong.append(f"{where}: found only {', '.join(parts)}; allowed: lora_A and lora_B")
            continue
        down, up = parts["lora_A"], parts["lora_B"]
        if down.shape[0] != up.shape[1]:
            wrong.append(
                f"{where}: shapes: found A {tuple(down.shape)} and B {tuple(up.shape)}; allowed: "
                "(rank, in) and (out, rank)"
            )
        ranks[f"{paths[0]}.{layer}.{module}"] = down.shape[0]
    if len(paths) > 1:
        wrong.append(f"names: found blocks under {', '.join(paths)}; allowed: one decoder")
    _refuse(path, wrong)
    if flags is None:
        named = {key.part for key in keys.values()}, {key.kind for key in keys.values()}
        flags = ["use_dora"] * (MAGNITUDE in named[0]) + ["lora_bias"] * ("bias" in named[1])
    rank = max(ranks.values())
    others = {module: other for module, other in ranks.items() if other != rank}
    config = {
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        **dict.fromkeys(flags, True),
        "target_modules": sorted(ranks),
        **({"rank_pattern": others} if others else {}),
    }
    named_as_peft = {
        key.named(f"{key.path}.{key.layer}"): tensors[name].float() for name, key in keys.items()
    }
    return Adapter(tuple(sorted({layer for layer, _ in pairs})), config, named_as_peft, about=about)


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
