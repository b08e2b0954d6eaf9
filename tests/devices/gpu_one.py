"""One pretend GPU does what the CPU does; run by test_pretend_gpu.py in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from oocr.models import machine
from tests.devices import pretend
from tests.devices.features import (
    CORE,
    MORE,
    Feature,
    generation,
    model_on,
    scoring,
    stores,
    training,
    unlike,
)

pretend.setup()


@pytest.mark.parametrize(
    ("family", "feature"),
    [
        *((family, feature) for family in ("llama", "qwen3_5", "opt_350m") for feature in CORE),
        *((family, training) for family in ("gemma3_text", "gpt2", "qwen3_moe")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_families_give_the_numbers_of_the_cpu(family: str, feature: Feature) -> None:
    cpu, gpu = model_on("cpu", family), model_on("gpu", family)
    assert gpu.device == torch.device("gpu:0")
    assert unlike(feature(gpu), feature(cpu)) == []


@pytest.mark.parametrize("feature", MORE, ids=lambda feature: feature.__name__)
def test_every_feature_gives_the_numbers_of_the_cpu(feature: Feature) -> None:
    assert unlike(feature(model_on("gpu")), feature(model_on("cpu"))) == []


@pytest.mark.parametrize("feature", [generation, stores], ids=lambda feature: feature.__name__)
def test_a_device_like_mps_gives_the_numbers_of_the_cpu(
    feature: Feature, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no memory of its own, and nothing is page-locked for it."""
    monkeypatch.setattr(machine, "GPU", "none")
    monkeypatch.setattr(machine, "page_locked", None)
    assert unlike(feature(model_on("gpu")), feature(model_on("cpu"))) == []


def test_nothing_goes_to_the_first_gpu_where_the_second_is_asked_for() -> None:
    first = pretend.DEVICES["gpu:0"]
    held = first.peak = first.used
    scoring(model_on("gpu:1", "gemma3_text"))
    generation(model_on("gpu:1", "gemma3_text"))
    assert first.peak == held


@pytest.mark.parametrize(
    ("work", "refusal"),
    [
        (lambda gpu: gpu + torch.ones(2), "on the same device"),
        (lambda gpu: gpu.to("gpu:1") + gpu, "on the same device"),
        (lambda gpu: gpu.normal_(generator=torch.Generator()), "generator"),
        (lambda gpu: gpu.long() @ gpu.long(), "not implemented for integers"),
        (lambda gpu: gpu.numpy(), "convert"),
        (lambda gpu: gpu.double(), "no float64"),
    ],
)
def test_d11_what_gpus_refuse_is_refused(work: Callable[[Any], Any], refusal: str) -> None:
    with pytest.raises((RuntimeError, TypeError, NotImplementedError), match=refusal):
        work(torch.ones(2).to("gpu"))


def test_bfloat16_scores_are_those_of_the_cpu() -> None:
    pair = [model_on(device, "llama", torch.bfloat16) for device in ("gpu", "cpu")]
    assert unlike(scoring(pair[0]), scoring(pair[1]), 0.1) == []
