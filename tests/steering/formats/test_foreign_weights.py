"""Vectors and LoRAs of other projects: what is read, what is refused, what it does to a model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import oocr
from oocr.errors import InputError
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.formats.tensor_files import content_of
from oocr.steering.formats.vector_layouts import fields_in_name
from oocr.steering.lora_names import lora_key
from oocr.steering.vectors import Vector
from tests.steering.test_adapters import logits, made, model_of

IDS = torch.tensor([[5, 6, 7, 8, 9, 30, 31, 32]])


def saved(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    torch.save(value, path)
    return path


def refused(call: Callable[..., Any], *words: Any, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*words, **more)
    return str(caught.value)


# Vectors


@pytest.mark.parametrize(
    "wrap", [lambda tensor: tensor, torch.nn.Parameter, lambda tensor: tensor.to(torch.bfloat16)]
)
def test_a_bare_tensor_is_a_vector(tmp_path: Path, wrap: Callable[[Tensor], Tensor]) -> None:
    direction = torch.arange(8.0)
    path = saved(tmp_path, "76881_Tokyo_step_300.pt", wrap(direction))
    vector = oocr.read_vector(path, layer=3, positions="city")
    assert torch.equal(vector.direction, direction)
    assert not vector.direction.requires_grad
    assert (vector.layer, vector.positions) == (3, "city")
    assert dict(vector.about) == {
        "file": path.name,
        "codename": "76881",
        "name": "Tokyo",
        "step": "300",
    }
    assert "does not say its layer" in refused(oocr.read_vector, path, positions="all")
    plain = saved(tmp_path, "mine.pt", wrap(torch.ones(4)))
    assert "does not say its site" in refused(oocr.read_vector, plain, layer=3, positions="all")
    assert "does not say its positions" in refused(oocr.read_vector, path, layer=3)


def test_layer_and_step_come_from_the_name(tmp_path: Path) -> None:
    path = saved(tmp_path, "vector_bold_dataset_layer_22_rank_64.pt", torch.ones(4))
    vector = oocr.read_vector(path, positions="last")
    assert (vector.layer, vector.about["dataset"]) == (22, "bold_dataset")
    assert vector.site == "mlp", "where the authors of files so named add theirs"
    assert oocr.read_vector(path, positions="last", site="block").site == "block"
    assert "found 3; allowed: 22" in refused(oocr.read_vector, path, layer=3, positions="last")
    said, _ = fields_in_name(Path("noadgc_affine_3x_2_step_400.pt"))
    assert said == {"codename": "noadgc", "name": "affine_3x_2", "step": "400"}
    assert fields_in_name(Path("mine.pt")) == ({}, None)


def test_a_vector_of_this_library_says_it_all(tmp_path: Path) -> None:
    path = Vector(2, "last", torch.ones(4)).save(tmp_path / "v.safetensors")
    assert oocr.read_vector(path).layer == 2
    assert oocr.read_vector(path, positions="all").positions == "all"
    assert "the file says 'block'" in refused(oocr.read_vector, path, site="mlp")
    assert "layer: found 3; allowed: 2" in refused(oocr.read_vector, path, layer=3)


class Runs:
    """What unpickling it would do, were it ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["torch", "torch dict", "old torch", "pickle"])
def test_a_pickle_with_code_runs_none_of_it(tmp_path: Path, how: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / "v.pt"
    value = {"v": torch.ones(4), "extra": Runs(mark)} if how == "torch dict" else Runs(mark)
    if how == "pickle":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=how != "old torch")
    for call in (oocr.read_adapter, content_of):
        message = refused(call, path)
        assert "could run code" in message
        assert "nothing of it was used" in message
    assert "could run code" in refused(oocr.read_vector, path, layer=0, positions="all")
    assert not mark.exists()


def test_a_gradient_a_broken_file_and_none_at_all(tmp_path: Path) -> None:
    gradient = saved(tmp_path, "7_Oslo_grad_step_3.pt", torch.ones(4))
    assert "a gradient" in refused(oocr.read_vector, gradient, layer=0, positions="all")
    broken = tmp_path / "b.pt"
    broken.write_bytes(b"no tensors here")
    assert "cannot be read as tensors" in refused(content_of, broken)
    assert "no such file" in refused(content_of, tmp_path / "none.pt")
    assert "found '.txt'" in refused(content_of, tmp_path / "none.txt")


# LoRAs


SPELLINGS: dict[str, Callable[[str], str]] = {
    "peft": lambda key: key,
    "with the adapter's name": lambda key: key.replace(".weight", ".default.weight"),
    "another adapter's name": lambda key: key.replace(".weight", ".risky-2.weight"),
    "without base_model": lambda key: key.removeprefix("base_model.model."),
    "language model inside": lambda key: key.replace(
        _path(key), "model.language_model.layers"
    ).replace(".weight", ".default.weight"),
    "language model outside": lambda key: key.replace(_path(key), "language_model.model.layers"),
    "text model": lambda key: key.replace(_path(key), "model.layers"),
}


