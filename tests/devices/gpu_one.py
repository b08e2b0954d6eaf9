"""One pretend GPU does what the CPU does; run by test_pretend_gpu.py in a process of its own."""

from __future__ import annotations

import pytest
import torch

from oocr.models import machine
from tests.devices import pretend
from tests.devices.features import (
    CORE,
    MORE,
    Feature,
    explained,
    generation,
    model_on,
    off_domain,
    scoring,
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


@pytest.mark.parametrize(
    "feature", [generation, off_domain, explained], ids=lambda feature: feature.__name__
)
def test_a_device_like_mps_gives_the_numbers_of_the_cpu(
    feature: Feature, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no float64, no memory of its own, and nothing is page-locked for it."""
    monkeypatch.setattr(machine, "GPU", "none")
    monkeypatch.setattr(pretend, "LACKS_FLOAT64", True)
    assert unlike(feature(model_on("gpu")), feature(model_on("cpu"))) == []


def test_nothing_goes_to_the_first_gpu_where_the_second_is_asked_for() -> None:
    before = pretend.DEVICES["gpu:0"].peak
    scoring(model_on("gpu:1", "gemma3_text"))
    generation(model_on("gpu:1", "gemma3_text"))
    assert pretend.DEVICES["gpu:0"].peak == before


def test_bfloat16_scores_are_those_of_the_cpu() -> None:
    pair = [model_on(device, "llama", torch.bfloat16) for device in ("gpu", "cpu")]
    assert unlike(scoring(pair[0]), scoring(pair[1]), 0.1) == []
