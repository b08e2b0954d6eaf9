"""LoRAs that people bring: every field is used, refused, or named as left out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftType

import oocr
from oocr.steering.adapters import Adapter, LowRankAdapter
from tests.steering.formats.lora_folders import adapter_of, edited, ours, theirs, with_tensors
from tests.steering.formats.test_foreign_weights import folder_of, refused
from tests.steering.test_adapters import made, model_of


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


def test_an_adapter_of_gpt_2_speaks_no_warnings(tmp_path: Path) -> None:
    adapter = made(model_of("gpt2"), LowRankAdapter(layers=(1,), rank=2, modules=("c_fc",)))
    folder = folder_of(tmp_path, adapter, target_modules=["c_fc"], fan_in_fan_out=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapted = ours(folder, "gpt2")
    assert torch.equal(adapted, theirs(folder, "gpt2"))
