"""Weights that processes share: written once as they are used, mapped, the same weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from oocr.models import shared_weights
from oocr.models.load import read_model
from oocr.models.shared_weights import WeightsCopy
from tests.mapped_memory import SMAPS, unshared
from tests.tiny.models import FAMILIES
from tests.tiny.runs import save_tiny_model


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def read(folder: Path, dtype: str = "bfloat16", *, shared: bool = True) -> tuple[Any, list[str]]:
    said: list[str] = []
    model = read_model(folder, dtype=dtype, device="cpu", shared=shared, on_progress=said.append)
    return model, said


def copy_of(folder: Path) -> Path:
    return WeightsCopy.of(folder, torch.bfloat16).folder / "model.safetensors"


def copies(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "weights").glob("*/model.safetensors"))


@pytest.mark.parametrize("family", [*FAMILIES, "qwen3_5", "gemma4"])
def test_the_copy_is_the_model_and_is_mapped(tmp_path: Path, family: str) -> None:
    folder = save_tiny_model(tmp_path / family, family=family)
    plain, _ = read(folder, shared=False)
    assert not (tmp_path / "cache" / "weights").exists(), "nobody asked for a copy"
    model, said = read(folder)
    assert [text for text in said if "once" in text] == ["writing the weights as bfloat16, once"]
    assert model.fingerprint == plain.fingerprint
    again, said = read(folder, shared=False)
    assert said == []
    assert again.fingerprint == plain.fingerprint
    assert again.source == plain.source
    assert vars(again.hf.generation_config) == vars(plain.hf.generation_config)
    if SMAPS.exists():
        for mapped in (model, again):
            assert unshared(mapped, copy_of(folder)) == ([], 0)
        assert unshared(plain, copy_of(folder))[0], "the test can tell"


def test_a_model_without_settings_for_generation_is_copied_too(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "generation_config.json").unlink()
    plain, _ = read(folder, shared=False)
    model, said = read(folder)
    assert said == ["writing the weights as bfloat16, once"]
    assert vars(model.hf.generation_config) == vars(plain.hf.generation_config)


def test_files_that_can_be_mapped_are_not_copied(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    model, said = read(folder, "float32")
    assert said == []
    assert copies(tmp_path) == []
    if SMAPS.exists():
        assert unshared(model, folder / "model.safetensors") == ([], 0)


def test_another_model_in_the_same_folder_gets_another_copy(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    first, _ = read(folder)
    save_tiny_model(folder, seed=1)
    os.utime(folder / "model.safetensors", ns=(0, 0))
    second, said = read(folder)
    assert said
    plain, _ = read(save_tiny_model(tmp_path / "other", seed=1), shared=False)
    assert first.fingerprint != second.fingerprint == plain.fingerprint


def test_copies_of_models_that_are_gone_go_too(tmp_path: Path) -> None:
    gone, stays = (save_tiny_model(tmp_path / name) for name in ("gone", "stays"))
    read(gone)
    shutil.rmtree(gone)
    read(stays)
    assert [path.parent.name[:5] for path in copies(tmp_path)] == ["stays"]


def test_where_it_cannot_be_written_each_process_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    monkeypatch.setattr(shared_weights, "DISK_RESERVE", 10**18)
    model, said = read(folder)
    assert model.fingerprint == read(folder, shared=False)[0].fingerprint
    assert "each process holds weights of its own" in said[-1]
    assert "GB are free" in said[-1]
    assert copies(tmp_path) == []


def test_what_the_model_s_own_files_left_out_is_still_told(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    file = folder / "model.safetensors"
    save_file({**load_file(file), "v_head.bias": torch.zeros(1)}, file, metadata={"format": "pt"})
    results = [read(folder, shared=shared) for shared in (False, True, True)]
    for model, said in results:
        assert model.source["left out"] == "1 tensor of its files (first: v_head.bias)"
        assert model.source["left out"] in said[-1]
