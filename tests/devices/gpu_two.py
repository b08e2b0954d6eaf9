"""D2: a model spread over devices by accelerate does what it does on one; run by
test_pretend_gpu.py.

PyTorch's autograd knows one device of a Python backend, so training is tried on the CPU and a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from oocr.engine import selftest
from oocr.engine.generate import generate
from oocr.evals.score_table import evaluate
from oocr.explain.lens import lens
from oocr.models.language_model import LanguageModel
from tests.devices import pretend
from tests.devices.features import (
    LAYERS,
    PROMPT,
    Feature,
    lora_of,
    model_on,
    off_domain,
    projections,
    replays,
    side_by_side,
    stores,
    task,
    training,
    unlike,
    vector,
)
from tests.tiny.models import tiny_model, tiny_tokenizer

pretend.setup()


@cache
def spread(family: str, first: str, second: str) -> LanguageModel:
    """A model with embedding, head and lower blocks on one device, the rest on another."""
    from accelerate import dispatch_model

    hf = tiny_model(family, layers=LAYERS)
    places = {name: first for name, _ in hf.named_children()}
    decoder = "model.decoder" if family == "opt_350m" else "model"
    del places["model"]
    for name, child in hf.get_submodule(decoder).named_children():
        places[f"{decoder}.{name}"] = first if "embed" in name or name == "project_in" else second
        if name == "layers":
            del places[f"{decoder}.{name}"]
            for index in range(len(child)):
                places[f"{decoder}.layers.{index}"] = first if index < 2 else second
    hf = dispatch_model(hf, places, main_device=first, skip_keys="past_key_values")
    return selftest.tested(LanguageModel.of(hf, tiny_tokenizer(chat=True), name=f"tiny-{family}"))


def steered(model: LanguageModel) -> Any:
    """What needs no training; the LoRA was made on the CPU."""
    on_cpu = model_on("cpu", model.name.removeprefix("tiny-"))
    at_mlp = replace(vector(model, "last"), site="mlp")
    arms = {"vector": vector(model), "lora": lora_of(on_cpu), "mlp": at_mlp}
    said = generate(model, [PROMPT, "Paris"], arms["vector"], max_new_tokens=3)
    readings = [lens(model, arms["vector"], reading=kind) for kind in ("normed", "embedding")]
    return [evaluate(model, task(), arms).rows, said, readings]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen3_5", "opt_350m"])
def test_d2_two_gpus_give_the_numbers_of_the_cpu(family: str) -> None:
    model, cpu = spread(family, "gpu:0", "gpu:1"), model_on("cpu", family)
    assert {str(parameter.device) for parameter in model.hf.parameters()} == {"gpu:0", "gpu:1"}
    assert all(check.passed for check in selftest.self_test(model, (1, LAYERS - 1)))
    assert (model.replays, model.reuses_keys) == (cpu.replays, cpu.reuses_keys)
    assert unlike(steered(model), steered(cpu)) == []


def test_d2_replays_on_two_gpus_are_those_of_the_cpu() -> None:
    assert unlike(replays(spread("llama", "gpu:0", "gpu:1")), replays(model_on("cpu"))) == []


@pytest.mark.parametrize(
    "feature",
    [training, side_by_side, off_domain, projections, stores],
    ids=lambda feature: feature.__name__,
)
def test_d2_training_across_devices_gives_the_numbers_of_the_cpu(feature: Feature) -> None:
    model = spread("llama", "cpu", "gpu:0")
    assert unlike(feature(model), feature(model_on("cpu"))) == []