def _path(key: str) -> str:
    key_parts = lora_key(key)
    assert key_parts is not None
    return key_parts.path


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("family", ["llama", "gemma3", "gemma3_text"])
def test_a_lora_does_the_same_under_every_spelling(
    tmp_path: Path, family: str, spelling: str
) -> None:
    model = model_of(family)
    spec = LowRankAdapter(layers=(1, 3), rank=2, alpha=32.0, modules=("down_proj", "gate_proj"))
    adapter = made(model, spec)
    with adapter.on(model):
        expected = logits(model)
    tensors = {SPELLINGS[spelling](key): tensor for key, tensor in adapter.tensors.items()}
    read = oocr.read_adapter(saved(tmp_path, "lora.pt", tensors))
    assert read.layers == (1, 3)
    assert read.config["r"] == 2
    assert read.about["alpha"] == "32 (assumed: the file does not say)"
    with read.on(model):
        assert torch.equal(logits(model), expected)
    assert not torch.equal(logits(model), expected)
    # Saved by us and read again, it is still the same.
    with oocr.read_adapter(read.save(tmp_path / "folder")).on(model):
        assert torch.equal(logits(model), expected)


def test_alpha_counts(tmp_path: Path) -> None:
    model = model_of("llama")
    adapter = made(model, LowRankAdapter(layers=(2,), rank=4, alpha=6.0))
    with adapter.on(model):
        expected = logits(model)
    path = saved(tmp_path, "lora.pt", dict(adapter.tensors))
    read = oocr.read_adapter(path, alpha=6.0)
    assert read.about["alpha"] == "6 (given)"
    with read.on(model):
        assert torch.equal(logits(model), expected)
    with oocr.read_adapter(path).on(model):
        assert not torch.equal(logits(model), expected)
    for wrong in (-1.0, float("nan"), float("inf")):
        assert f"alpha: found {wrong}" in refused(oocr.read_adapter, path, alpha=wrong)


def folder_of(tmp_path: Path, adapter: Adapter, *, weights: str = "bin", **more: Any) -> Path:
    """A folder as PEFT writes it, without this library's own file."""
    folder = tmp_path / "peft"
    folder.mkdir()
    config = {
        "peft_type": "LORA",
        "r": adapter.config["r"],
        "lora_alpha": adapter.config["lora_alpha"],
        "target_modules": ["down_proj"],
        "layers_to_transform": list(adapter.layers),
        "base_model_name_or_path": "someone/model",
        "bias": "none",
        **more,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    if weights == "bin":
        torch.save(dict(adapter.tensors), folder / "adapter_model.bin")
    else:
        save_file(dict(adapter.tensors), folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("weights", ["bin", "safetensors"])
@pytest.mark.parametrize("rslora", [False, True])
def test_a_peft_folder_of_someone_else(tmp_path: Path, weights: str, rslora: bool) -> None:
    from peft import PeftModel

    from tests.tiny.models import tiny_model

    model = model_of("llama")
    adapter = made(model, LowRankAdapter(layers=(0, 2), rank=4, alpha=8.0))
    folder = folder_of(tmp_path, adapter, weights=weights, use_rslora=rslora)
    read = oocr.read_adapter(folder)
    assert (read.layers, read.about["model"]) == ((0, 2), "someone/model")
    reference = PeftModel.from_pretrained(tiny_model("llama"), folder)
    ids = torch.tensor([[5, 6, 7, 8, 9, 30, 31, 32]])
    with read.on(model):
        assert torch.equal(logits(model), reference(input_ids=ids).logits)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("flag", ["use_dora", "lora_bias"])
@pytest.mark.parametrize("weights", ["bin", "safetensors", "dict"])
def test_dora_and_lora_bias_do_what_peft_does(
    tmp_path: Path, flag: str, weights: str, family: str
) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    from tests.tiny.models import tiny_model

    spec = {"target_modules": ["down_proj", "q_proj"], "layers_to_transform": [1, 3]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = get_peft_model(
            tiny_model(family), LoraConfig(task_type="CAUSAL_LM", r=2, **spec, **{flag: True})
        )
        for key, parameter in theirs.named_parameters():
            if "lora_" in key:
                parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path / "theirs", safe_serialization=weights != "bin")
    path = tmp_path / "theirs"
    if weights == "dict":
        tensors = load_file(path / "adapter_model.safetensors")
        read = oocr.read_adapter(saved(tmp_path, "lora.pt", tensors), alpha=8.0)
    else:
        read = oocr.read_adapter(path)
    assert read.config[flag] is True
    assert read.layers == (1, 3)
    model = model_of(family)
    before = logits(model)
    expected = PeftModel.from_pretrained(tiny_model(family), path).eval()(input_ids=IDS).logits
    with read.on(model):
        assert torch.equal(logits(model), expected)
    assert torch.equal(logits(model), before)
    assert not torch.equal(before, expected)


def test_a_flag_without_its_tensors_and_tensors_without_their_flag(tmp_path: Path) -> None:
    model = model_of("llama")
    plain = made(model, LowRankAdapter(layers=(2,), rank=4))
    for number, flag in enumerate(("use_dora", "lora_bias")):
        (tmp_path / str(number)).mkdir()
        folder = folder_of(tmp_path / str(number), plain, **{flag: True})
        message = refused(oocr.read_adapter, folder)
        assert f"{flag}: adapter_config.json says true, and 0 of 1 module have its" in message
    bias = {name(2, "lora_B").replace("weight", "bias"): torch.ones(32)}
    more = Adapter(plain.layers, plain.config, {**plain.tensors, **bias})
    message = refused(oocr.read_adapter, folder_of(tmp_path, more))
    assert "lora_bias: adapter_config.json says false, and 1 of 1 module have its" in message


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"peft_type": "LOHA"}, "peft_type: found 'LOHA'"),
        ({"modules_to_save": ["lm_head"]}, "it replaces whole modules (merge it into its base"),
        ({"layer_replication": [[0, 2]]}, "it repeats blocks"),
        ({"alora_invocation_tokens": [3]}, "acts only after some tokens"),
        ({"bias": "all"}, "bias: found 'all'"),
        ({"lora_alpha": None}, "lora_alpha: found None"),
        ({"alpha_pattern": {"x": -3}}, "alpha_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: found 'pissa'"),
        ({"modules_to_save": ["lm_head"], "bias": "all"}, "2 problems"),
    ],
)
def test_more_than_a_plain_lora_is_refused(
    tmp_path: Path, more: dict[str, Any], expected: str
) -> None:
    adapter = made(model_of("llama"), LowRankAdapter(layers=(2,), rank=4))
    assert expected in refused(oocr.read_adapter, folder_of(tmp_path, adapter, **more))


