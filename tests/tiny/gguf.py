"""A tiny Llama as a GGUF file, written the way llama.cpp's converter does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.tiny.models import tiny_model, tiny_tokenizer


def permute(weight: Any, heads: int) -> Any:
    """llama.cpp keeps rotary pairs next to each other, transformers keeps halves."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def add_field(writer: Any, key: str, value: Any) -> None:
    """A metadata field, with GGUF's type for what the value is in Python."""
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def write_header(
    path: Path, architecture: str | None, fields: dict[str, Any], tensors: dict[str, Any]
) -> Path:
    """A GGUF of these fields and tensors and nothing else."""
    writer = gguf.GGUFWriter(path, architecture or "none")
    if architecture is None:
        writer.kv_data[0].pop("general.architecture")
    for key, value in fields.items():
        add_field(writer, key, value)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    return _written(writer, path)


def _written(writer: Any, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_tiny_gguf(
    path: Path,
    seed: int = 0,
    chat_template: str | None = None,
    *,
    model: Any = None,
    architecture: str = "llama",
    fields: dict[str, Any] | None = None,
    tensors: dict[str, Any] | None = None,
    part: tuple[int, int] = (0, 1),
) -> Path:
    """`tiny_model("llama", seed)`, or another model, and `tiny_tokenizer()` as one fp32 GGUF.

    `fields` and `tensors` are added or replaced (None: left out); of a split GGUF `part` is the
    number from 0 and the count.
    """
    model = model or tiny_model("llama", seed)
    config, (number, count) = model.config, part
    heads = config.num_attention_heads
    own = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.dimension_count": getattr(config, "head_dim", None) or config.hidden_size // heads,
        "vocab_size": config.vocab_size,
    }
    if "rope_theta" in config.rope_parameters:
        own["rope.freq_base"] = config.rope_parameters["rope_theta"]
    named = {f"{architecture}.{key}": value for key, value in own.items()} | (fields or {})
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    if count > 1:
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
    for key, value in named.items() if number == 0 else ():
        if value is not None:
            add_field(writer, key, value)

    backend = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    ids = backend["model"]["vocab"]
    tokens = sorted(ids, key=ids.__getitem__)
    tokens += [f"<unused{i}>" for i in range(config.vocab_size - len(tokens))]
    control = {token["content"] for token in backend["added_tokens"]}
    kinds = [
        gguf.TokenType.CONTROL if token in control else gguf.TokenType.NORMAL for token in tokens
    ]
    if number == 0:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges([" ".join(pair) for pair in backend["model"]["merges"]])
        writer.add_pad_token_id(0)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_add_bos_token(True)
        if chat_template:
            writer.add_chat_template(chat_template)

    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    weights: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        weight = parameter.numpy()
        if architecture == "llama" and name.endswith("q_proj.weight"):
            weight = permute(weight, heads)
        if architecture == "llama" and name.endswith("k_proj.weight"):
            weight = permute(weight, config.num_key_value_heads)
        if architecture.startswith("gemma") and "norm" in name:
            weight = weight + 1
        weights[names.get_name(name, try_suffixes=(".weight", ".bias"))] = weight
    kept = {key: data for key, data in (weights | (tensors or {})).items() if data is not None}
    for place, (name, data) in enumerate(kept.items()):
        if place * count // len(kept) == number:
            writer.add_tensor(name, data)
    return _written(writer, path)
