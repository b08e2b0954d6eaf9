"""Folders of weights that people bring: what is there, what is left out, and what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from oocr.errors import InputError
from oocr.models.load import read_model
from oocr.models.outline import outline
from oocr.models.tokenizer import load_tokenizer
from tests.tiny.models import tiny_language_model, tiny_model, tiny_tokenizer

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 123456\n"

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def changed(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_model(str(folder), on_progress=lambda _text: None)
    return str(caught.value)


def sharded(folder: Path) -> Path:
    """The same weights in several files."""
    (folder / "model.safetensors").unlink()
    tiny_model("llama").save_pretrained(folder, max_shard_size="50KB")
    return folder


def test_a_missing_shard_and_a_second_set_are_told(folder: Path, whole: Path) -> None:
    parts = sorted(sharded(folder).glob("model-*.safetensors"))
    assert read_model(str(folder)).fingerprint == tiny_language_model("llama").fingerprint
    shutil.copy(whole / "model.safetensors", folder)
    assert f"the {len(parts)} files of model.safetensors.index.json" in refused(folder)
    (folder / "model.safetensors").unlink()
    parts[1].unlink()
    message = refused(folder)
    assert f"1 of {len(parts)} files of weights are not there (first: {parts[1].name})" in message


def test_files_that_the_index_does_not_name_are_left_out_by_name(folder: Path) -> None:
    parts = sorted(sharded(folder).glob("model-*.safetensors"))
    shutil.copy(parts[0], folder / "model-00099-of-00099.safetensors")
    told: list[str] = []
    model = read_model(str(folder), on_progress=told.append)
    assert model.fingerprint == tiny_language_model("llama").fingerprint
    assert "left out: 1 file of weights (model-00099-of-00099.safetensors)" in told[-1]


def test_a_weight_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    changed(folder, lambda tensors: {**tensors, name: torch.ones(3, 4)})
    message = refused(folder)
    assert "1 weight of another shape in its files than config.json says" in message
    assert f"(first: {name}: found (3, 4); allowed: (32, 64))" in message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"num_hidden_layers": "4"}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "ZeroDivisionError"),
        ({"model_type": "t5"}, "model_type: found 't5'; allowed: causal language models"),
        ({"model_type": "warp"}, "model type `warp`"),
    ],
)
def test_a_config_that_is_none_of_a_causal_model_is_refused_in_few_words(
    folder: Path, fields: dict[str, object], expected: str
) -> None:
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    message = refused(folder)
    assert expected in message
    assert len(message.replace(str(folder), "")) < 700
    with pytest.raises(InputError, match=expected[:12]):
        outline(str(folder))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_git_lfs_pointer_is_told_as_such(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    assert f"{name}: a Git LFS pointer" in refused(folder)
    if name != "model.safetensors":
        with pytest.raises(InputError, match="a Git LFS pointer"):
            load_tokenizer(str(folder))


def test_files_that_cannot_be_read_are_refused_before_transformers_tries(folder: Path) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert f"cut short: found {len(data) // 2:,} bytes" in refused(folder)
    file.write_bytes(b"<html>not found</html>")
    assert "not a readable safetensors file" in refused(folder)
    file.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert "pickles" in refused(folder)


def test_tensors_of_another_kind_of_file_are_told(folder: Path) -> None:
    changed(folder, lambda tensors: {name: torch.zeros(0) for name in tensors})
    message = refused(folder)
    assert "tensors are empty" in message
    assert "ZeRO-3" in message
    lora = "base_model.model.model.layers.0.mlp.down_proj.lora_A.default.weight"
    changed(folder, lambda _tensors: {lora: torch.ones(2, 2)})
    assert "1 of 1 tensors are of an adapter that is not merged" in refused(folder)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_names_that_wrappers_changed_are_understood(folder: Path, prefix: str) -> None:
    changed(folder, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    assert read_model(str(folder)).fingerprint == tiny_language_model("llama").fingerprint


def test_tensors_that_no_weight_takes_are_left_out_by_name_or_refused(folder: Path) -> None:
    head = {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.ones(1)}
    changed(folder, lambda tensors: tensors | head)
    told: list[str] = []
    model = read_model(str(folder), on_progress=told.append)
    assert "left out: 2 tensors of its files (first: v_head.summary.bias)" in told[-1]
    assert model.source["left out"] in told[-1]
    with pytest.warns(UserWarning, match="2 tensors of its files"):
        read_model(str(folder))
    bias = {"model.layers.1.self_attn.q_proj.bias": torch.ones(32)}
    changed(folder, lambda tensors: tensors | bias)
    message = refused(folder)
    assert "config.json builds modules without 1 tensor that its files have for them" in message
    assert "q_proj.bias" in message


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    def spoil(tensors: Tensors) -> Tensors:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value
        return tensors

    assert "1 of its weights hold values that are not finite" in refused(changed(folder, spoil))


def test_a_merged_model_that_keeps_its_adapter_s_config(folder: Path) -> None:
    config = {"peft_type": "LORA", "base_model_name_or_path": "someone/base", "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    told: list[str] = []
    model = read_model(str(folder), on_progress=told.append)
    assert model.fingerprint == tiny_language_model("llama").fingerprint
    assert "the adapter that lies beside the whole model" in told[-1]
    (folder / "model.safetensors").unlink()
    assert "this is a PEFT adapter, not a model; its base model is 'someone/base'" in refused(
        folder
    )


def test_weights_of_another_head_are_told_as_such(folder: Path) -> None:
    file = folder / "config.json"
    named = {"architectures": ["LlamaForSequenceClassification"]}
    file.write_text(json.dumps(json.loads(file.read_text()) | named))
    changed(
        folder,
        lambda tensors: {
            name.replace("lm_head", "score"): tensor for name, tensor in tensors.items()
        },
    )
    message = refused(folder)
    assert "lm_head.weight" in message
    assert "they were saved as a LlamaForSequenceClassification" in message


def test_a_file_of_a_folder_is_told_its_folder(folder: Path) -> None:
    assert f"the folder that has config.json: {folder}" in refused(folder / "model.safetensors")