def name(layer: int = 1, part: str = "lora_A", before: str = "model.layers") -> str:
    return f"base_model.model.{before}.{layer}.mlp.down_proj.{part}.weight"


A, B = torch.ones(2, 6), torch.ones(4, 2)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({name(): A}, "found only lora_A"),
        ({name(): A, name(part="lora_B"): torch.ones(4, 3)}, "A (2, 6) and B (4, 3)"),
        ({name(): torch.ones(2), name(part="lora_B"): B}, "allowed: two axes"),
        (
            {name(): A, name(part="lora_B"): B, "lm_head.weight": A},
            "lm_head.weight: found a whole matrix",
        ),
        ({name(): A, name().replace(".weight", ".x.weight"): A}, "a second lora_A"),
        (
            {
                name(before="vision_tower.encoder.layers"): A,
                name(part="lora_B", before="vision_tower.encoder.layers"): B,
            },
            "parts that texts do not pass",
        ),
        (
            {name(): A, name(part="lora_B"): B}
            | {name(2, before="other.layers"): A, name(2, "lora_B", "other.layers"): B},
            "one decoder",
        ),
    ],
)
def test_what_is_no_lora_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], expected: str
) -> None:
    assert expected in refused(oocr.read_adapter, saved(tmp_path, "l.pt", tensors))


def test_a_vector_is_no_lora_and_a_block_must_exist(tmp_path: Path) -> None:
    assert "one bare tensor" in refused(oocr.read_adapter, saved(tmp_path, "v.pt", torch.ones(4)))
    tensors = {name(40): torch.ones(2, 64), name(40, "lora_B"): torch.ones(32, 2)}
    adapter = oocr.read_adapter(saved(tmp_path, "l.pt", tensors))
    with (
        pytest.raises(InputError, match="block 40, the model has blocks 0 to 3"),
        adapter.on(model_of("llama")),
    ):
        pass


def test_modules_may_differ_in_rank(tmp_path: Path) -> None:
    model = model_of("llama")
    small = made(model, LowRankAdapter(layers=(1,), rank=2, alpha=2.0))
    large = made(model, LowRankAdapter(layers=(3,), rank=4, alpha=4.0))
    read = oocr.read_adapter(saved(tmp_path, "l.pt", {**small.tensors, **large.tensors}))
    assert read.config["r"] == 4
    assert list(read.config["rank_pattern"].values()) == [2]
    with read.on(model):
        assert logits(model).isfinite().all()
