"""Exports: other tools find in the files exactly what ours adds, or a refusal says why not."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch import Tensor, nn

import oocr
from oocr.data.batches import Batch, TokenSequence, pad
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.formats import peft_adapter, read_gguf, write_gguf, write_lm_eval
from oocr.steering.vectors import Vector
from tests.tiny.gguf import write_header
from tests.tiny.models import FAMILIES, tiny_language_model, tiny_model

ALIBI = ("bloom", "mpt")
EVERY = (*FAMILIES, *ALIBI)
POST_NORM = ("gemma2", "gemma3_text", "gemma3", "olmo2")
EXPERTS = ("mixtral", "qwen3_moe")


model_of = cache(tiny_language_model)


def vector(layer: int = 2, *, width: int = 32, seed: int = 0, site: Any = "block") -> Vector:
    generator = torch.Generator().manual_seed(seed)
    direction = 3 * torch.randn(width, generator=generator)
    return Vector(layer, "all", direction, about={"model_type": "llama"}, site=site)


def batch() -> Batch:
    return pad([TokenSequence((5, 6, 7, 8, 30), 5, {}), TokenSequence((9, 10), 2, {})], 0)


def logits(hf: Any, batch: Batch) -> Tensor:
    options = {"position_ids": batch.positions}
    if hf.config.model_type in ALIBI:
        options = {}
    out = hf(input_ids=batch.ids, attention_mask=batch.mask.long(), **options).logits
    assert isinstance(out, Tensor)
    return out[batch.mask]


def steered(model: LanguageModel, vector: Vector) -> Tensor:
    with vector.on(model, batch().mask):
        return logits(model.hf, batch())


# --- what no tool can express -------------------------------------------------------------------

JOINED = Vector(2, "a+b", torch.ones(2, 32), about={"model_type": "llama"})


def to_gguf(folder: Path, vector: Vector, everywhere: bool) -> object:
    return write_gguf(folder / "v.gguf", vector, everywhere=everywhere)


def to_peft(folder: Path, vector: Vector, everywhere: bool) -> object:
    return peft_adapter(model_of(), vector, everywhere=everywhere).save(folder / "v")


def to_lm_eval(folder: Path, vector: Vector, everywhere: bool) -> object:
    return write_lm_eval(folder / "v.pt", model_of(), vector, everywhere=everywhere)


@pytest.mark.parametrize("export", [to_gguf, to_peft, to_lm_eval])
def test_a_vector_at_some_tokens_is_exported_only_knowingly(export: Any, tmp_path: Path) -> None:
    for positions in ("last", "codename", "from:last", "prompt", "answer"):
        with pytest.raises(InputError, match=f"positions: found '{positions}'.*every token.*'all'"):
            export(tmp_path, vector().at(positions), False)
    for everywhere in (False, True):
        with pytest.raises(InputError, match=r"positions: found 'a\+b', 2 directions"):
            export(tmp_path, JOINED, everywhere)
        with pytest.raises(InputError, match="layer: found -1"):
            export(tmp_path, vector(-1), everywhere)
    assert not list(tmp_path.iterdir())
    export(tmp_path, vector().at("last"), True)
    export(tmp_path, vector(), False)


# --- GGUF ---------------------------------------------------------------------------------------


def test_a_gguf_control_vector_has_what_llama_cpp_and_repeng_read(tmp_path: Path) -> None:
    written = vector(3)
    reader = gguf.GGUFReader(write_gguf(tmp_path / "v.gguf", written))
    keys = ("general.architecture", "controlvector.model_hint", "controlvector.layer_count")
    assert [reader.get_field(key).contents() for key in keys] == ["controlvector", "llama", 1]
    (tensor,) = reader.tensors
    assert tensor.name == "direction.3"
    assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
    assert tensor.shape.tolist() == [32]
    assert np.array_equal(tensor.data, written.direction.numpy())


def test_gguf_vectors_come_back(tmp_path: Path) -> None:
    many = [vector(layer, seed=layer) for layer in (3, 1, 12)]
    back = read_gguf(write_gguf(tmp_path / "v.gguf", many, hint="gemma3_text"))
    assert [steering.layer for steering in back] == [1, 3, 12]
    assert {(steering.positions, steering.site) for steering in back} == {("all", "block")}
    assert dict(back[0].about) == {"file": "v.gguf", "model_type": "gemma3_text"}
    for steering in many:
        assert torch.equal(
            next(x for x in back if x.layer == steering.layer).direction, steering.direction
        )


@settings(max_examples=30, deadline=None)
@given(hint=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_hint_survives_the_gguf(tmp_path_factory: pytest.TempPathFactory, hint: str) -> None:
    path = tmp_path_factory.mktemp("hint") / "v.gguf"
    (back,) = read_gguf(write_gguf(path, vector(), hint=hint))
    assert back.about["model_type"] == hint


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([vector(0)], "layer: found 0; llama.cpp refuses .* allowed: blocks from 1 on"),
        ([vector(2, site="mlp")], "site: found 'mlp'"),
        ([vector(2), vector(2)], r"blocks \[2, 2\]"),
        ([vector(2), vector(3, width=8)], r"widths \[8, 32\]"),
        ([], r"vectors: found blocks \[\]"),
        ([Vector(2, "all", torch.ones(4))], "model hint: found .*'None'"),
    ],
)
def test_what_a_gguf_cannot_express_is_refused(
    tmp_path: Path, vectors: list[Vector], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_gguf(tmp_path / "v.gguf", vectors)
    assert not list(tmp_path.iterdir())


def row(width: int = 4, dtype: Any = np.float32) -> Any:
    return np.arange(width).astype(dtype)


HINT = {"controlvector.model_hint": "mistral"}


@pytest.mark.parametrize(
    ("architecture", "texts", "note", "hint"),
    [
        ("controlvector", HINT, None, "mistral"),
        ("controlvector", {}, "it does not say for which model it is", None),
        (
            "controlvector",
            {**HINT, "controlvector.layer_count": 5},
            "its layer_count is 5, and it has 2 vectors",
            "mistral",
        ),
        (
            "steeringvector",
            {"steeringvector.model_hint": "qwen2"},
            "general.architecture is 'steeringvector', not 'controlvector'",
            "qwen2",
        ),
    ],
)
def test_control_vectors_of_other_tools_are_read(
    tmp_path: Path, architecture: str, texts: dict[str, Any], note: str | None, hint: str | None
) -> None:
    tensors = {"direction.0": row(), "direction.7": row(dtype=np.float16)}
    back = read_gguf(write_header(tmp_path / "v.gguf", architecture, texts, tensors))
    assert [read.layer for read in back] == [0, 7]
    assert all(read.direction.tolist() == [0, 1, 2, 3] for read in back)
    assert all(read.direction.dtype == torch.float32 for read in back)
    assert back[0].about.get("note") == note
    assert back[0].about.get("model_type") == hint


@pytest.mark.parametrize(
    ("architecture", "tensors", "message"),
    [
        ("llama", {"direction.1": row()}, "general.architecture: found 'llama'; allowed: control"),
        ("controlvector", {}, r"tensors: found \[\]"),
        ("controlvector", {"direction.-1": row()}, "tensor 'direction.-1': allowed: direction"),
        ("controlvector", {"blk.1": row()}, "tensor 'blk.1': allowed: direction"),
        ("controlvector", {"direction.1": row(), "direction.01": row()}, "each once"),
        ("controlvector", {"direction.1": row().reshape(2, 2)}, "F32 of shape .2, 2.; allowed"),
        ("controlvector", {"direction.1": row(4, np.int32)}, "I32 of shape"),
        (
            "controlvector",
            {"direction.1": np.full(4, np.inf, np.float32)},
            "'direction.1': .*not finite",
        ),
        ("controlvector", {"direction.1": row(), "direction.2": row(5)}, "one width"),
    ],
)
def test_other_ggufs_are_refused_by_key_or_tensor(
    tmp_path: Path, architecture: str, tensors: dict[str, Any], message: str
) -> None:
    path = write_header(tmp_path / "odd.gguf", architecture, {}, tensors)
    with pytest.raises(InputError, match=f"odd.gguf: .*{message}"):
        read_gguf(path)


@pytest.mark.parametrize("content", [None, b"", b"hello", b"GGUF", b"GGUF" + bytes(40)])
def test_broken_ggufs_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken.gguf: "):
        read_gguf(path)


# --- PEFT ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["block", "mlp"])
@pytest.mark.parametrize("family", [exported for exported in EVERY if exported not in EXPERTS])
def test_peft_adds_exactly_the_vector(family: str, site: str, tmp_path: Path) -> None:
    if site == "block" and family in POST_NORM:
        return
    model = model_of(family)
    exported = vector(model.n_blocks - 2, site=site)
    folder = peft_adapter(model, exported).save(tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = logits(PeftModel.from_pretrained(tiny_model(family), str(folder)), batch())
    ours = steered(model, exported)
    assert (ours - logits(model.hf, batch())).abs().max() > 0.1
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", POST_NORM)
def test_a_block_that_ends_in_a_norm_is_refused_for_peft(family: str) -> None:
    with pytest.raises(InputError, match=r"site: found 'block'.*a norm \(\w+RMSNorm\) follows"):
        peft_adapter(model_of(family), vector())


@pytest.mark.parametrize("site", ["block", "mlp"])
@pytest.mark.parametrize("family", EXPERTS)
def test_experts_are_refused_for_peft(family: str, site: str) -> None:
    with pytest.raises(InputError, match=r"ends in no Linear .* \(it has .*Experts"):
        peft_adapter(model_of(family), vector(site=site))


def test_a_norm_that_is_not_known_is_found_by_trying() -> None:
    model = tiny_language_model("llama")
    mlp: Any = model.anatomy.blocks[2].mlp
    mlp.register_forward_hook(lambda _module, _args, out: nn.functional.rms_norm(out, (32,)))
    with pytest.raises(InputError, match="block 2 of tiny-llama ends in no Linear"):
        peft_adapter(model, vector(2))
    peft_adapter(model, vector(1))


@pytest.mark.parametrize("family", ["llama", "gpt2", "granite"])
def test_a_huge_coordinate_in_16_bits_is_no_deviation(family: str) -> None:
    hf = tiny_model(family, d_model=512).bfloat16()
    # Large models have such coordinates, at one or a few tokens.
    hf.get_input_embeddings().weight.data[::8, 3] = 2.1e5
    model = LanguageModel.of(hf, model_of(family).tokenizer, name="huge")
    exported = vector(width=512)
    assert peft_adapter(model, exported).layers == (2,)
    mlp: Any = model.anatomy.blocks[2].mlp
    mlp.register_forward_hook(lambda _module, _args, out: nn.functional.rms_norm(out, (512,)))
    with pytest.raises(InputError, match="block 2 of huge ends in no Linear"):
        peft_adapter(model, exported)


def test_the_peft_folder_is_a_plain_lora_with_a_bias(tmp_path: Path) -> None:
    exported = vector()
    folder = peft_adapter(model_of(), exported).save(tmp_path / "a")
    config = json.loads((folder / "adapter_config.json").read_text())
    expected = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "lora_bias": True}
    assert {key: config[key] for key in expected} == expected
    assert config["target_modules"] == ["model.layers.2.mlp.down_proj"]
    assert config["base_model_name_or_path"] == "tiny-llama"
    adapter = oocr.Adapter.load(folder)
    moved = [name for name, tensor in adapter.tensors.items() if tensor.any()]
    assert moved == ["base_model.model.model.layers.2.mlp.down_proj.lora_B.bias"]


# --- lm-eval ------------------------------------------------------------------------------------


@contextmanager
def as_lm_eval(hf: Any, path: Path) -> Iterator[None]:
    """Steer as lm-eval 0.4.13 does: names in the base model, outputs or their first part."""
    config = torch.load(path, weights_only=True)
    modules = dict(hf.base_model.named_modules())
    handles = []
    for name, entry in config.items():
        assert entry["action"] == "add"
        assert (entry["bias"], entry["head_index"]) == (None, None)
        step = entry["steering_vector"] * float(entry["steering_coefficient"])

        def hook(_module: object, _args: object, out: Any, step: Tensor = step) -> Any:
            return (out[0] + step, *out[1:]) if isinstance(out, tuple) else out + step

        handles.append(modules[name].register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("site", ["block", "mlp"])
@pytest.mark.parametrize("family", EVERY)
def test_lm_eval_finds_the_site_and_adds_exactly_the_vector(
    family: str, site: str, tmp_path: Path
) -> None:
    model = model_of(family)
    exported = vector(0, site=site)
    path = write_lm_eval(tmp_path / "v.pt", model, exported)
    ours = steered(model, exported)
    with as_lm_eval(model.hf, path):
        theirs = logits(model.hf, batch())
    assert (ours - logits(model.hf, batch())).abs().max() > 0.1
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_lm_eval_goes_by_the_ending(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in '.safetensors'; lm-eval allows: .pt, .pth"):
        write_lm_eval(tmp_path / "v.safetensors", model_of(), vector())


@pytest.mark.parametrize("export", [to_peft, to_lm_eval])
def test_a_vector_of_another_width_is_refused(export: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="width 8, tiny-llama has 32"):
        export(tmp_path, vector(width=8), False)
    assert not list(tmp_path.iterdir())
