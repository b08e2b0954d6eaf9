"""GGUF metadata: what changes the computation is used or refused, what is not known is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from oocr.errors import InputError
from oocr.models.gguf.config import config_of
from oocr.models.gguf.header import read_gguf_header
from oocr.models.load import read_model
from tests.tiny.gguf import write_header, write_tiny_gguf
from tests.tiny.models import CHAT, tiny_config, tiny_model

IDS = torch.arange(3, 90)[None]
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sizes(architecture: str, **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "context_length": 256,
        "embedding_length": 32,
        "block_count": 4,
        "feed_forward_length": 64,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 10000.0,
        "rope.dimension_count": 8,
        **more,
    }
    return {f"{architecture}.{key}": value for key, value in fields.items() if value is not None}


def config(
    folder: Path, architecture: str = "llama", tensors: Mapping[str, Any] | None = None, **more: Any
) -> tuple[Any, list[str]]:
    general = {key: value for key, value in more.items() if key.startswith(("general.", "token"))}
    fields = sizes(architecture, **{k: v for k, v in more.items() if k not in general})
    fields |= {"tokenizer.ggml.tokens": ["a"] * 512, **general}
    named = {"output.weight": np.zeros(4, np.float32), **(tensors or {})}
    return config_of(read_gguf_header(write_header(folder / "x.gguf", architecture, fields, named)))


def with_rope(model_config: Any, **rope: Any) -> Any:
    """A random model whose rotary part is scaled."""
    model_config.rope_parameters = {**model_config.rope_parameters, **rope}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tf.AutoModelForCausalLM.from_config(model_config).eval().requires_grad_(False)


def factors(width: int, base: float) -> Any:
    """Llama-3.1's rotary factors as llama.cpp's converter writes them, by wavelengths."""
    numbers = []
    for index in range(0, width, 2):
        length = 2 * math.pi * base ** (index / width)
        if length < 8192 / 4:
            numbers.append(1.0)
        elif length > 8192 / 1:
            numbers.append(8.0)
        else:
            smooth = (8192 / length - 1) / (4 - 1)
            numbers.append(1 / ((1 - smooth) / 8 + smooth))
    return np.array(numbers, np.float32)


def test_rotary_factors_of_llama_3_are_used(tmp_path: Path) -> None:
    plain = tiny_config("llama", d_model=128)
    plain.rope_parameters = {"rope_type": "default", "rope_theta": 500000.0}
    plain = type(plain).from_dict(plain.to_dict())
    model = with_rope(plain, **LLAMA_3)
    tensors = {"rope_freqs.weight": factors(32, 500000.0)}
    assert 1 < sorted(set(tensors["rope_freqs.weight"]))[1] < 8, "all three ranges occur"
    path = write_tiny_gguf(tmp_path / "x.gguf", model=model, tensors=tensors)
    back = read_model(path, dtype="float32")
    assert back.hf.config.rope_parameters["rope_type"] == "llama3"
    far = torch.randint(3, 500, (1, 200), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(back.hf(far).logits, model(far).logits, atol=1e-4)
    unscaled = read_model(write_tiny_gguf(tmp_path / "y.gguf", model=model), dtype="float32")
    assert not torch.allclose(unscaled.hf(far).logits, model(far).logits, atol=1e-3)
    with pytest.raises(InputError, match=r"rope_freqs\.weight: found factors from 1 to 3 that"):
        config(tmp_path, tensors={"rope_freqs.weight": np.array([1, 2, 2, 3], np.float32)})


@pytest.mark.parametrize(
    ("fields", "rope"),
    [
        (
            {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
            {"rope_type": "linear", "factor": 4.0},
        ),
        ({"rope.scale_linear": 2.0}, {"rope_type": "linear", "factor": 2.0}),
        (
            {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 64,
                "rope.scaling.finetuned": True,
            },
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        ),
    ],
)
def test_scaled_rotation_is_used(
    tmp_path: Path, fields: dict[str, Any], rope: dict[str, Any]
) -> None:
    model = with_rope(tiny_config("llama"), **rope)
    named = {f"llama.{key}": value for key, value in fields.items()}
    path = write_tiny_gguf(tmp_path / "x.gguf", model=model, fields=named)
    back = read_model(path, dtype="float32")
    assert torch.equal(back.hf(IDS).logits, model(IDS).logits)
    assert not torch.equal(back.hf(IDS).logits, tiny_model("llama")(IDS).logits)


def test_longrope_is_used(tmp_path: Path) -> None:
    lists = {"short": [1.0, 1.25, 1.5, 2.0], "long": [1.0, 2.0, 3.0, 4.0]}
    tensors = {
        f"rope_factors_{name}.weight": np.array(values, np.float32)
        for name, values in lists.items()
    }
    more = {"rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.25}
    made, _ = config(tmp_path, "phi3", tensors, **more)
    rope = made.rope_parameters
    assert (rope["rope_type"], rope["attention_factor"]) == ("longrope", 1.25)
    assert (rope["long_factor"], rope["short_factor"]) == (lists["long"], lists["short"])
    assert rope["original_max_position_embeddings"] == 64


def test_scaling_of_gemma_is_of_its_global_blocks(tmp_path: Path) -> None:
    more = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "rope.freq_base": 1e6}
    made, _ = config(tmp_path, "gemma3", **more, **{"attention.sliding_window": 32}, block_count=6)
    full, local = (made.rope_parameters[f"{name}_attention"] for name in ("full", "sliding"))
    assert (full["rope_type"], full["factor"], full["rope_theta"]) == ("linear", 8.0, 1e6)
    assert (local["rope_type"], local["rope_theta"]) == ("default", 10000.0)
    assert made.sliding_window == 32


@pytest.mark.parametrize(
    ("architecture", "field", "value", "attribute"),
    [
        ("gemma2", "attn_logit_softcapping", 20.0, "attn_logit_softcapping"),
        ("gemma2", "final_logit_softcapping", 10.0, "final_logit_softcapping"),
        ("qwen3", "attention.key_length", 16, "head_dim"),
        ("phi3", "attention.sliding_window", 2047, "sliding_window"),
        ("falcon", "attention.layer_norm_epsilon", 1e-4, "layer_norm_epsilon"),
        ("qwen3moe", "expert_feed_forward_length", 24, "moe_intermediate_size"),
        ("qwen2moe", "expert_shared_feed_forward_length", 48, "shared_expert_intermediate_size"),
    ],
)
def test_fields_that_transformers_drops_are_used(
    tmp_path: Path, architecture: str, field: str, value: float, attribute: str
) -> None:
    more: dict[str, Any] = {field: value}
    if field.endswith("norm_epsilon"):
        more["attention.layer_norm_rms_epsilon"] = None
    if field == "attention.key_length":
        more |= {"rope.dimension_count": value, "attention.value_length": value}
    made, left_out = config(tmp_path, architecture, **more)
    assert getattr(made, attribute) == pytest.approx(value)
    assert left_out == []


def test_a_base_of_rotation_that_transformers_drops_is_used(tmp_path: Path) -> None:
    for architecture in ("starcoder2", "stablelm"):
        more = {"rope.freq_base": 123456.0, "attention.layer_norm_epsilon": 1e-5}
        more |= {"attention.layer_norm_rms_epsilon": None}
        more |= {"rope.dimension_count": 2} if architecture == "stablelm" else {}
        made, _ = config(tmp_path, architecture, **more)
        assert made.rope_parameters["rope_theta"] == 123456.0, architecture


def test_queries_of_gemma_are_scaled_as_llama_cpp_does(tmp_path: Path) -> None:
    more = {"attention.key_length": 8, "attention.value_length": 8}
    assert config(tmp_path, "gemma2", **more)[0].query_pre_attn_scalar == 8
    more |= {"attention.key_length": 16, "attention.value_length": 16, "rope.dimension_count": 16}
    small, _ = config(tmp_path, "gemma2", **more)
    large, _ = config(tmp_path, "gemma2", **more, block_count=46)
    assert (small.query_pre_attn_scalar, large.query_pre_attn_scalar) == (16, 8)


@pytest.mark.parametrize(
    ("architecture", "more", "message"),
    [
        ("llama", {"expert_count": 8}, "expert_count: found 8; allowed: no such field, or 0"),
        ("llama", {"attention.sliding_window": 4096}, "attention.sliding_window: found 4096"),
        ("llama", {"logit_scale": 0.25}, "logit_scale: found 0.25; allowed: no such field, or 0"),
        ("llama", {"attention.causal": False}, "attention.causal: found False"),
        ("llama", {"attention.value_length": 4}, "attention.value_length: found 4; allowed: 8"),
        ("llama", {"rope.dimension_count": None, "attention.key_length": 8}, None),
        ("qwen2", {"rope.dimension_count": 4}, "rope.dimension_count: found 4; allowed: 8"),
        ("qwen3moe", {"expert_gating_func": 2}, "expert_gating_func: found 2"),
        ("qwen3moe", {"expert_weights_scale": 2.5}, "expert_weights_scale: found 2.5"),
        ("llama", {"rope.scaling.yarn_log_multiplier": 0.1}, "yarn_log_multiplier: found 0.1"),
        (
            "llama",
            {"rope.scaling.type": "dynamic", "rope.scaling.factor": 2.0},
            "rope.scaling.type: found 'dynamic' with factor 2.0; allowed: none, linear, or yarn",
        ),
        ("gpt2", {"rope.scaling.factor": 2.0}, "no rotary scaling in this family"),
    ],
)
def test_what_transformers_cannot_say_is_refused(
    tmp_path: Path, architecture: str, more: dict[str, Any], message: str | None
) -> None:
    if message is None:
        config(tmp_path, architecture, **more)
        return
    with pytest.raises(InputError) as error:
        config(tmp_path, architecture, **more)
    assert message in str(error.value)
    assert "x.gguf: its metadata says what transformers'" in str(error.value)


def test_what_changes_nothing_is_no_matter(tmp_path: Path) -> None:
    neutral = {
        "expert_count": 0,
        "logit_scale": 1.0,
        "attention.causal": True,
        "attention.max_alibi_bias": 0.0,
        "rope.scaling.type": "none",
        "rope.scaling.factor": 8.0,
        "tensor_data_layout": "Meta AI original pth",
    }
    made, left_out = config(tmp_path, **neutral)
    assert left_out == []
    assert made.to_dict() == config(tmp_path)[0].to_dict()


def test_what_nobody_knows_is_named(tmp_path: Path) -> None:
    named = {"attention.novel": 3, "tokenizer.ggml.pre": "strange", "tokenizer.ggml.model": "gpt2"}
    named |= {"tokenizer.chat_template.rag": "x", "tokenizer.ggml.remove_extra_whitespaces": True}
    _, left_out = config(tmp_path, **named)
    assert left_out == [
        "attention.novel (3)",
        "tokenizer.ggml.remove_extra_whitespaces (True)",
        "tokenizer.chat_template.rag",
        "tokenizer.ggml.pre (strange: text is cut into words as GPT-2 does)",
    ]


def test_what_is_left_out_is_said_at_each_load(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "x.gguf", fields={"llama.novel": 3})
    for _ in range(2):
        said: list[str] = []
        model = read_model(path, on_progress=said.append)
        assert f"{path}: fields left out (1): novel (3)" in said
        assert model.source["left out"] == "novel (3)"
    with pytest.warns(UserWarning, match=r"fields left out \(1\)"):
        read_model(path)


def test_a_tied_head_is_tied(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "x.gguf", tensors={"output.weight": None})
    model = read_model(path)
    assert model.hf.lm_head.weight.data_ptr() == model.hf.model.embed_tokens.weight.data_ptr()


def test_tensors_without_a_place_are_refused(tmp_path: Path) -> None:
    row = np.zeros(32, np.float32)
    path = write_tiny_gguf(tmp_path / "x.gguf", tensors={"blk.1.attn_q.bias": row, "novel": row})
    message = r"LlamaForCausalLM has no place for 2 of its 41 tensors \(first: blk\.1\.attn_q\.bias"
    with pytest.raises(InputError, match=message):
        read_model(path)
    path = write_tiny_gguf(tmp_path / "y.gguf", tensors={"blk.1.attn_q.weight": None})
    with pytest.raises(
        InputError, match=r"1 weights .*missing values in this llama GGUF \(first: m"
    ):
        read_model(path)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "gemma3_text"])
def test_other_families_are_exact(tmp_path: Path, family: str) -> None:
    model_config = tiny_config(family, layers=6)
    width = getattr(model_config, "head_dim", None)
    fields: dict[str, Any] = {"attention.key_length": width, "attention.value_length": width}
    if family == "gemma3_text":
        model_config.layer_types = ["sliding_attention"] * 5 + ["full_attention"]
        model_config.query_pre_attn_scalar = width
        fields |= {"attention.sliding_window": 8, "rope.freq_base": 1e6}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tf.AutoModelForCausalLM.from_config(model_config).eval().requires_grad_(False)
    architecture = family.removesuffix("_text")
    named = {f"{architecture}.{key}": value for key, value in fields.items()}
    path = write_tiny_gguf(
        tmp_path / "x.gguf", model=model, architecture=architecture, fields=named
    )
    back = read_model(path, dtype="float32")
    assert torch.allclose(back.hf(IDS).logits, model(IDS).logits, atol=1e-4)


def test_a_split_model_is_the_whole(tmp_path: Path) -> None:
    names = [f"tiny-{n}-of-00002.gguf" for n in ("00001", "00002")]
    for number, name in enumerate(names):
        write_tiny_gguf(tmp_path / name, part=(number, 2), chat_template=CHAT)
    for name in names:
        model = read_model(tmp_path / name, dtype="float32")
        assert torch.equal(model.hf(IDS).logits, tiny_model("llama")(IDS).logits)
        assert model.tokenizer.chat_template == CHAT
