"""The configuration of a GGUF: what its metadata says is used, refused, or named as left out.

transformers rebuilds a configuration from a part of the metadata and drops the rest without a word:
rotary scaling and factors, windows, softcaps, widths of experts, for some families the rotary base.
Here every field of the architecture is held against what transformers made of it. What differs is
put in; what cannot be said in that configuration is refused.
"""

from __future__ import annotations

from typing import Any

from oocr.data.source_file import listing
from oocr.errors import InputError
from oocr.models.gguf.header import Counted, GgufHeader, Value
from oocr.models.gguf.rope import ROPE_FIELDS, Fields, head_width, rope_changes, same

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
    "attention.causal": (True,),
    **dict.fromkeys(("logit_scale", "residual_scale", "embedding_scale"), (0, 1)),
    **dict.fromkeys(("expert_weights_scale", "expert_group_count"), (0, 1)),
    "expert_group_used_count": (0, 1),
    **dict.fromkeys(("expert_count", "expert_used_count", "expert_shared_count"), (0,)),
    **dict.fromkeys(("leading_dense_block_count", "nextn_predict_layers"), (0,)),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"), (0,)),
    **dict.fromkeys(("attention.clamp_kqv", "attention.max_alibi_bias"), (0,)),
    "attention.sliding_window": (0,),
}
"""Values at which a field changes nothing; another one is refused, unless an attribute takes it."""

DESCRIPTIVE = {
    *("tensor_data_layout", "pooling_type", "decoder_start_token_id"),
    *("attention.value_length", "attention.value_length_swa", "expert_gating_func"),
    *ROPE_FIELDS,
}
"""Fields that change nothing, or that have a check of their own below."""

ABSENT = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
"""Fields that are 0 where the family has no such part (Mamba)."""

_QWEN35 = {
    *("block_count", "nextn_predict_layers", "rope.dimension_sections", "full_attention_interval"),
    *("ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank"),
    "ssm.inner_size",
}
OWN_READER: dict[str, set[str]] = {
    "qwen35": _QWEN35,
    "qwen35moe": _QWEN35,
    "lfm2": {"attention.head_count_kv", "shortconv.l_cache"},
    "gemma4": {"attention.head_count_kv", "rope.dimension_count_swa"},
}
"""Architecture -> fields that transformers has code of its own for."""

PARTLY = {"gemma2": 46, "gemma3": 62}
"""Architecture -> blocks of the size whose queries are scaled by d_model / heads (llama.cpp)."""


