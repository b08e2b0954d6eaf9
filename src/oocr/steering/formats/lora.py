"""LoRAs from files that this library did not write: PEFT's folders, and dicts of tensors."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.steering.adapters import Adapter
from oocr.steering.formats.foreign import read_tensors
from oocr.steering.lora_names import MAGNITUDE, LoraKey, key_of

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


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        raise InputError(listing(f"{path} cannot be used", faults))
