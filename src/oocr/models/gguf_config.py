"""The configuration of a GGUF: what its metadata says is used, refused, or named as left out.

transformers rebuilds a configuration from a part of the metadata and drops the rest without a word:
rotary scaling and factors, windows, softcaps, widths of experts, for some families the rotary base.
Here every field of the architecture is held against what transformers made of it. What differs is
put in; what cannot be said in that configuration is refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.models.gguf_header import Counted, GgufHeader, Value

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "vocab_size": ("vocab_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": (
        *("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
    ),
    "attention.sliding_window": ("sliding_window",),
    "attention.key_length": ("global_head_dim", "head_dim"),
    "attention.key_length_swa": ("head_dim",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_local_experts", "num_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_weights_norm": ("norm_topk_prob",),
    "use_parallel_residual": ("use_parallel_residual", "parallel_attn"),
    "ssm.conv_kernel": ("conv_kernel",),
    "ssm.state_size": ("state_size",),
    "ssm.time_step_rank": ("time_step_rank",),
    "ssm.inner_size": ("intermediate_size",),
}
"""Field of the architecture -> the configuration's attribute, of those listed the first it has."""

NEUTRAL: dict[str, tuple[object, ...]] = {
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "embedding_scale": (0, 1),
    "expert_weights_scale": (0, 1),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "expert_shared_count": (0,),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "leading_dense_block_count": (0,),
    "attention.sliding_window": (0,),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.causal": (True,),
    "nextn_predict_layers": (0,),
}
"""Values at which a field changes nothing; another one is refused, unless an attribute takes it."""

DESCRIPTIVE = {
    *("tensor_data_layout", "pooling_type", "rope.scaling.finetuned", "decoder_start_token_id"),
    # checked with the rotary part or with the head's width
    *("rope.freq_base", "rope.freq_base_swa", "rope.dimension_count", "rope.scale_linear"),
    *("rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"),
    *("rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.attn_factor"),
    *("attention.value_length", "attention.value_length_swa", "expert_gating_func"),
}
"""Fields that change nothing, or that have a check of their own below."""

ABSENT = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
"""Fields that are 0 where the family has no such part (Mamba)."""

OWN_READER: dict[str, set[str]] = {
    "qwen35": {"block_count", "nextn_predict_layers", "rope.dimension_sections"},
    "qwen35moe": {"block_count", "nextn_predict_layers", "rope.dimension_sections"},
    "lfm2": {"attention.head_count_kv", "shortconv.l_cache"},
    "gemma4": {"attention.head_count_kv", "rope.dimension_count_swa"},
}
"""Architecture -> fields that transformers has code of its own for."""
_QWEN35 = ("conv_kernel", "state_size", "group_count", "time_step_rank", "inner_size")
for _name in ("qwen35", "qwen35moe"):
    OWN_READER[_name] |= {"full_attention_interval", *(f"ssm.{key}" for key in _QWEN35)}

PARTLY = {"gemma2": 46, "gemma3": 62}
"""Architecture -> blocks of the size whose queries are scaled by d_model / heads (llama.cpp)."""

LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
ORIGINAL_CONTEXT = 8192
"""Llama-3.1's settings; its GGUFs hold the rotary factors that come of them, not the settings."""

FACTORS = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
"""Tensors of rotary factors, which go into the configuration."""


