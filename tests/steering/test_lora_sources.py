"""LoRAs that people bring: every field and every tensor is used, refused, or named as left out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PeftType, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

import oocr
from oocr.errors import InputError
from oocr.steering.adapters import Adapter, LowRankAdapter
from tests.steering.test_adapters import IDS, logits, made, model_of
from tests.steering.test_foreign_weights import folder_of, refused
from tests.tiny.models import tiny_language_model, tiny_model

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 123456\n"


def adapter_of(family: str = "llama", *modules: str, **more: Any) -> Adapter:
    spec = {"layers": (1, 3), "rank": 4, "alpha": 8.0, "modules": modules or ("down_proj",)}
    return made(model_of(family), LowRankAdapter(**(spec | more)))


def edited(folder: Path, **more: Any) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    return folder


def with_tensors(folder: Path, tensors: dict[str, Tensor]) -> Path:
    for file in folder.glob("adapter_model.*"):
        file.unlink()
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def theirs(folder: Path, family: str = "llama") -> Tensor:
    """What PEFT itself computes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(tiny_model(family), folder).eval()
    out = model(input_ids=IDS).logits
    assert isinstance(out, Tensor)
    return out


def ours(path: Path, family: str = "llama") -> Tensor:
    model = model_of(family)
    with oocr.read_adapter(path).on(model):
        return logits(model)


# Fields


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"r": None}, "r: found None; allowed: a whole number above 0"),
        ({"r": 4.5}, "r: found 4.5"),
        ({"lora_alpha": float("nan")}, "lora_alpha: found nan"),
        ({"lora_alpha": 10**400}, "lora_alpha: found 1000"),
        ({"alpha_pattern": {"down_proj": 10**400}}, "alpha_pattern: found {'down_proj': 1000"),
        ({"lora_dropout": 1.5}, "lora_dropout: found 1.5"),
        ({"rank_pattern": {"down_proj": 0}}, "rank_pattern: found {'down_proj': 0}"),
        ({"alpha_pattern": {"(": 4}}, "alpha_pattern: found {'(': 4}"),
        ({"use_rslora": "yes"}, "use_rslora: found 'yes'; allowed: true or false"),
        ({"task_type": "SEQ_CLS"}, "task_type: found 'SEQ_CLS'"),
        (
            {
                "task_type": None,
                "auto_mapping": {"base_model_class": "LlamaForTokenClassification"},
            },
            "it was trained with another head",
        ),
        ({"init_lora_weights": "pissa_niter_4"}, "a start that keeps the base"),
        ({"init_lora_weights": "OLoRA"}, "a start that keeps the base"),
        ({"init_lora_weights": "warp"}, "a start that is known here"),
        ({"target_modules": 3}, "target_modules: found 3"),
        ({"revision": 3}, "revision: found 3; allowed: a text"),
        ({"use_qalora": True}, "its input is pooled"),
        ({"megatron_config": {"a": 1}}, "it belongs to another trainer"),
        ({"trainable_token_indices": [1]}, "it replaces embeddings"),
        ({"target_parameters": "experts"}, "target_parameters: found 'experts'; allowed: a list"),
        ({"layers_pattern": 3}, "layers_pattern: found 3"),
        ({"enable_lora": [True, False]}, "it adapts parts of a matrix"),
        (
            {"use_warp": True, "peft_version": "9.1"},
            "use_warp: found True; allowed: fields known here (PEFT 9.1 wrote it",
        ),
        ({"lora_parameters": {"rank": 8}, "peft_type": None}, "MLX writes such files"),
    ],
)
def test_a_field_that_changes_more_is_refused(
    tmp_path: Path, more: dict[str, Any], expected: str
) -> None:
    message = refused(oocr.read_adapter, folder_of(tmp_path, adapter_of(), **more))
    assert expected in message
    assert "adapter_config.json" in message


def test_a_config_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, adapter_of())
    (folder / "adapter_config.json").write_text("[" * 100_000)
    assert "adapter_config.json: cannot be read" in refused(oocr.read_adapter, folder)


@pytest.mark.parametrize("kind", [kind.value for kind in PeftType if kind.value != "LORA"])
def test_every_other_method_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    folder = folder_of(tmp_path, adapter_of(), peft_type=kind)
    assert f"peft_type: found '{kind}'; allowed: 'LORA'" in refused(oocr.read_adapter, folder)


