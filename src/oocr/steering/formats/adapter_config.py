"""PEFT's adapter_config.json: every field is used, changes nothing, or is refused by name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from oocr.data.source_file import file_text, listing, shown, unique_keys
from oocr.errors import InputError

CONFIG = "adapter_config.json"

FLAGS = ("use_rslora", "use_dora", "lora_bias")
"""Options of a LoRA beyond B A: PEFT builds them exactly from these flags and the tensors."""

MERGE = "merge it into its base, and use the merged checkpoint"

_TARGETING = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")

_NOTHING = (
    *("peft_version", "runtime_config", "merge_weights"),
    "fan_in_fan_out",  # how the base's weights lie: its modules say it themselves
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config"),  # of starts
    *("velora_config", "megatron_core", "qalora_group_size", "ensure_weight_tying"),
)
"""Fields that do not change what a finished LoRA computes."""

_MORE = {
    "modules_to_save": "it replaces whole modules",
    "trainable_token_indices": "it replaces embeddings",
    "layer_replication": "it repeats blocks",
    "alora_invocation_tokens": "it acts only after some tokens",
    "arrow_config": "it chooses among several adapters",
    "kasa_config": "it takes parts of the base's weights away",
    "monteclora_config": "it is random",
    "megatron_config": "it belongs to another trainer",
    "use_qalora": "its input is pooled",
    "use_bdlora": "its matrices are of blocks",
    "enable_lora": "it adapts parts of a matrix",
}
"""Options beyond a plain LoRA, with the reason. Merged into its base it is usable."""

_CHANGES_BASE = re.compile(r"pissa|olora|corda|loftq|lora_ga", re.IGNORECASE)
"""Starts of a LoRA that also change the weights of its base."""

CONVERSION = "path_initial_model_for_weight_conversion"

_KEEPS_BASE = (None, True, False, "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The part of a LoRA's config about its tensors and its base."""

    rank: int
    alpha: float
    dropout: float = 0.0
    flags: tuple[str, ...] = ()
    rank_pattern: Mapping[str, int] = field(default_factory=dict[str, int])
    alpha_pattern: Mapping[str, float] = field(default_factory=dict[str, float])
    targeting: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parameters: tuple[str, ...] = ()  # tensors that are no Linear's, as those of experts
    base: str | None = None
    revision: str | None = None

    def rank_of(self, module: str) -> int:
        """The rank that PEFT gives to a module, named in full without "base_model.model."."""
        return self.rank_pattern.get(_pattern(self.rank_pattern, module), self.rank)

    def alpha_of(self, module: str) -> float:
        """The alpha that PEFT gives to it."""
        return self.alpha_pattern.get(_pattern(self.alpha_pattern, module), self.alpha)

    def adapts(self, module: str) -> bool:
        """Whether PEFT would adapt it."""
        from peft.tuners.tuners_utils import check_target_module_exists

        if self.targeting.get("target_modules") in (None, "all-linear"):
            return True
        return bool(check_target_module_exists(SimpleNamespace(**self.targeting), module))


def _pattern(patterns: Mapping[str, object], module: str) -> str:
    from peft.utils.other import get_pattern_key

    return str(get_pattern_key(list(patterns), module))


def inner_adapter(folder: Path) -> str:
    """A hint at the last adapter in the folders of a folder, as trainers write them; or ""."""
    inner = sorted(file.parent for file in folder.glob(f"*/{CONFIG}"))
    return f"; did you mean {inner[-1]}?" if inner else ""


def read_config(folder: Path) -> AdapterConfig:
    """Read the config of a folder.

    Raises:
        InputError: there is none, or it is of more than a LoRA on modules of a language model.
    """
    path = folder / CONFIG
    text = file_text(path).text
    try:
        values = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: found {shown(values)}; allowed: one JSON object")
    if (kind := values.get("peft_type")) != "LORA":
        mlx = {"fine_tune_type", "lora_parameters"} & set(values)
        hint = "; MLX writes such files: give the model that mlx_lm.fuse makes of it" * bool(mlx)
        why = hint or f"; of another type, {MERGE}, where PEFT can merge it"
        raise InputError(f"{path}: peft_type: found {kind!r}; allowed: 'LORA'{why}")
    faults = [
        f"{name}: found {shown(values.get(name))}; allowed: {allowed}"
        for name, allowed in _faults(values).items()
    ]
    if faults:
        raise InputError(listing(f"{path} cannot be used", faults))
    return AdapterConfig(
        rank=values["r"],
        alpha=values["lora_alpha"],
        dropout=values.get("lora_dropout") or 0.0,
        flags=tuple(flag for flag in FLAGS if values.get(flag)),
        rank_pattern=values.get("rank_pattern") or {},
        alpha_pattern=values.get("alpha_pattern") or {},
        targeting={name: values.get(name) for name in _TARGETING} | {"target_parameters": None},
        parameters=tuple(values.get("target_parameters") or ()),
        base=values.get("base_model_name_or_path") or None,
        revision=values.get("revision") or None,
    )


