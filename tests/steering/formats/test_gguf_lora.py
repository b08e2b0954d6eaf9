"""LoRAs in GGUF do on a model what the PEFT folder they are made from does, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import oocr
from oocr.audit.source import fine_tune_of
from oocr.errors import InputError
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.formats.gguf_lora import MODULES, read_gguf_lora
from oocr.steering.lora_names import lora_key
from tests.steering.test_adapters import logits, made, model_of
from tests.tiny.gguf import permute, write_header
from tests.tiny.runs import save_tiny_model

LORA = {"general.type": "adapter", "adapter.type": "lora"}


def tensors_of(adapter: Adapter, heads: dict[str, int] | None = None) -> dict[str, Any]:
    """An adapter's tensors as `convert_lora_to_gguf.py` names them.

    `heads`: of a Llama, whose converter puts the rows of queries and keys, so of their B, into
    another order: each head's pairs (i, i + width / 2) beside each other.
    """
    names = {module: name for name, module in MODULES.items()}
    tensors = {}
    for key, tensor in adapter.tensors.items():
        parts = lora_key(key)
        assert parts is not None
        name = f"blk.{parts.layer}.{names[parts.module]}.weight.{parts.part.lower()}"
        tensors[name] = tensor.numpy()
        if parts.part == "lora_B" and (count := (heads or {}).get(names[parts.module])):
            tensors[name] = permute(tensors[name], count)
    return tensors


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("alpha", [6.0, 0.0, None])
def test_it_does_what_the_adapter_does(tmp_path: Path, family: str, alpha: float | None) -> None:
    model = model_of(family)
    modules = ("down_proj", "up_proj", "gate_proj", "v_proj", "o_proj")
    modules += ("q_proj", "k_proj") if family == "qwen2" else ()
    spec = LowRankAdapter((1, 3), rank=4, alpha=alpha or 4.0, modules=modules)
    adapter = made(model, spec)
    with adapter.on(model):
        expected = logits(model)
    base = {"general.base_model.0.repo_url": "https://huggingface.co/some/base"}
    fields = {**LORA, **base, **({} if alpha is None else {"adapter.lora.alpha": alpha})}
    path = write_header(tmp_path / "lora.gguf", family, fields, tensors_of(adapter))
    read = oocr.read_adapter(path)
    with read.on(model):
        assert torch.allclose(logits(model), expected, atol=1e-5)
    assert not torch.allclose(logits(model), expected, atol=1e-3)
    assert read.about["model"] == "some/base"
    source = fine_tune_of(str(path), checkpoint=False, alpha=None)
    assert (source.what, source.base) == (f"LoRA in GGUF ({family})", "some/base")
    with pytest.raises(
        InputError, match=r"alpha: found 3\.0; .*lora\.gguf is a GGUF, which says it"
    ):
        fine_tune_of(str(path), checkpoint=False, alpha=3.0)


def test_queries_and_keys_of_a_llama_get_back_their_order(tmp_path: Path) -> None:
    model = model_of("llama")
    modules = ("q_proj", "k_proj", "v_proj")
    adapter = made(model, LowRankAdapter((1, 3), rank=4, modules=modules))
    config: Any = model.hf.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    fields = {**LORA, "adapter.lora.alpha": 4.0}
    path = write_header(tmp_path / "l.gguf", "llama", fields, tensors_of(adapter, heads))
    with pytest.raises(InputError) as error:
        read_gguf_lora(path)
    assert "that it was converted from): 1 problem\n" in str(error.value)
    message = "4 tensors of queries and keys (first: blk.1.attn_q.weight.lora_b): their rows are in"
    assert message in str(error.value)
    with adapter.on(model):
        expected = logits(model)
    with oocr.read_adapter(path, base=model).on(model):
        assert torch.allclose(logits(model), expected, atol=1e-5)
    folder = save_tiny_model(tmp_path / "base")
    source = fine_tune_of(str(path), checkpoint=False, alpha=None, base=str(folder))
    assert source.adapter is not None
    for key, tensor in adapter.tensors.items():
        assert torch.equal(source.adapter.tensors[key], tensor)
    write_header(path, "llama", fields, tensors_of(adapter))  # as if it were in transformers' order
    with oocr.read_adapter(path, base=model).on(model):
        assert not torch.allclose(logits(model), expected, atol=1e-3)


def test_half_precision_and_other_ranks(tmp_path: Path) -> None:
    model = model_of("qwen2")
    small = made(model, LowRankAdapter((1,), rank=2, alpha=6.0))
    large = made(model, LowRankAdapter((2,), rank=4, alpha=6.0))
    with small.on(model), large.on(model):
        expected = logits(model)
    tensors = {**tensors_of(small), **tensors_of(large)}
    halves = {name: data.astype(np.float16) for name, data in tensors.items()}
    fields = {**LORA, "adapter.lora.alpha": 6.0}
    for data, tolerance in ((tensors, 1e-5), (halves, 2e-2)):
        read = read_gguf_lora(write_header(tmp_path / "l.gguf", "qwen2", fields, data))
        with read.on(model):
            assert torch.allclose(logits(model), expected, atol=tolerance)


PAIR = {f"blk.0.ffn_down.weight.lora_{part}": np.ones((2, 2), np.float32) for part in "ab"}


@pytest.mark.parametrize(
    ("architecture", "fields", "tensors", "message"),
    [
        ("llama", {"adapter.type": "ia3"}, PAIR, "adapter.type: found 'ia3'; allowed: 'lora'"),
        ("phi3", {}, PAIR, "general.architecture: found 'phi3'; allowed: llama"),
        ("llama", {"adapter.alora.invocation_tokens": [3]}, PAIR, "acts only after some tokens"),
        (
            "llama",
            {},
            {k.replace("ffn_down", "attn_q"): v for k, v in PAIR.items()},
            "1 tensor of queries and keys (first: blk.0.attn_q.weight.lora_b): their rows are in",
        ),
        (
            "llama",
            {},
            {"output.weight.lora_a": np.ones((2, 2), np.float32)},
            "output.weight.lora_a",
        ),
        ("llama", {}, dict(list(PAIR.items())[:1]), "blk.0.ffn_down: found only lora_a"),
    ],
)
def test_what_is_not_exact_is_refused_with_the_way_out(
    tmp_path: Path, architecture: str, fields: Any, tensors: Any, message: str
) -> None:
    path = write_header(tmp_path / "lora.gguf", architecture, {**LORA, **fields}, tensors)
    with pytest.raises(InputError) as error:
        read_gguf_lora(path)
    assert message in str(error.value)
    assert "give the PEFT folder that it was converted from" in str(error.value)


def test_other_ggufs_are_no_loras(tmp_path: Path) -> None:
    path = write_header(tmp_path / "m.gguf", "llama", {}, {"a": np.ones(2, np.float32)})
    with pytest.raises(InputError, match=r"this is a model in GGUF \(llama\), not a LoRA"):
        read_gguf_lora(path)
    assert gguf.GGUFReader(path).tensors[0].name == "a"
