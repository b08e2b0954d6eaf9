"""Rotary embeddings of a GGUF's model: base, share of each head, scaling, factors."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from oocr.errors import InputError
from oocr.models.gguf.header import Counted, GgufHeader, Value

BASE = "rope.freq_base"
SCALING = {
    *("type", "factor", "original_context_length", "attn_factor", "finetuned"),
    *("yarn_beta_fast", "yarn_beta_slow"),
}
ROPE_FIELDS = {
    *(BASE, "rope.freq_base_swa", "rope.dimension_count", "rope.scale_linear"),
    *(f"rope.scaling.{name}" for name in SCALING),
}
"""Fields that are used, or refused, here."""

LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
ORIGINAL_CONTEXT = 8192
"""Llama-3.1's settings; its GGUFs hold the rotary factors that come of them, not the settings."""

FREQUENCIES = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
FACTORS = (FREQUENCIES, LONG, SHORT)
"""Tensors of rotary factors, which go into the configuration."""

Fields = Mapping[str, Value | Counted]


def rope_changes(
    config: Any, header: GgufHeader, fields: Fields, faults: list[str]
) -> dict[str, Any]:
    """`rope_parameters`, if the file says others than the configuration has.

    What the configuration cannot say is added to `faults`.
    """
    lists = {name: numbers for name in FACTORS if (numbers := _numbers(header, name)) is not None}
    if not isinstance(getattr(config, "rope_parameters", None), Mapping):
        named = sorted([*lists, *(field for field in fields if field.startswith("rope."))])
        if extra := [name for name in named if name not in ("rope.dimension_count", BASE)]:
            faults.append(f"{extra[0]}: found; allowed: no rotary scaling in this family")
        return {}
    whole = deepcopy(dict(config.rope_parameters))
    by_kind = "sliding_attention" in whole
    # Of a model whose blocks all have a window, nothing is turned by what the file says of others.
    rope: dict[str, Any] = whole.get("full_attention", {}) if by_kind else whole
    if not rope:
        return {}
    rope["rope_theta"] = _unless_same(rope["rope_theta"], fields.get(BASE))
    local = fields.get("rope.freq_base_swa")
    if by_kind:
        sliding = whole["sliding_attention"]
        sliding["rope_theta"] = _unless_same(sliding["rope_theta"], local)
    elif local is not None and not same(rope["rope_theta"], local):
        faults.append(f"rope.freq_base_swa: found {local}; allowed: one base for all blocks")
    turned = fields.get("rope.dimension_count")
    width = fields.get("attention.key_length") or head_width(config)
    if (
        header.architecture != "gemma4"
        and isinstance(turned, int)
        and isinstance(width, int)
        and int(width * rope.get("partial_rotary_factor", 1.0)) != turned
    ):
        if "partial_rotary_factor" not in rope:
            faults.append(f"rope.dimension_count: found {turned}; allowed: {width}")
        rope["partial_rotary_factor"] = turned / width
    _scale(fields, lists, rope, faults, of_gemma4=header.architecture == "gemma4")
    if whole == dict(config.rope_parameters):
        return {}
    original = "original_max_position_embeddings"  # Phi-3 has it beside the parameters too
    beside = {original: rope[original]} if original in rope and hasattr(config, original) else {}
    return {"rope_parameters": whole, **beside}


def _unless_same(known: object, given: object) -> object:
    """The given value, unless there is none or it is the known one up to rounding."""
    return known if given is None or same(known, given) else given