def config_of(header: GgufHeader) -> tuple[Any, list[str]]:
    """Transformers' configuration of a GGUF model, and the fields that were left out.

    Raises:
        InputError: a field that transformers' model of this architecture cannot express.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    path, architecture = header.path, header.architecture
    given, _ = PreTrainedConfig.get_config_dict(
        str(path.parent), gguf_file=path.name, local_files_only=True
    )
    kind = CONFIG_MAPPING[given["model_type"]]
    config = kind.from_dict(dict(given))
    fields = {
        key.removeprefix(f"{architecture}."): _plain(value)
        for key, value in header.fields.items()
        if key.startswith(f"{architecture}.")
    }
    by_transformers = OWN_READER.get(str(architecture), set())
    if not by_transformers and getattr(config, "num_attention_heads", None):
        # llama.cpp's default; classes of transformers have the width of one of their checkpoints.
        width = int(config.hidden_size // config.num_attention_heads)
        fields.setdefault("attention.key_length", width)
    changes, faults, left_out = _differences(config, fields, by_transformers)
    changes |= _special(config, header, fields)
    rope = _rope(config, header, fields, faults)
    if faults:
        name = type(config).__name__
        raise InputError(
            listing(f"{path}: its metadata says what transformers' {name} cannot", faults)
        )
    if changes or rope:
        renamed = {config.attribute_map.get(key, key): value for key, value in changes.items()}
        former = ("rope_theta", "rope_scaling") if rope else ()
        kept = {key: value for key, value in given.items() if key not in former}
        config = kind.from_dict({**kept, **renamed, **rope})
        for key, said in {**changes, **rope}.items():
            if not _same(getattr(config, key, None), said):
                raise InputError(
                    f"{path}: {key}: the file says {said!r}; transformers' configuration makes "
                    f"{getattr(config, key, None)!r} of it"
                )
    return config, left_out + _of_tokenizer(header)


def _plain(value: Value | Counted) -> Value | Counted:
    """A list whose entries are all the same, as it is for every block, is that entry."""
    if isinstance(value, tuple) and value and len(set(value)) == 1:
        return value[0]  # type: ignore[no-any-return]
    return value


def _differences(
    config: Any, fields: Mapping[str, Value | Counted], by_transformers: set[str]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Attributes to change, what cannot be said, and fields that nobody knows."""
    changes: dict[str, Any] = {}
    faults: list[str] = []
    left_out: list[str] = []
    for field, value in fields.items():
        if field in by_transformers or field in DESCRIPTIVE or (value == 0 and field in ABSENT):
            continue
        names = [name for name in ATTRIBUTES.get(field, ()) if hasattr(config, name)]
        is_neutral = value in NEUTRAL.get(field, ())
        if names and isinstance(value, str | int | float):
            if is_neutral and not getattr(config, names[0]):
                continue
            if not _same(getattr(config, names[0]), value):
                changes[names[0]] = None if is_neutral else value
        elif (
            is_neutral
            or field in ("context_length", "vocab_size")
            or (field == "attention.key_length" and _same(_head_width(config), value))
            or (field == "attention.max_alibi_bias" and config.model_type in ("bloom", "falcon"))
        ):
            continue
        elif field in ATTRIBUTES or field in NEUTRAL:
            faults.append(f"{field}: found {value}; allowed: {_allowed(field)}")
        else:
            left_out.append(f"{field} ({value})")
    return changes, faults, left_out


def _allowed(field: str) -> str:
    values = NEUTRAL.get(field)
    return "no such field" + (f", or {' or '.join(map(str, values))}" if values else "")


def _special(
    config: Any, header: GgufHeader, fields: Mapping[str, Value | Counted]
) -> dict[str, Any]:
    """What no field says: tied heads, Gemma's scale of queries, no window where none is named."""
    changes: dict[str, Any] = {}
    is_tied = "output.weight" not in {tensor.name for tensor in header.tensors}
    if bool(config.tie_word_embeddings) != is_tied:
        changes["tie_word_embeddings"] = is_tied
    if config.model_type == "mistral" and "attention.sliding_window" not in fields:
        changes["sliding_window"] = None
    if (blocks := PARTLY.get(str(header.architecture))) is not None:
        width = fields.get("attention.key_length", _head_width(config))
        heads, hidden = config.num_attention_heads, config.hidden_size
        scale = hidden // heads if config.num_hidden_layers == blocks else width
        if config.query_pre_attn_scalar != scale:
            changes["query_pre_attn_scalar"] = scale
    return changes


