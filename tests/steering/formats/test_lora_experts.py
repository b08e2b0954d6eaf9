"""LoRAs that people bring: adapters on the experts of a mixture."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor

import oocr
from tests.steering.formats.lora_folders import adapter_of, edited, ours, theirs
from tests.steering.formats.test_foreign_weights import folder_of, refused
from tests.steering.test_adapters import logits, model_of
from tests.tiny.models import tiny_language_model, tiny_model


def moe_adapter(folder: Path, **more: Any) -> dict[str, Tensor]:
    """An adapter on each expert of a Qwen3-MoE, as transformers 4 names them; returns tensors."""
    generator = torch.Generator().manual_seed(0)
    hf = tiny_model("qwen3_moe")
    width, inner = hf.config.hidden_size, hf.config.moe_intermediate_size
    shapes = {"gate_proj": (width, inner), "up_proj": (width, inner), "down_proj": (inner, width)}
    tensors: dict[str, Tensor] = {}
    for expert in range(hf.config.num_experts):
        for module, (inputs, outputs) in shapes.items():
            key = f"base_model.model.model.layers.1.mlp.experts.{expert}.{module}.lora_"
            tensors[f"{key}A.weight"] = torch.randn(4, inputs, generator=generator)
            tensors[f"{key}B.weight"] = torch.randn(outputs, 4, generator=generator)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": list(shapes)}
    (folder / "adapter_config.json").write_text(json.dumps(config | more))
    return tensors


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_on_experts_of_transformers_4(tmp_path: Path, rslora: bool) -> None:
    tensors = moe_adapter(tmp_path / "moe", use_rslora=rslora, lora_dropout=0.05)
    merged = tiny_language_model("qwen3_moe")
    experts = merged.hf.get_submodule("model.layers.1.mlp.experts")

    def change(expert: int, module: str) -> Tensor:
        key = f"base_model.model.model.layers.1.mlp.experts.{expert}.{module}.lora_"
        scale = 8 / 2 if rslora else 8 / 4
        return scale * tensors[f"{key}B.weight"] @ tensors[f"{key}A.weight"]

    for expert in range(merged.hf.config.num_experts):
        both = torch.cat([change(expert, "gate_proj"), change(expert, "up_proj")])
        experts.gate_up_proj.data[expert] += both
        experts.down_proj.data[expert] += change(expert, "down_proj")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapted = ours(tmp_path / "moe", "qwen3_moe")
    torch.testing.assert_close(adapted, logits(merged), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}, {"alpha_pattern": {"down_proj": 3}}])
@pytest.mark.parametrize("modules", [[], ["q_proj"]])
def test_an_adapter_on_the_parameters_of_experts(
    tmp_path: Path, modules: list[str], more: dict[str, Any]
) -> None:
    parameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    config = {"target_modules": modules, "target_parameters": parameters, "r": 2, "lora_alpha": 5}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = get_peft_model(
            tiny_model("qwen3_moe"), LoraConfig(task_type="CAUSAL_LM", **config, **more)
        )
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(tmp_path / "theirs")
    read = oocr.read_adapter(tmp_path / "theirs")
    assert "left out" not in read.about
    names = [name.rpartition(".")[-1] for name in parameters]
    assert read.facts["modules"] == ", ".join(sorted([*names, *modules]))
    expected = theirs(tmp_path / "theirs", "qwen3_moe")
    assert torch.equal(ours(tmp_path / "theirs", "qwen3_moe"), expected)
    assert torch.equal(ours(read.save(tmp_path / "again"), "qwen3_moe"), expected)
    assert not torch.allclose(expected, logits(model_of("qwen3_moe")))
    edited(tmp_path / "theirs", r=3)
    message = refused(oocr.read_adapter, tmp_path / "theirs")
    assert "says 3, the tensors of" in message


def test_parameters_without_tensors_are_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, adapter_of(), target_parameters=["mlp.experts.down_proj"])
    left_out = oocr.read_adapter(folder).about["left out"]
    assert left_out == "1 of 1 in target_parameters (mlp.experts.down_proj: no tensor)"


def test_patterns_among_experts_are_refused(tmp_path: Path) -> None:
    moe_adapter(tmp_path / "moe", alpha_pattern={"gate_proj": 64})
    message = refused(oocr.read_adapter, tmp_path / "moe")
    assert "found ranks or alphas that differ among experts" in message