def _scale(
    fields: Fields,
    lists: Mapping[str, list[float]],
    rope: dict[str, Any],
    faults: list[str],
    *,
    of_gemma4: bool,
) -> None:
    """Put the scaling of rotary frequencies into `rope`."""
    scaling = {
        field.removeprefix("rope.scaling."): value
        for field, value in fields.items()
        if field.startswith("rope.scaling.") and value
    }
    unknown = sorted(scaling.keys() - SCALING)
    faults += [
        f"rope.scaling.{name}: found {scaling[name]}; allowed: no such field" for name in unknown
    ]
    kind, original = str(scaling.get("type", "linear")), scaling.get("original_context_length")
    factor = scaling.get("factor") or fields.get("rope.scale_linear") or 1.0
    attention = scaling.get("attn_factor", 1.0)
    if FREQUENCIES in lists:
        _put_frequencies(lists[FREQUENCIES], rope, faults, of_gemma4=of_gemma4)
    elif LONG in lists and SHORT in lists:
        rope |= {"rope_type": "longrope", "attention_factor": attention}
        rope |= {"long_factor": lists[LONG], "short_factor": lists[SHORT]}
        rope["original_max_position_embeddings"] = original or fields.get("context_length")
        return
    elif lists:
        faults.append(f"{next(iter(lists))}: found alone; allowed: rope_factors_long and _short")
    if not same(attention, 1.0):
        faults.append(f"rope.scaling.attn_factor: found {attention}; allowed: 1")
    if kind == "none" or same(factor, 1.0):
        return
    if kind == "linear" and not lists:
        rope |= {"rope_type": "linear", "factor": factor}
    elif kind == "yarn" and original and not lists:
        betas = {name: scaling.get(f"yarn_{name}") for name in ("beta_fast", "beta_slow")}
        rope |= {"rope_type": "yarn", "factor": factor}
        rope |= {name: value for name, value in betas.items() if value}
        rope["original_max_position_embeddings"] = original
    else:
        faults.append(
            f"rope.scaling.type: found {kind!r} with factor {factor}; allowed: none, linear, or "
            "yarn with its original_context_length"
        )


def _put_frequencies(
    factors: list[float], rope: dict[str, Any], faults: list[str], *, of_gemma4: bool
) -> None:
    """`rope_freqs.weight`: Llama-3.1's, or those of Gemma-4's rotation of a part of each head."""
    if all(same(factor, 1.0) for factor in factors):
        return
    if of_gemma4:
        turned = sum(same(factor, 1.0) for factor in factors) / len(factors)
        if not same(turned, rope.get("partial_rotary_factor", 1.0)):
            faults.append(f"rope_freqs.weight: found {turned:.3g} of each head turned")
        return
    largest, base = max(factors), float(rope["rope_theta"])
    expected = (_llama_3(index / len(factors), largest, base) for index in range(len(factors)))
    if not all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(factors, expected, strict=True)):
        faults.append(
            f"rope_freqs.weight: found factors from {min(factors):.4g} to {largest:.4g} that are "
            f"not Llama-3.1's; allowed: those of {LLAMA_3} at {ORIGINAL_CONTEXT} positions"
        )
    rope |= {"rope_type": "llama3", "factor": largest, **LLAMA_3}
    rope["original_max_position_embeddings"] = ORIGINAL_CONTEXT


def _llama_3(place: float, factor: float, base: float) -> float:
    """By what Llama-3.1 divides the frequency of a rotary pair, at `place` (0 to 1) in a head."""
    turns = ORIGINAL_CONTEXT / (2 * math.pi * base**place)
    low, high = LLAMA_3["low_freq_factor"], LLAMA_3["high_freq_factor"]
    smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
    return float(1 / ((1 - smooth) / factor + smooth))


def _numbers(header: GgufHeader, name: str) -> list[float] | None:
    """The values of a small fp32 tensor; None: the file has none of this name."""
    tensor = next((tensor for tensor in header.tensors if tensor.name == name), None)
    if tensor is None:
        return None
    if tensor.type_id != 0:
        raise InputError(f"{header.path}: {name}: found {tensor.type_name}; allowed: F32")
    count = math.prod(tensor.shape)
    with header.path.open("rb") as file:
        file.seek(header.data_start + tensor.offset)
        return list(struct.unpack(f"<{count}f", file.read(4 * count)))


def head_width(config: Any) -> int:
    """Values of each head's queries."""
    width = getattr(config, "head_dim", None)
    return int(width or config.hidden_size // config.num_attention_heads)


def same(first: object, second: object) -> bool:
    """Equal, as numbers up to fp32 rounding."""
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-12)
    return first == second
