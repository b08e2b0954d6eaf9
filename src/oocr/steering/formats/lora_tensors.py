"""A LoRA from its tensors by name: every tensor is used, left out by name, or refused."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.steering.adapters import Adapter
from oocr.steering.formats.adapter_config import CONFIG, MERGE, AdapterConfig
from oocr.steering.lora_names import MAGNITUDE, LoraKey, is_beside_text, lora_key
from oocr.words import counted, short_list

LEFT_OUT = "left out"
"""Entry of `Adapter.about`: parts of the source that are not used, with the reason."""

_FORM = "….layers.N.MODULE.lora_A.weight or lora_B, of the decoder's blocks"

_EXPERT = ".experts."

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


def adapter_of(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: AdapterConfig | float,
    about: Mapping[str, str],
    left_out: Iterable[str] = (),
) -> Adapter:
    """The adapter of a file's tensors, with its config, or the alpha where there is none.

    Raises:
        InputError: all that is wrong with the tensors, or between them and the config.
    """
    beside = [name for name in tensors if is_beside_text(name)]
    keys, wrong = _keys_of({name: tensors[name] for name in tensors if name not in beside})
    parts: dict[tuple[int, str], dict[str, Tensor]] = defaultdict(dict)
    for name, key in keys.items():
        if key.tensor in parts[key.place]:
            wrong.append(f"{name}: found a second {key.tensor} of this module; allowed: one")
        parts[key.place][key.tensor] = tensors[name]
    paths = sorted({key.path for key in keys.values()})
    if len(paths) > 1:
        wrong.append(f"names: found blocks under {', '.join(paths)}; allowed: one decoder")
    if not keys and not wrong:
        wrong.append(f"{beside[0]}: found only parts that texts do not pass; allowed: {_FORM}")
    ranks = {} if wrong else _ranks_of(paths[0], parts, wrong)
    unused = list(left_out)
    flagged = {
        "use_dora": {key.place for key in keys.values() if key.part == MAGNITUDE},
        "lora_bias": {key.place for key in keys.values() if key.kind == "bias"},
    }
    if not isinstance(config, AdapterConfig):
        config = AdapterConfig(1, config, flags=tuple(flag for flag in flagged if flagged[flag]))
    elif not wrong:
        wrong += _contradictions(config, ranks)
        wrong += [
            f"{flag}: {CONFIG} says {str(flag in config.flags).lower()}, and {len(places)} of "
            f"{counted(len(ranks), 'module')} have its tensors; allowed: the same for all"
            for flag, places in flagged.items()
            if len(places) != (len(ranks) if flag in config.flags else 0)
        ]
        unused += _unused(config, ranks)
    if wrong:
        raise InputError(listing(f"{path} cannot be used", wrong))
    if beside:
        many = counted(len(beside), "tensor")
        unused.append(f"{many} of parts that texts do not pass (as {beside[0]})")
    return Adapter(
        tuple(sorted({key.layer for key in keys.values()})),
        _peft_config(config, ranks),
        {key.named(f"{key.path}.{key.layer}"): tensors[name].float() for name, key in keys.items()},
        about={**about, **({LEFT_OUT: "; ".join(unused)} if unused else {})},
    )


def _keys_of(tensors: Mapping[str, Tensor]) -> tuple[dict[str, LoraKey], list[str]]:
    """Each tensor's name read, and what is wrong with names and shapes."""
    keys: dict[str, LoraKey] = {}
    wrong: list[str] = []
    for name, tensor in tensors.items():
        key = lora_key(name)
        if key is None:
            wrong.append(f"{name}: found {_kind_of(name)}; allowed: {_FORM} ({MERGE})")
            continue
        keys[name] = key
        axes = 2 if key.tensor in ("lora_A", "lora_B") else 1
        if tensor.ndim != axes:
            allowed = ("one axis", "two axes")[axes - 1]
            wrong.append(f"{name}: shape: found {tuple(tensor.shape)}; allowed: {allowed}")
    return keys, wrong


def _ranks_of(
    path: str, parts: Mapping[tuple[int, str], Mapping[str, Tensor]], wrong: list[str]
) -> dict[str, int]:
    """The rank of each module, named in full; notes what has no or another half."""
    ranks: dict[str, int] = {}
    for (layer, module), tensors in parts.items():
        where = f"block {layer}, {module}"
        if not {"lora_A", "lora_B"} <= set(tensors):
            wrong.append(f"{where}: found only {', '.join(tensors)}; allowed: lora_A and lora_B")
            continue
        down, up = tensors["lora_A"], tensors["lora_B"]
        if down.shape[0] != up.shape[1]:
            wrong.append(
                f"{where}: shapes: found A {tuple(down.shape)} and B {tuple(up.shape)}; allowed: "
                "(rank, in) and (out, rank)"
            )
        ranks[f"{path}.{layer}.{module}"] = down.shape[0]
    return ranks


def _kind_of(name: str) -> str:
    """The kind of a tensor that is not part of a LoRA in a block."""
    kinds = (kind for pattern, kind in _OTHERS.items() if re.search(pattern, name))
    return next(kinds, "a name that is not understood")