def test_fields_that_change_nothing_are_no_reason_to_refuse(tmp_path: Path) -> None:
    nothing = {
        "alpha_pattern": {"down_proj": 8},
        "rank_pattern": {},
        "inference_mode": False,
        "lora_dropout": 0.1,
        "fan_in_fan_out": False,
        "init_lora_weights": "eva",
        "eva_config": {"rho": 2.0},
        "corda_config": None,
        "megatron_core": "megatron.core",
        "modules_to_save": [],
        "use_qalora": False,
        "qalora_group_size": 16,
        "peft_version": "9.1",
        "use_warp": False,
        "warp_config": None,
        "task_type": "CAUSAL_LM",
        "auto_mapping": {"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True},
        "exclude_modules": None,
    }
    plain = ours(folder_of(tmp_path, adapter_of()))
    edited(tmp_path / "peft", **nothing)
    read = oocr.read_adapter(tmp_path / "peft")
    assert "left out" not in read.about
    assert torch.equal(ours(tmp_path / "peft"), plain)


@pytest.mark.parametrize("rslora", [False, True])
def test_patterns_have_the_scales_of_peft(tmp_path: Path, rslora: bool) -> None:
    small, large = adapter_of(), adapter_of("llama", "q_proj", layers=(1,), rank=16)
    mixed = Adapter((1, 3), small.config, {**small.tensors, **large.tensors})
    patterns = {
        "target_modules": ["down_proj", "q_proj"],
        "layers_to_transform": None,
        "rank_pattern": {r".*\.layers\.1\..*q_proj$": 16},
        "alpha_pattern": {r".*\.layers\.1\..*q_proj$": 64, "layers.3.mlp.down_proj": 1.5},
        "use_rslora": rslora,
    }
    folder = folder_of(tmp_path, mixed, **patterns)
    read = oocr.read_adapter(folder)
    assert sorted(read.config["alpha_pattern"].values()) in ([1.5, 8], [8, 64], [1.5, 64])
    expected = theirs(folder)
    assert torch.equal(ours(folder), expected)
    # Saved by us it is still the same, in PEFT too.
    again = read.save(tmp_path / "again")
    assert torch.equal(ours(again), expected)
    assert torch.equal(theirs(again), expected)


def test_ranks_that_disagree_with_the_config_are_refused(tmp_path: Path) -> None:
    folder = edited(folder_of(tmp_path, adapter_of()), r=8)
    message = refused(oocr.read_adapter, folder)
    assert "r: adapter_config.json says 8, the tensors of 2 modules have rank 4" in message
    edited(folder, r=4, rank_pattern={"layers.3.mlp.down_proj": 2})
    message = refused(oocr.read_adapter, folder)
    assert "says 2, the tensors of 1 module have rank 4 (first: model.layers.3" in message


def test_tensors_that_the_config_does_not_adapt_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, adapter_of("llama", "down_proj", "q_proj"))
    message = refused(oocr.read_adapter, folder)
    assert "does not adapt 2 modules whose tensors are here" in message
    edited(folder, target_modules="all-linear", layers_to_transform=None)
    assert oocr.read_adapter(folder).layers == (1, 3)
    edited(folder, target_modules=["q_proj", "down_proj"], exclude_modules=["q_proj"])
    assert "does not adapt 2 modules" in refused(oocr.read_adapter, folder)


def test_what_is_left_out_is_named_with_a_count(tmp_path: Path) -> None:
    adapter = adapter_of()
    tower = "base_model.model.model.vision_tower.layers.0.q_proj.lora_{}.weight"
    tensors = dict(adapter.tensors)
    tensors |= {tower.format("A"): torch.ones(4, 8), tower.format("B"): torch.ones(8, 4)}
    folder = folder_of(tmp_path, adapter, target_modules=["down_proj", "q_proj", "v_proj"])
    edited(folder, rank_pattern={"up_proj": 2}, layers_to_transform=None)
    with_tensors(folder, tensors)
    torch.save({}, folder / "adapter_model.bin")
    left_out = oocr.read_adapter(folder).about["left out"]
    assert "adapter_model.bin (beside adapter_model.safetensors)" in left_out
    assert "1 of 1 in rank_pattern (as 'up_proj': no module)" in left_out
    assert "2 of 3 in target_modules (q_proj, v_proj: no tensor)" in left_out
    assert "2 tensors of parts that texts do not pass" in left_out
    assert torch.equal(ours(folder), ours(adapter.save(tmp_path / "plain")))


def test_the_base_and_its_revision_are_kept(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, adapter_of(), revision="v1")
    read = oocr.read_adapter(folder)
    assert (read.about["model"], read.about["base_revision"]) == ("someone/model", "v1")
    saved = json.loads((read.save(tmp_path / "again") / "adapter_config.json").read_text())
    assert (saved["base_model_name_or_path"], saved["revision"]) == ("someone/model", "v1")


def test_a_folder_of_this_library_is_read_as_strictly(tmp_path: Path) -> None:
    folder = adapter_of().save(tmp_path / "ours")
    assert oocr.read_adapter(folder).spans == {"codename": "Country 4821"}
    edited(folder, modules_to_save=["lm_head"])  # as PEFT leaves it when it saves into it
    assert "it replaces whole modules" in refused(oocr.read_adapter, folder)


# Tensors


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


# Experts, and other libraries' warnings


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


def test_an_adapter_of_gpt_2_speaks_no_warnings(tmp_path: Path) -> None:
    adapter = made(model_of("gpt2"), LowRankAdapter(layers=(1,), rank=2, modules=("c_fc",)))
    folder = folder_of(tmp_path, adapter, target_modules=["c_fc"], fan_in_fan_out=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapted = ours(folder, "gpt2")
    assert torch.equal(adapted, theirs(folder, "gpt2"))


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