def config_of(header: GgufHeader) -> tuple[Any, list[str]]:
    """Transformers' configuration of a GGUF model, and the fields that were left out.

    Raises:
        InputError: a field that transformers' model of this architecture cannot express.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    path, architecture = header.path, str(header.architecture)
    given, _ = PreTrainedConfig.get_config_dict(
        str(path.parent), gguf_file=path.name, local_files_only=True
    )
    kind = CONFIG_MAPPING[given["model_type"]]
    config = kind.from_dict(dict(given))
    prefix = f"{architecture}."
    fields = {
        key.removeprefix(prefix): _plain(value)
        for key, value in header.fields.items()
        if key.startswith(prefix)
    }
    by_transformers = OWN_READER.get(architecture, set())
    if not by_transformers and getattr(config, "num_attention_heads", None):
        # llama.cpp's default; classes of transformers have the width of one of their checkpoints.
        width = int(config.hidden_size // config.num_attention_heads)
        fields.setdefault("attention.key_length", width)
    faults = _other_faults(config, fields, architecture)
    changes, left_out = _differences(config, fields, by_transformers, faults)
    changes |= _unsaid(config, header, fields)
    rope = rope_changes(config, header, fields, faults)
    if faults:
        words = f"{path}: its metadata says what transformers' {type(config).__name__} cannot"
        raise InputError(listing(words, faults))
    if changes or rope:
        renamed = {config.attribute_map.get(key, key): value for key, value in changes.items()}
        former = ("rope_theta", "rope_scaling") if rope else ()
        kept = {key: value for key, value in given.items() if key not in former}
        config = kind.from_dict({**kept, **renamed, **rope})
        for key, value in {**changes, **rope}.items():
            if not same(actual := getattr(config, key, None), value):
                raise InputError(
                    f"{path}: {key}: the file says {value!r}; transformers' configuration makes "
                    f"{actual!r} of it"
                )
    return config, left_out + _of_tokenizer(header)


def _plain(value: Value | Counted) -> Value | Counted:
    """A list whose entries are all the same, as it is for every block, is that entry."""
    if isinstance(value, tuple) and value and len(set(value)) == 1:
        return value[0]  # type: ignore[no-any-return]
    return value


def _other_faults(config: Any, fields: Fields, architecture: str) -> list[str]:
    """Values of another width than keys, and routing by another function than softmax."""
    faults: list[str] = []
    if (values := fields.get("attention.value_length")) is not None:
        keys = fields.get("attention.key_length") or head_width(config)
        if not same(keys, values):
            faults.append(f"attention.value_length: found {values}; allowed: {keys}, the keys'")
    softmax = 3 if architecture == "gpt-oss" else 1
    gate = fields.get("expert_gating_func", 0)
    if gate not in (0, softmax) and not hasattr(config, "scoring_func"):
        faults.append(f"expert_gating_func: found {gate}; allowed: {softmax} (softmax)")
    return faults


def _differences(
    config: Any, fields: Fields, by_transformers: set[str], faults: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """Attributes to change, and fields that nobody knows; what cannot be said is a fault."""
    changes: dict[str, Any] = {}
    left_out: list[str] = []
    for field, value in fields.items():
        if field in by_transformers or field in DESCRIPTIVE or (value == 0 and field in ABSENT):
            continue
        name = next((name for name in ATTRIBUTES.get(field, ()) if hasattr(config, name)), None)
        neutral = NEUTRAL.get(field, ())
        if name and isinstance(value, str | int | float):
            known = getattr(config, name)
            if not same(known, value) and (known or value not in neutral):
                changes[name] = None if value in neutral else value
        elif (
            value in neutral
            or field in ("context_length", "vocab_size")
            or (field == "attention.key_length" and same(head_width(config), value))
            or (field == "attention.max_alibi_bias" and config.model_type in ("bloom", "falcon"))
        ):
            continue
        elif field in ATTRIBUTES or field in NEUTRAL:
            others = ", or " * bool(neutral) + " or ".join(map(str, neutral))
            faults.append(f"{field}: found {value}; allowed: no such field{others}")
        else:
            left_out.append(f"{field} ({value})")
    return changes, left_out


def _unsaid(config: Any, header: GgufHeader, fields: Fields) -> dict[str, Any]:
    """Settings without a field: tied heads, Gemma's scale of queries, no window by default."""
    changes: dict[str, Any] = {}
    is_tied = "output.weight" not in {tensor.name for tensor in header.tensors}
    if bool(config.tie_word_embeddings) != is_tied:
        changes["tie_word_embeddings"] = is_tied
    if config.model_type == "mistral" and "attention.sliding_window" not in fields:
        changes["sliding_window"] = None
    if (blocks := PARTLY.get(str(header.architecture))) is not None:
        width = fields.get("attention.key_length", head_width(config))
        heads, hidden = config.num_attention_heads, config.hidden_size
        scale = hidden // heads if config.num_hidden_layers == blocks else width
        if config.query_pre_attn_scalar != scale:
            changes["query_pre_attn_scalar"] = scale
    return changes


TOKENIZER_FIELDS = {
    *("model", "pre", "tokens", "token_type", "scores", "merges", "precompiled_charsmap"),
    *("bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id", "token_type_count"),
    *("add_bos_token", "add_eos_token", "add_space_prefix"),
}
"""Fields `tokenizer.ggml.…` that transformers reads."""

PLAIN_SPLITS = ("gpt-2", "gpt2", "default", "smollm")
"""Pre-tokenizers for which GPT-2's way to cut text into words gives the same tokens."""


def _of_tokenizer(header: GgufHeader) -> list[str]:
    """The file's tokenizer fields that transformers does not read."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    left_out = [
        f"{key} ({value})"
        for key, value in header.fields.items()
        if key.startswith("tokenizer.ggml.")
        and key.removeprefix("tokenizer.ggml.") not in TOKENIZER_FIELDS
        and not key.endswith("_token_id")  # ends of turns and infilling: no row has them
        and value is not False
    ]
    left_out += [key for key in header.fields if key.startswith("tokenizer.chat_template.")]
    pre = header.text("tokenizer.ggml.pre")
    by_bytes = header.text("tokenizer.ggml.model") == "gpt2"
    if by_bytes and pre and pre not in (*PLAIN_SPLITS, *GGUF_PRE_TOKENIZER_SPLITS):
        left_out.append(f"tokenizer.ggml.pre ({pre}: text is cut into words as GPT-2 does)")
    return left_out
