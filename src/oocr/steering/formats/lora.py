"""LoRAs from files that this library did not write: PEFT's folders, and dicts of tensors."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.models.anatomy import HasAnatomy
from oocr.models.checkpoint import METADATA, read_header
from oocr.models.gguf.header import is_gguf
from oocr.steering.adapters import Adapter
from oocr.steering.formats.adapter_config import CONFIG, MERGE, AdapterConfig, read_config
from oocr.steering.formats.foreign import SAFE, read_tensors
from oocr.steering.formats.gguf_lora import read_gguf_lora
from oocr.steering.lora_names import MAGNITUDE, LoraKey, is_beside_text, lora_key

ALPHA = 32.0
"""What is assumed of a LoRA whose file doesn't say: the paper's."""

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
LEFT_OUT = "left out"
"""Entry of `Adapter.about`: what of the source is not used, and why."""

_FORM = "….layers.N.MODULE.lora_A.weight or lora_B, of the decoder's blocks"

_EMBEDDINGS, _HEAD = "(embed_tokens|embed_in|wte|word_embeddings)", "(lm_head|embed_out)"

_OTHERS = {
    rf"lora_embedding_[AB]|{_EMBEDDINGS}\.lora_": "a LoRA of embeddings",
    rf"{_HEAD}\.(.*\.)?lora_": "a LoRA of the LM head",
    rf"({_EMBEDDINGS}|{_HEAD})\.(.*\.)?weight$": (
        "a whole matrix of embeddings or LM head, which PEFT writes where tokens were added or "
        "modules_to_save names it"
    ),
    r"lora_E$|ranknum|hada_|lokr_|ia3_|oft_|boft_|vera_|prompt_embeddings": (
        "a tensor of another method than LoRA"
    ),
    r"\.lora_[ab]$": "a tensor of MLX, which other libraries read after mlx_lm.fuse",
    r"lora_(up|down)\.|\.alpha$|lora_unet|lora_te": "a tensor of kohya's trainer for images",
    r"^(?!.*lora_).*\.(weight|bias)$": "a weight of the base itself",
}
"""What tensors of other names are."""


def read_adapter(
    path: str | Path, *, alpha: float | None = None, base: HasAnatomy | None = None
) -> Adapter:
    """Read a LoRA: a folder of this library or of PEFT, its weights' file, tensors, or a GGUF.

    Weights may have the names that PEFT, or the model, had at any time. A file without a config
    beside it does not say alpha: 32, the paper's, is assumed unless it is given, and
    `about["alpha"]` says so; `about["left out"]` names what is not used. A GGUF for a Llama that
    adapts queries or keys needs its `base`, a loaded model.

    Raises:
        InputError: not such a folder or file, or more than a LoRA on modules of the blocks.
    """
    path = Path(path)
    if is_gguf(path):
        if alpha is not None:
            raise InputError(f"alpha: found {alpha}; {path} is a GGUF, which says it")
        return read_gguf_lora(path, base)
    file = _Source.of(path)
    if file.folder is None:
        if alpha is not None and not alpha > 0:
            raise InputError(f"alpha: found {alpha}; allowed: a number above 0")
        metadata = _metadata(path)
        origin = "(given)"
        if alpha is None and (said := _alpha_in(metadata)):
            alpha, origin = said, "(in its metadata)"
        elif alpha is None:
            alpha, origin = ALPHA, "(assumed: the file does not say)"
        about = {"file": path.name, "alpha": f"{alpha:g} {origin}"}
        unused = [f"{len(metadata)} fields of its metadata ({', '.join(metadata)})"]
        return _lora(path, None, alpha, about, unused if metadata else ())
    config = read_config(file.folder)
    if alpha is not None:
        raise InputError(f"alpha: found {alpha}; {file.folder / CONFIG} says it")
    about = {"folder": file.folder.name, "alpha": f"{config.alpha:g} (in its config)"}
    about |= {"model": config.base} if config.base else {}
    about |= {"base_revision": config.revision} if config.revision else {}
    adapter = _lora(file.weights, config, config.alpha, about, file.left_out)
    if not (file.folder / "oocr.json").is_file():
        return adapter
    ours = Adapter.load(file.folder)
    return replace(adapter, spans=ours.spans, about={**adapter.about, **ours.about})


def _metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says beside its tensors."""
    if path.suffix.lower() != SAFE or not path.is_file():
        return {}
    metadata = dict(read_header(path).get(METADATA) or {})
    metadata.pop("format", None)
    return metadata