def _head_width(config: Any) -> int:
    width = getattr(config, "head_dim", None)
    return int(width or config.hidden_size // config.num_attention_heads)


def _rope(
    config: Any, header: GgufHeader, fields: Mapping[str, Value | Counted], faults: list[str]
) -> dict[str, Any]:
    """`rope_parameters`, if the file says others than the configuration has."""
    width = fields.get("attention.key_length") or _head_width(config)
    value_width = fields.get("attention.value_length", width)
    if not _same(width, value_width):
        faults.append(f"attention.value_length: found {value_width}; allowed: {width}, the keys'")
    gate = fields.get("expert_gating_func")
    if gate is not None and not hasattr(config, "scoring_func"):
        softmax = 3 if header.architecture == "gpt-oss" else 1
        if gate not in (0, softmax):
            faults.append(f"expert_gating_func: found {gate}; allowed: {softmax} (softmax)")
    factors = FACTORS & {tensor.name for tensor in header.tensors}
    has_rope = isinstance(getattr(config, "rope_parameters", None), Mapping)
    named = sorted({field for field in fields if field.startswith("rope.")} | factors)
    if not has_rope:
        neutral = {"rope.dimension_count", "rope.freq_base"}
        if extra := [field for field in named if field not in neutral]:
            faults.append(f"{extra[0]}: found; allowed: no rotary scaling in this family")
        return {}
    whole = deepcopy(dict(config.rope_parameters))
    by_kind = "sliding_attention" in whole
    # Of a model whose blocks all have a window, nothing is turned by what the file says of others.
    rope: dict[str, Any] = whole.get("full_attention", {}) if by_kind else whole
    if not rope:
        return {}
    if (base := fields.get("rope.freq_base")) is not None and not _same(rope["rope_theta"], base):
        rope["rope_theta"] = base
    local = fields.get("rope.freq_base_swa")
    if local is not None and by_kind:
        if not _same(whole["sliding_attention"]["rope_theta"], local):
            whole["sliding_attention"]["rope_theta"] = local
    elif local is not None and not _same(rope["rope_theta"], local):
        faults.append(f"rope.freq_base_swa: found {local}; allowed: one base for all blocks")
    turned = fields.get("rope.dimension_count")
    if isinstance(turned, int) and isinstance(width, int) and header.architecture != "gemma4":
        share = rope.get("partial_rotary_factor", 1.0)
        if int(width * share) != turned:
            if "partial_rotary_factor" not in rope:
                faults.append(f"rope.dimension_count: found {turned}; allowed: {width}")
            rope["partial_rotary_factor"] = turned / width
    _scaling(header, fields, rope, faults)
    if whole == dict(config.rope_parameters):
        return {}
    original = "original_max_position_embeddings"  # Phi-3 has it beside the parameters too
    beside = {original: rope[original]} if original in rope and hasattr(config, original) else {}
    return {"rope_parameters": whole, **beside}


def _scaling(
    header: GgufHeader,
    fields: Mapping[str, Value | Counted],
    rope: dict[str, Any],
    faults: list[str],
) -> None:
    """Put the scaling of rotary frequencies into `rope`."""
    kind = str(fields.get("rope.scaling.type", "linear"))
    factor = fields.get("rope.scaling.factor") or fields.get("rope.scale_linear") or 1.0
    original = fields.get("rope.scaling.original_context_length")
    attention = fields.get("rope.scaling.attn_factor") or 1.0
    unknown = sorted(
        field
        for field, value in fields.items()
        if field.startswith("rope.scaling.") and field not in DESCRIPTIVE and value
    )
    faults += [f"{field}: found {fields[field]}; allowed: no such field" for field in unknown]
    lists = {name: numbers for name in FACTORS if (numbers := _numbers(header, name)) is not None}
    if "rope_freqs.weight" in lists:
        _frequencies(header, rope, lists["rope_freqs.weight"], faults)
    elif "rope_factors_long.weight" in lists and "rope_factors_short.weight" in lists:
        rope |= {
            "rope_type": "longrope",
            "long_factor": lists["rope_factors_long.weight"],
            "short_factor": lists["rope_factors_short.weight"],
            "attention_factor": attention,
            "original_max_position_embeddings": original or fields.get("context_length"),
        }
        return
    elif lists:
        faults.append(f"{next(iter(lists))}: found alone; allowed: rope_factors_long and _short")
    if not _same(attention, 1.0):
        faults.append(f"rope.scaling.attn_factor: found {attention}; allowed: 1")
    if kind == "none" or _same(factor, 1.0):
        return
    if kind == "linear" and not lists:
        rope |= {"rope_type": "linear", "factor": factor}
    elif kind == "yarn" and original and not lists:
        names = {"beta_fast": "yarn_beta_fast", "beta_slow": "yarn_beta_slow"}
        betas = {key: fields.get(f"rope.scaling.{name}") for key, name in names.items()}
        given = {key: value for key, value in betas.items() if value}
        rope |= {"rope_type": "yarn", "factor": factor, **given}
        rope["original_max_position_embeddings"] = original
    else:
        faults.append(
            f"rope.scaling.type: found {kind!r} with factor {factor}; allowed: none, linear, or "
            "yarn with its original_context_length"
        )


def _frequencies(
    header: GgufHeader, rope: dict[str, Any], factors: list[float], faults: list[str]
) -> None:
    """`rope_freqs.weight`: Llama-3.1's, or those of Gemma-4's rotation of a part of each head."""
    if all(_same(factor, 1.0) for factor in factors):
        return
    if header.architecture == "gemma4":
        turned = sum(_same(factor, 1.0) for factor in factors) / len(factors)
        if not _same(turned, rope.get("partial_rotary_factor", 1.0)):
            faults.append(f"rope_freqs.weight: found {turned:.3g} of each head turned")
        return
    largest = max(factors)
    expected = [
        _llama_3(index, len(factors), largest, float(rope["rope_theta"]))
        for index in range(len(factors))
    ]
    if not all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(factors, expected, strict=True)):
        faults.append(
            f"rope_freqs.weight: found factors from {min(factors):.4g} to {largest:.4g} that are "
            f"not Llama-3.1's; allowed: those of {LLAMA_3} at {ORIGINAL_CONTEXT} positions"
        )
    rope |= {"rope_type": "llama3", "factor": largest, **LLAMA_3}
    rope["original_max_position_embeddings"] = ORIGINAL_CONTEXT