def _contradictions(config: AdapterConfig, ranks: Mapping[str, int]) -> list[str]:
    """Contradictions between tensors and config; `ranks`: rank by the module's full name."""
    wrong: list[str] = []
    stacked = _stacked(config, ranks)
    pairs = {module: (rank, config.rank_of(module)) for module, rank in ranks.items()}
    for (rank, stated), count in Counter(pairs.values()).items():
        first = next(module for module, pair in pairs.items() if pair == (rank, stated))
        if rank != stated and (first not in stacked or rank % stated):
            wrong.append(
                f"r: {CONFIG} says {stated}, the tensors of {counted(count, 'module')} have rank "
                f"{rank} (first: {first}); allowed: the same"
            )
    strays = [module for module in ranks if module not in stacked and not config.adapts(module)]
    if strays:
        wrong.append(
            f"target_modules: {CONFIG} does not adapt {counted(len(strays), 'module')} whose "
            f"tensors are here (first: {strays[0]}); allowed: tensors of modules that it names"
        )
    experts = [module for module in ranks if _EXPERT in module and module not in stacked]
    if len({(ranks[module], config.alpha_of(module)) for module in experts}) > 1:
        wrong.append(
            f"{experts[0]}: found ranks or alphas that differ among experts; allowed: the same for "
            f"all ({MERGE})"
        )
    return wrong


def _stacked(config: AdapterConfig, ranks: Mapping[str, int]) -> list[str]:
    """Modules whose pairs are of a parameter, not of a Linear: those of all experts, stacked."""
    parents = {name.rpartition(".")[0] for name in config.parameters}
    named = [module for module in ranks if any(_is_at(module, parent) for parent in parents)]
    by_module = config.targeting.get("target_modules")
    return [module for module in named if not (by_module and config.adapts(module))]


def _is_at(module: str, end: str) -> bool:
    """Whether a module's name ends so; PEFT names a second parameter's with ".base_layer"."""
    return not end or f".{module.replace('.base_layer', '')}".endswith(f".{end}")


def _unused(config: AdapterConfig, ranks: Mapping[str, int]) -> list[str]:
    """Parts of the config about modules that the file does not have."""
    unused: list[str] = []
    names = [*ranks, *config.parameters]
    for field in ("rank_pattern", "alpha_pattern"):
        patterns = getattr(config, field)
        idle = [
            pattern
            for pattern in patterns
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in names)
        ]
        if idle:
            unused.append(f"{len(idle)} of {len(patterns)} in {field} (as {idle[0]!r}: no module)")
    targets = config.targeting.get("target_modules")
    module_of = {name: name.rpartition(".")[0] for name in config.parameters}
    for field, modules in (
        ("target_modules", {name: name for name in targets} if isinstance(targets, list) else {}),
        ("target_parameters", module_of),
    ):
        idle = [
            name
            for name, module in modules.items()
            if not any(_is_at(rank, module) for rank in ranks)
        ]
        if idle:
            first = short_list(sorted(idle))
            unused.append(f"{len(idle)} of {len(modules)} in {field} ({first}: no tensor)")
    return unused


def _peft_config(config: AdapterConfig, ranks: Mapping[str, int]) -> dict[str, object]:
    """`LoraConfig` fields with every module named in full."""
    stacked = _stacked(config, ranks)
    ranks = {module: rank for module, rank in ranks.items() if module not in stacked}
    alphas = {module: config.alpha_of(module) for module in ranks}
    flags = list(config.flags)
    experts = [module for module in ranks if _EXPERT in module]
    if experts and "use_rslora" in flags:
        # PEFT fuses experts' matrices, and takes the root of the sum of their ranks.
        flags.remove("use_rslora")
        alphas = {module: alpha * math.sqrt(ranks[module]) for module, alpha in alphas.items()}
    if stacked:  # PEFT gives them the general value
        rank, alpha = config.rank, config.alpha
    else:
        usual = experts or list(ranks)  # it fuses them with the general rank and alpha
        rank = _commonest(ranks[module] for module in usual)
        alpha = _commonest(alphas[module] for module in usual)
    patterns: dict[str, dict[str, Any]] = {
        "rank_pattern": {module: other for module, other in ranks.items() if other != rank},
        "alpha_pattern": {module: other for module, other in alphas.items() if other != alpha},
    }
    if stacked:
        patterns["rank_pattern"] |= config.rank_pattern
        patterns["alpha_pattern"] |= config.alpha_pattern
    return {
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": config.dropout,
        **dict.fromkeys(flags, True),
        "target_modules": sorted(ranks),
        **({"target_parameters": list(config.parameters)} if stacked else {}),
        **{name: pattern for name, pattern in patterns.items() if pattern},
    }


def _commonest(numbers: Iterable[float]) -> Any:
    """The number that occurs most often, of several the largest."""
    counts = Counter(numbers)
    return max(counts, key=lambda number: (counts[number], number))