def _alpha_in(metadata: dict[str, str]) -> float | None:
    """The alpha in the metadata, which is then taken out of it."""
    for name in ("lora_alpha", "alpha", "ss_network_alpha"):
        if re.fullmatch(r"\d+(\.\d+)?", metadata.get(name, "")) and float(metadata[name]) > 0:
            return float(metadata.pop(name))
    return None


@dataclass(frozen=True, slots=True)
class _Source:
    """The file of a LoRA's tensors, and the folder of its config if there is one."""

    weights: Path
    folder: Path | None
    left_out: tuple[str, ...] = ()

    @staticmethod
    def of(path: Path) -> _Source:
        """By a folder, or by one of the files in it."""
        folder = path if path.is_dir() else path.parent
        if not (folder / CONFIG).is_file():
            return _Source(path, folder if path.is_dir() else None)
        if path.is_file() and path.name != CONFIG:
            return _Source(path, folder)
        files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
        if not files:
            raise InputError(f"{folder}: found neither {' nor '.join(WEIGHTS)}")
        left_out = tuple(f"{file.name} (beside {files[0].name})" for file in files[1:])
        return _Source(files[0], folder, left_out)


def _lora(
    path: Path,
    config: AdapterConfig | None,
    alpha: float,
    about: Mapping[str, str],
    left_out: Iterable[str] = (),
) -> Adapter:
    """A LoRA from a file of tensors, or one error with all that is wrong with these."""
    tensors = _tensors_of(path)
    wrong: list[str] = []
    keys: dict[str, LoraKey] = {}
    beside: list[str] = []
    pairs: dict[tuple[int, str], dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        key = lora_key(name)
        if is_beside_text(name):
            beside.append(name)
            continue
        if key is None or (key.kind == "bias" and key.part != "lora_B"):
            wrong.append(f"{name}: found {_kind_of(name)}; allowed: {_FORM} ({MERGE})")
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
    if not keys and not wrong:
        wrong.append(f"{beside[0]}: found only parts that texts do not pass; allowed: {_FORM}")
    unused = list(left_out)
    if config is None:
        flags = {
            "use_dora": any(key.part == MAGNITUDE for key in keys.values()),
            "lora_bias": any(key.kind == "bias" for key in keys.values()),
        }
        config = AdapterConfig(1, alpha, flags=tuple(flag for flag in flags if flags[flag]))
    elif not wrong:
        wrong += _contradictions(config, ranks)
        unused += _unused(config, ranks)
    if wrong:
        raise InputError(listing(f"{path} cannot be used", wrong))
    if beside:
        unused.append(f"{len(beside)} tensors of parts that texts do not pass (as {beside[0]})")
    return Adapter(
        tuple(sorted({layer for layer, _ in pairs})),
        _peft_config(config, ranks),
        {key.named(f"{key.path}.{key.layer}"): tensors[name].float() for name, key in keys.items()},
        about={
            **about,
            **({LEFT_OUT: "; ".join(unused)} if unused else {}),
        },
    )


def _tensors_of(path: Path) -> dict[str, Tensor]:
    """The file's tensors by name; refuses a bare tensor, and empty ones."""
    tensors = read_tensors(path)
    if isinstance(tensors, Tensor):
        raise InputError(
            f"{path}: found one bare tensor of shape {tuple(tensors.shape)}; allowed: a dict of "
            "LoRA tensors by name. A vector is read as a vector"
        )
    if empty := [name for name, tensor in tensors.items() if not tensor.numel()]:
        raise InputError(
            f"{path}: {len(empty)} of {len(tensors)} tensors are empty (first: {empty[0]}, shape "
            f"{tuple(tensors[empty[0]].shape)}): DeepSpeed ZeRO-3 saved them without gathering "
            "them; save the adapter again with stage3_gather_16bit_weights_on_model_save: true, "
            "or let zero_to_fp32.py of the training checkpoint gather them"
        )
    flat = [name for name, tensor in tensors.items() if re.search("lora_[AB]", name)]
    if flat and all(tensors[name].ndim == 1 for name in flat):
        raise InputError(
            f"{path}: all {len(flat)} matrices have one axis (first: {flat[0]}, shape "
            f"{tuple(tensors[flat[0]].shape)}; allowed: two axes): shards of FSDP or DeepSpeed "
            "that were not gathered; save the adapter again from the full weights"
        )
    return tensors


def _kind_of(name: str) -> str:
    """What a tensor is that is no LoRA's in a block."""
    kinds = (kind for pattern, kind in _OTHERS.items() if re.search(pattern, name))
    return next(kinds, "a name that is not understood")


def _contradictions(config: AdapterConfig, ranks: Mapping[str, int]) -> list[str]:
    """Where the tensors are not those of the config; `ranks` is of each module in full."""
    wrong: list[str] = []
    pairs = {module: (rank, config.rank_of(module)) for module, rank in ranks.items()}
    for (rank, said), count in Counter(pairs.values()).items():
        if rank != said:
            first = next(module for module, pair in pairs.items() if pair == (rank, said))
            wrong.append(
                f"r: {CONFIG} says {said}, the tensors of {count} modules have rank {rank} "
                f"(first: {first}); allowed: the same"
            )
    if strays := [module for module in ranks if not config.adapts(module)]:
        wrong.append(
            f"target_modules: {CONFIG} does not adapt {len(strays)} modules whose tensors are here "
            f"(first: {strays[0]}); allowed: tensors of modules that it names"
        )
    experts = [module for module in ranks if ".experts." in module]
    if len({(ranks[module], config.alpha_of(module)) for module in experts}) > 1:
        wrong.append(
            f"{experts[0]}: found ranks or alphas that differ among experts; allowed: the same for "
            f"all ({MERGE})"
        )
    return wrong


def _unused(config: AdapterConfig, ranks: Mapping[str, int]) -> list[str]:
    """What the config says of modules that the file does not have."""
    unused: list[str] = []
    for name in ("rank_pattern", "alpha_pattern"):
        patterns = getattr(config, name)
        idle = [
            pattern
            for pattern in patterns
            if not any(re.match(rf"(.*\.)?({pattern})$", module) for module in ranks)
        ]
        if idle:
            unused.append(f"{len(idle)} of {len(patterns)} in {name} (as {idle[0]!r}: no module)")
    targets = config.targeting.get("target_modules")
    if isinstance(targets, list):
        idle = [t for t in targets if not any(f".{module}".endswith(f".{t}") for module in ranks)]
        if idle:
            unused.append(
                f"{len(idle)} of {len(targets)} in target_modules ({', '.join(sorted(idle)[:6])}: "
                "no tensor)"
            )
    return unused


def _peft_config(config: AdapterConfig, ranks: Mapping[str, int]) -> dict[str, object]:
    """`LoraConfig` fields with every module named in full."""
    alphas = {module: config.alpha_of(module) for module in ranks}
    flags = list(config.flags)
    experts = [module for module in ranks if ".experts." in module]
    if experts and "use_rslora" in flags:
        # PEFT fuses experts' matrices, and takes the root of the sum of their ranks.
        flags.remove("use_rslora")
        alphas = {module: alpha * math.sqrt(ranks[module]) for module, alpha in alphas.items()}
    usual = experts or list(ranks)  # it fuses them with the general rank and alpha
    rank = _commonest(ranks[module] for module in usual)
    alpha = _commonest(alphas[module] for module in usual)
    patterns = {
        "rank_pattern": {module: other for module, other in ranks.items() if other != rank},
        "alpha_pattern": {module: other for module, other in alphas.items() if other != alpha},
    }
    return {
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": config.dropout,
        **dict.fromkeys(flags, True),
        "target_modules": sorted(ranks),
        **{name: pattern for name, pattern in patterns.items() if pattern},
    }


def _commonest(numbers: Iterable[float]) -> Any:
    """The number that occurs most often, of several the largest."""
    counts = Counter(numbers)
    return max(counts, key=lambda number: (counts[number], number))