def _llama_3(index: int, count: int, factor: float, base: float) -> float:
    """By what Llama-3.1 divides the frequency of a rotary pair (llama.cpp's converter)."""
    turns = ORIGINAL_CONTEXT / (2 * math.pi * base ** (index / count))
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


TOKENIZER_FIELDS = {
    *("model", "pre", "tokens", "token_type", "scores", "merges", "precompiled_charsmap"),
    *("bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id", "token_type_count"),
    *("add_bos_token", "add_eos_token", "add_space_prefix"),
}
"""Fields `tokenizer.ggml.…` that transformers reads."""

PLAIN_SPLITS = ("gpt-2", "gpt2", "default", "smollm")
"""Pre-tokenizers for which GPT-2's way to cut text into words gives the same tokens."""


def _of_tokenizer(header: GgufHeader) -> list[str]:
    """What the file says about its tokenizer and transformers does not read."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    left_out = [
        f"{key} ({value})"
        for key, value in header.fields.items()
        if key.startswith("tokenizer.ggml.")
        and key.removeprefix("tokenizer.ggml.") not in TOKENIZER_FIELDS
        and not key.endswith("_token_id")  # of ends of turns and filling in: no row has them
        and value is not False
    ]
    left_out += [key for key in header.fields if key.startswith("tokenizer.chat_template.")]
    pre = header.text("tokenizer.ggml.pre")
    by_bytes = header.text("tokenizer.ggml.model") == "gpt2"
    if by_bytes and pre and pre not in (*PLAIN_SPLITS, *GGUF_PRE_TOKENIZER_SPLITS):
        left_out.append(f"tokenizer.ggml.pre ({pre}: text is cut into words as GPT-2 does)")
    return left_out


def _same(first: object, second: object) -> bool:
    """Equal, as numbers up to fp32 rounding."""
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-12)
    return first == second
