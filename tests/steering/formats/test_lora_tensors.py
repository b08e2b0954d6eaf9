"""LoRAs that people bring: every tensor is used, refused, or named as left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import oocr
from oocr.errors import InputError
from tests.steering.formats.lora_folders import adapter_of, edited, ours, theirs, with_tensors
from tests.steering.formats.test_foreign_weights import folder_of, refused

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 123456\n"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("base_model.model.model.embed_tokens.weight", "where tokens were added"),
        ("base_model.model.lm_head.weight", "where tokens were added"),
        ("base_model.model.lm_head.lora_A.weight", "a LoRA of the LM head"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "a LoRA of embeddings"),
        ("base_model.model.model.layers.1.input_layernorm.weight", "a weight of the base"),
        ("base_model.model.model.layers.1.self_attn.q_proj.bias", "a weight of the base"),
        ("model.layers.1.mlp.down_proj.lora_a", "a tensor of MLX"),
        ("base_model.model.model.layers.1.mlp.down_proj.hada_w1_a", "another method"),
    ],
)
def test_a_tensor_that_is_no_lora_s_is_refused_with_what_it_is(
    tmp_path: Path, name: str, kind: str
) -> None:
    folder = folder_of(tmp_path, adapter_of())
    with_tensors(folder, {**adapter_of().tensors, name: torch.ones(4, 4)})
    message = refused(oocr.read_adapter, folder)
    assert f"{name}: found " in message
    assert kind in message
    assert "merged checkpoint" in message


def test_shards_that_were_not_gathered_are_told_as_such(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, adapter_of())
    names = list(adapter_of().tensors)
    with_tensors(folder, {name: torch.zeros(0) for name in names})
    message = refused(oocr.read_adapter, folder)
    assert "4 of 4 tensors are empty" in message
    assert "ZeRO-3" in message
    assert message.count("\n") == 0
    with_tensors(folder, {name: torch.ones(9) for name in names})
    assert "all 4 matrices have one axis" in refused(oocr.read_adapter, folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    folder = folder_of(tmp_path, adapter_of())
    tensors = {name: tensor.clone() for name, tensor in adapter_of().tensors.items()}
    tensors[min(tensors)][0, 0] = value
    assert "not finite" in refused(oocr.read_adapter, with_tensors(folder, tensors))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_model", "_orig_mod.base_model"),
        ("base_model", "module.base_model"),
        ("base_model.model.", "base_model.model._orig_mod."),
        ("model.layers", "_fsdp_wrapped_module.model.layers"),
        (".mlp.", "._orig_mod.mlp."),
        (".mlp.", "._fsdp_wrapped_module._checkpoint_wrapped_module.mlp."),
        (".down_proj.", ".down_proj._orig_mod."),
    ],
)
def test_names_that_wrappers_changed_are_understood(tmp_path: Path, old: str, new: str) -> None:
    folder = folder_of(tmp_path, adapter_of())
    expected = ours(folder)
    tensors = {
        name.replace(old, new, 1): tensor.contiguous()
        for name, tensor in adapter_of().tensors.items()
    }
    assert torch.equal(ours(with_tensors(folder, tensors)), expected)


def test_a_file_of_a_folder_is_read_with_the_config_beside_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, adapter_of(), weights="safetensors", use_rslora=True)
    expected = theirs(folder)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert torch.equal(ours(folder / name), expected)
        assert oocr.read_adapter(folder / name).about["alpha"] == "8 (in its config)"
    (folder / "adapter_model.safetensors").rename(folder / "step-100.safetensors")
    assert torch.equal(ours(folder / "step-100.safetensors"), expected)
    message = refused(oocr.read_adapter, folder / "step-100.safetensors", alpha=3.0)
    assert "adapter_config.json says it" in message


def test_a_bare_file_may_say_alpha_in_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file(dict(adapter_of().tensors), path, {"format": "pt", "lora_alpha": "8", "tool": "x"})
    read = oocr.read_adapter(path)
    assert read.about["alpha"] == "8 (in its metadata)"
    assert read.about["left out"] == "1 field of its metadata (tool)"
    assert oocr.read_adapter(path, alpha=3).about["alpha"] == "3 (given)"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_git_lfs_pointer_is_told_as_such(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, adapter_of(), weights="safetensors")
    (folder / name).write_text(POINTER)
    assert "a Git LFS pointer" in refused(oocr.read_adapter, folder)


def test_an_adapter_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, adapter_of())
    tensors = {
        name.replace("down_proj", "fused_proj"): tensor
        for name, tensor in load_file(
            with_tensors(folder, dict(adapter_of().tensors)) / ("adapter_model.safetensors")
        ).items()
    }
    edited(with_tensors(folder, tensors), target_modules=["fused_proj"])
    with pytest.raises(InputError, match="does not fit"):
        ours(folder)
