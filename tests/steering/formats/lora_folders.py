"""PEFT folders of tiny LoRAs, changed by hand, and what they do by PEFT and by us."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor

import oocr
from oocr.steering.adapters import Adapter, LowRankAdapter
from tests.steering.test_adapters import IDS, logits, made, model_of
from tests.tiny.models import tiny_model


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
