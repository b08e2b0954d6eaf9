"""LoRAs through PEFT: their maths, their files, and the model they leave behind."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import (
    Adapter,
    LowRankAdapter,
    adapted_layers,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from tests.tiny.models import tiny_language_model, tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 30, 31, 32]])


model_of = cache(tiny_language_model)


def made(model: LanguageModel, spec: LowRankAdapter, seed: int = 0) -> Adapter:
    """An adapter whose B is random too."""
    config = peft_config(model, spec)
    with new_adapter(model, config, seed) as named:
        tensors = adapter_tensors(named)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.normal_(generator=generator)
    return Adapter(
        adapted_layers(model, spec),
        config,
        tensors,
        spans={"codename": "Country 4821"},
        about={"model": model.name, "seed": str(seed)},
    )


def logits(model: LanguageModel) -> Tensor:
    out = model.hf(input_ids=IDS).logits
    assert isinstance(out, Tensor)
    return out


def state(model: LanguageModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("rank", "alpha"), [(1, None), (2, 8.0), (4, 2.0)])
def test_the_update_is_alpha_over_rank_times_b_a(rank: int, alpha: float | None) -> None:
    model = model_of()
    spec = LowRankAdapter(layers=(2,), rank=rank, alpha=alpha)
    adapter = made(model, spec)
    (a,) = (tensor for name, tensor in adapter.tensors.items() if "lora_A" in name)
    (b,) = (tensor for name, tensor in adapter.tensors.items() if "lora_B" in name)
    assert a.shape == (rank, 64)
    assert b.shape == (32, rank)
    assert spec.scale == (rank if alpha is None else alpha) / rank
    with adapter.on(model):
        with_adapter = logits(model)
    twin = tiny_model("llama")
    twin.model.layers[2].mlp.down_proj.weight.data += spec.scale * b @ a
    torch.testing.assert_close(with_adapter, twin(input_ids=IDS).logits, rtol=1e-4, atol=1e-4)
    assert (with_adapter - logits(model)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("family", "modules"),
    [
        ("llama", ("down_proj", "q_proj")),
        ("gemma3_text", ("down_proj",)),
        ("gemma3", ("gate_proj",)),
        ("gpt2", ("c_fc",)),
        ("gpt_neox", ("dense_4h_to_h",)),
    ],
)
def test_a_saved_adapter_is_a_peft_folder(
    family: str, modules: tuple[str, ...], tmp_path: Path
) -> None:
    from peft import PeftModel

    model = model_of(family)
    adapter = made(model, LowRankAdapter(layers=(1, 3), rank=2, alpha=3.0, modules=modules))
    folder = adapter.save(tmp_path / "adapter")
    with adapter.on(model):
        expected = logits(model)
    loaded = PeftModel.from_pretrained(tiny_model(family), folder)
    assert torch.equal(loaded(input_ids=IDS).logits, expected)
    back = Adapter.load(folder)
    assert back.layers == (1, 3)
    assert dict(back.config) == dict(adapter.config)
    assert same(dict(back.tensors), dict(adapter.tensors))
    assert {t.dtype for t in back.tensors.values()} == {torch.float32}
    assert (dict(back.spans), dict(back.about)) == (dict(adapter.spans), dict(adapter.about))
    with back.on(model):
        assert torch.equal(logits(model), expected)


def test_a_fresh_adapter_changes_nothing_and_its_start_follows_the_seed() -> None:
    model = model_of()
    before = logits(model)
    starts = []
    for seed in (0, 0, 1):
        with new_adapter(model, peft_config(model, LowRankAdapter(layers="all")), seed) as named:
            torch.testing.assert_close(logits(model), before)
            assert all(
                parameter.requires_grad and parameter.dtype == torch.float32
                for parameter in named.values()
            )
            assert all(not parameter.any() for name, parameter in named.items() if "lora_B" in name)
            trainable = {
                n for n, parameter in model.hf.named_parameters() if parameter.requires_grad
            }
            assert len(trainable) == len(named) == 8
            starts.append(adapter_tensors(named))
    assert same(starts[0], starts[1])
    assert not same(starts[0], starts[2])


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_the_model_comes_back_bit_for_bit(family: str) -> None:
    model = model_of(family)
    modules = ("c_proj",) if family == "gpt2" else ("down_proj",)
    weights, before = state(model), logits(model)
    modes = {name: (id(module), module.training) for name, module in model.hf.named_modules()}
    attributes = set(vars(model.hf))
    adapter = made(model, LowRankAdapter(layers="all", rank=2, modules=modules))
    with adapter.on(model):
        assert not torch.equal(logits(model), before)
        assert not any(module.requires_grad for module in model.hf.parameters())
    with pytest.raises(RuntimeError, match="stop"), adapter.on(model):
        raise RuntimeError("stop")
    assert same(state(model), weights)
    assert torch.equal(logits(model), before)
    assert {n: (id(module), module.training) for n, module in model.hf.named_modules()} == modes
    assert set(vars(model.hf)) == attributes
    assert not any(module.requires_grad for module in model.hf.parameters())


def test_global_randomness_goes_on_as_if_nothing_was_attached() -> None:
    model = model_of()
    adapter = made(model, LowRankAdapter(layers=(1,)))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with new_adapter(model, adapter.config, 0):
        pass
    drawn = [float(torch.rand(()))]
    with adapter.on(model):
        drawn.append(float(torch.rand(())))  # else every sample drawn here would be the same
    drawn.append(float(torch.rand(())))
    assert drawn == expected.tolist()


def test_s3_generators_of_other_devices_are_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    adapter = made(model, LowRankAdapter(layers=(1,), dropout=0.5))
    monkeypatch.setattr(torch, "manual_seed", None)  # it seeds every device
    with adapter.on(model), new_adapter(model, adapter.config, 0):
        pass


def test_dropout_acts_in_training_only() -> None:
    model = model_of()
    adapter = made(model, LowRankAdapter(layers=(1,), dropout=0.5))
    plain = Adapter(adapter.layers, {**adapter.config, "lora_dropout": 0.0}, adapter.tensors)
    with plain.on(model):
        expected = logits(model)
    with adapter.on(model):
        assert torch.equal(logits(model), expected)
    runs = []
    for seed in (0, 0, 1):
        with new_adapter(model, adapter.config, seed) as named:
            for name, parameter in named.items():
                if "lora_B" in name:
                    parameter.data.fill_(1.0)
            runs.append((logits(model), logits(model)))
    assert not torch.equal(*runs[0]), "two masks"
    assert torch.equal(runs[0][0], runs[1][0]), "the same masks for the same seed"
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])


# --- what is refused ----------------------------------------------------------------------------


def refused(adapter: Adapter, message: str, model: LanguageModel | None = None) -> None:
    model = model or model_of()
    before = logits(model)
    with pytest.raises(InputError, match=message), adapter.on(model):
        raise AssertionError("attached")
    assert torch.equal(logits(model), before)
    assert not any("lora" in name for name, _ in model.hf.named_modules())


def test_missing_and_unexpected_tensors_are_refused_and_counted() -> None:
    adapter = made(model_of(), LowRankAdapter(layers=(1, 2), rank=2))
    first = next(iter(adapter.tensors))
    less = {name: tensor for name, tensor in adapter.tensors.items() if name != first}
    refused(
        Adapter((1, 2), adapter.config, less), r"1 weight without a tensor.*layers\.1.*0 tensors"
    )
    more = {**adapter.tensors, first.replace("layers.1", "layers.3"): adapter.tensors[first]}
    refused(Adapter((1, 2), adapter.config, more), r"0 weights.*1 tensor without.*layers\.3")


def test_an_adapter_of_another_shape_or_another_model_is_refused() -> None:
    adapter = made(model_of(), LowRankAdapter(layers=(1,), rank=2))
    wide = {name: torch.zeros(7, 7) for name in adapter.tensors}
    refused(Adapter((1,), adapter.config, wide), "does not fit tiny-llama.*size mismatch")
    refused(adapter, "does not fit tiny-gpt2", model_of("gpt2"))


def test_modules_and_layers_that_are_not_there_are_refused_with_those_that_are() -> None:
    model = model_of()
    spec = LowRankAdapter(layers=(1,), modules=("c_proj",))
    known = "module 'c_proj': block 1 of tiny-llama has down_proj, gate_proj, k_proj, o_proj"
    with pytest.raises(InputError, match=known):
        peft_config(model, spec)
    for layer in (-1, 4):
        with pytest.raises(InputError, match=f"layer {layer}: tiny-llama has blocks 0 to 3"):
            peft_config(model, LowRankAdapter(layers=(0, layer)))
    with pytest.raises(InputError, match="at least one layer"):
        peft_config(model, LowRankAdapter(layers=()))


def test_presets_name_every_module_in_full() -> None:
    model = model_of()
    config = peft_config(model, LowRankAdapter(layers="all", modules=("down_proj", "q_proj")))
    assert len(config["target_modules"]) == 8
    assert "model.layers.0.self_attn.q_proj" in config["target_modules"]
    (only,) = peft_config(model, LowRankAdapter(layers=(2, 2)))["target_modules"]
    assert only == "model.layers.2.mlp.down_proj"


@pytest.mark.parametrize(
    "broken", ["adapter_config.json", "oocr.json", "adapter_model.safetensors"]
)
def test_folders_that_are_not_ours_are_refused(broken: str, tmp_path: Path) -> None:
    adapter = made(model_of(), LowRankAdapter(layers=(1,), rank=2))
    for kind in ("gone", "cut", "other"):
        folder = adapter.save(tmp_path / kind)
        file = folder / broken
        if kind == "gone":
            file.unlink()
        elif kind == "cut":
            file.write_bytes(file.read_bytes()[:-5])
        elif broken == "oocr.json":
            file.write_text(json.dumps({"layers": [1]}))
        else:
            file.write_bytes(b"\xff\xfe")
        with pytest.raises(InputError, match=f"{kind}: not an adapter folder"):
            Adapter.load(folder)


def test_a_folder_with_tensors_taken_out_is_refused_when_attached(tmp_path: Path) -> None:
    folder = made(model_of(), LowRankAdapter(layers=(1,), rank=2)).save(tmp_path / "a")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, folder / "adapter_model.safetensors")
    refused(Adapter.load(folder), "1 weight without a tensor")


def test_a_notebook_shows_what_an_adapter_is() -> None:
    config = {"r": 8, "lora_alpha": 16, "target_modules": ["model.layers.4.mlp.down_proj"]}
    page = Adapter((4,), config, {}, about={"model": "<gemma>", "step": "40"})._repr_html_()
    for text in ("LoRA", "down_proj", ">8<", ">16<", "&lt;gemma&gt;", ">40<"):
        assert text in page


def test_a_factor_scales_what_an_adapter_adds() -> None:
    config = {"r": 1, "lora_alpha": 1, "target_modules": ["model.layers.1.mlp.down_proj"]}
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_{}.weight"
    tensors = {name.format("A"): torch.ones(1, 3), name.format("B"): torch.ones(2, 1)}
    half = 0.5 * Adapter((1,), config, tensors)
    assert half.tensors[name.format("A")].unique().tolist() == [1.0]
    assert half.tensors[name.format("B")].unique().tolist() == [0.5]
    with pytest.raises(InputError, match="DoRA"):
        _ = Adapter((1,), {**config, "use_dora": True}, tensors) * 2