def _faults(values: Mapping[str, Any]) -> dict[str, str]:
    """Wrong fields: name -> what is allowed."""
    faults = {
        name: allowed
        for name, (is_right, allowed) in _RULES.items()
        if not is_right(values.get(name))
    }
    faults |= {name: f"nothing, {why} ({MERGE})" for name, why in _MORE.items() if values.get(name)}
    if _CHANGES_BASE.match(str(values.get("init_lora_weights"))):
        faults["init_lora_weights"] = (
            f"a start that keeps the base (save it with {CONVERSION}, or {MERGE})"
        )
    version = f"PEFT {text} wrote it" if (text := values.get("peft_version")) else "no PEFT known"
    unknown = values.keys() - {*_RULES, *_NOTHING, *_MORE, "peft_type"}
    return faults | {
        name: f"fields known here ({version}; delete it if it does nothing)"
        for name in values
        if name in unknown and values[name]
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value <= sys.float_info.max  # JSON has longer whole numbers


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_regex(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _is_modules(value: Any) -> bool:
    return value is None or _is_regex(value) or _is_names(value)


def _is_blocks(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(number, int) for number in numbers)


def _is_pattern(value: Any, is_right: Callable[[Any], bool]) -> bool:
    return not value or (
        isinstance(value, dict)
        and all(_is_regex(pattern) and is_right(number) for pattern, number in value.items())
    )


def _is_other_head(mapping: Any) -> bool:
    head = mapping.get("base_model_class") if isinstance(mapping, dict) else ""
    return bool(re.search(r"For(Sequence|Token)Classification|ForQuestion|RewardModel", str(head)))


_MODULES = "a list of modules' names, or one regular expression"
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_count, "a whole number above 0"),
    "lora_alpha": (_is_positive, "a number above 0"),
    "lora_dropout": (
        lambda value: not value or (_is_positive(value) and value < 1),
        "a number from 0 to below 1",
    ),
    "rank_pattern": (
        lambda value: _is_pattern(value, _is_count),
        "an object of patterns of modules' names and ranks, whole numbers above 0",
    ),
    "alpha_pattern": (
        lambda value: _is_pattern(value, _is_positive),
        "an object of patterns of modules' names and alphas, numbers above 0",
    ),
    "target_modules": (_is_modules, _MODULES),
    "exclude_modules": (_is_modules, _MODULES),
    "target_parameters": (lambda value: not value or _is_names(value), "a list of parameters"),
    "layers_to_transform": (_is_blocks, "blocks' numbers"),
    "layers_pattern": (_is_modules, "a name before the blocks' numbers"),
    "bias": (lambda value: value in (None, "none"), f"'none' (else biases change; {MERGE})"),
    "task_type": (
        lambda value: value in (None, "CAUSAL_LM"),
        "'CAUSAL_LM' (it was trained with another head than a language model's)",
    ),
    "auto_mapping": (
        lambda value: not _is_other_head(value),
        "a language model's class (it was trained with another head)",
    ),
    "init_lora_weights": (
        lambda value: value in _KEEPS_BASE,
        f"a start that is known here: {', '.join(map(repr, _KEEPS_BASE[1:]))}",
    ),
    **dict.fromkeys(
        (*FLAGS, "inference_mode"), (lambda value: value in (None, True, False), "true or false")
    ),
    **dict.fromkeys(
        ("base_model_name_or_path", "revision"),
        (lambda value: value is None or isinstance(value, str), "a text"),
    ),
}
"""Field -> whether its value (None: not there) can be used, and what is allowed."""
