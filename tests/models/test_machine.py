"""What dtype "auto" means on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.errors import InputError
from oocr.models import machine
from oocr.models.load import placement
from oocr.models.machine import auto_dtype

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OOCR_DTYPE", raising=False)
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path))


def speeds(monkeypatch: pytest.MonkeyPatch, ratio: float) -> list[torch.dtype]:
    asked: list[torch.dtype] = []

    def speed(dtype: torch.dtype, _device: Any) -> float:
        asked.append(dtype)
        return 1e11 * (ratio if dtype == torch.bfloat16 else 1.0)

    monkeypatch.setattr(machine, "matmul_speed", speed)
    return asked


@pytest.mark.parametrize(
    ("ratio", "dtype"),
    [(0.3, torch.float32), (2.2, torch.float32), (3.0, torch.bfloat16), (8.0, torch.bfloat16)],
)
def test_bfloat16_where_it_is_far_faster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ratio: float, dtype: torch.dtype
) -> None:
    asked = speeds(monkeypatch, ratio)
    assert auto_dtype(CPU) == dtype
    assert placement("auto", "cpu", None)["dtype"] == dtype
    assert len(asked) == 2, "the answer is kept"
    (kept,) = json.loads((tmp_path / "precision.json").read_text()).values()
    assert kept == pytest.approx(ratio)


def test_a_cache_that_is_broken_or_cannot_be_written_only_costs_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = speeds(monkeypatch, 8.0)
    (tmp_path / "precision.json").write_text("[1")
    assert auto_dtype(CPU) == torch.bfloat16
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "precision.json" / "no"))
    assert auto_dtype(CPU) == torch.bfloat16
    assert len(asked) == 4


def test_gpus_take_bfloat16_and_the_user_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds(monkeypatch, 0.1)
    assert auto_dtype(torch.device("cuda")) == torch.bfloat16
    monkeypatch.setenv("OOCR_DTYPE", "bfloat16")
    assert auto_dtype(CPU) == torch.bfloat16
    assert placement("float32", "cpu", None)["dtype"] == torch.float32
    monkeypatch.setenv("OOCR_DTYPE", "half")
    with pytest.raises(InputError, match="OOCR_DTYPE='half': allowed are float32"):
        auto_dtype(CPU)


def test_s3_what_is_drawn_elsewhere_is_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = torch.Generator().manual_seed(7)
    monkeypatch.setattr(torch.cuda, "default_generators", (on_gpu,))
    torch.manual_seed(5)
    states = [torch.get_rng_state(), on_gpu.get_state()]
    for _ in range(2):
        with machine.seeded(3, [CPU, torch.device("cuda:0")]):
            drawn = torch.rand(2)
            assert on_gpu.initial_seed() == 3
        assert torch.equal(torch.get_rng_state(), states[0])
        assert torch.equal(on_gpu.get_state(), states[1])
    with machine.seeded(3):
        assert torch.equal(torch.rand(2), drawn)
        assert torch.equal(on_gpu.get_state(), states[1])


def test_mps_shares_main_memory_computes_in_float32_and_is_taken_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mps, called = torch.device("mps"), list[str]()
    own = torch.Generator().manual_seed(7)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "_get_default_mps_generator", lambda: own)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.mps, name, lambda name=name: called.append(name))
    assert (machine.find_device("mps"), machine.find_device("auto")) == (mps, CPU)
    assert placement("auto", "mps", None) == {"dtype": torch.float32, "device_map": "mps"}
    assert (machine.is_cpu(mps), machine.is_gpu(mps)) == (False, False)
    assert machine.total_memory(mps) == machine.total_memory()
    assert 0 < machine.free_memory(mps) <= machine.total_memory()
    machine.synchronize(mps)
    machine.release_memory()
    assert called == ["synchronize", "empty_cache"]
    with machine.seeded(3, [mps]):
        assert own.initial_seed() == 3
    assert own.initial_seed() == 7


def test_the_machine_has_a_speed() -> None:
    assert machine.matmul_speed(torch.float32, CPU, seconds=0.01) > 1e7
