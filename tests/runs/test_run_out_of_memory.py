"""A run whose device has no room: arms are trained apart, or it stops and says what to lower."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from polars.testing import assert_frame_equal

from oocr.engine.training import Trained, fit_all
from oocr.errors import RunError
from oocr.runs import arms as arms_module
from oocr.runs.arms import ArmPlan
from oocr.steering.adapters import LowRankAdapter
from tests.command_line import Call
from tests.tiny.runs import Tiny, rows_of, tiny_settings, write_yaml

CROWDED = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.filterwarnings("ignore:no memory for")
def test_arms_that_do_not_fit_side_by_side_are_trained_apart(
    tiny: Tiny, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def alone(model: Any, plans: Sequence[ArmPlan], batches: Any) -> list[Trained]:
        sizes.append(len(plans))
        if len(plans) > 1:
            raise CROWDED
        return fit_all(model, plans, batches)

    monkeypatch.setattr(arms_module, "fit_all", alone)
    with pytest.warns(UserWarning, match="no memory for 2 arms side by side: 1 at a time"):
        folder = tiny.run(tmp_path)
    assert max(sizes) > 1
    assert_frame_equal(rows_of(folder), rows_of(done), abs_tol=1e-4)


def no_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(model: Any, plans: Sequence[ArmPlan], batches: Any) -> list[Trained]:
        if isinstance(plans[0].spec, LowRankAdapter):
            raise CROWDED
        return fit_all(model, plans, batches)

    monkeypatch.setattr(arms_module, "fit_all", refusing)


@pytest.mark.filterwarnings("ignore:no memory for")
def test_a_run_that_stops_keeps_what_was_finished_and_goes_on(
    tiny: Tiny, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crowded:
        no_adapters(crowded)
        with pytest.raises(RunError, match=r"while running 'adapter at block 1.*2\.00 GiB asked"):
            tiny.run(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/arms/*/arm.json")}
    assert kept, "vectors were trained before"
    assert_frame_equal(rows_of(tiny.run(tmp_path)), rows_of(done), abs_tol=1e-4)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


@pytest.mark.filterwarnings("ignore:no memory for")
def test_the_command_says_it_in_one_message(
    tiny: Tiny, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_adapters(monkeypatch)
    source = write_yaml(tmp_path / "run.yaml", tiny_settings(tiny.path, tiny.task))
    code, _, err = call("run", source, "--out", tmp_path / "runs")
    assert code == 1
    assert "stopped: out of memory on main memory while running 'adapter" in err
    assert "What was computed is kept, and the same command continues" in err


def test_a_device_that_is_not_here_is_refused_with_the_line_or_the_option(
    tiny: Tiny, tmp_path: Path, call: Call
) -> None:
    settings = tiny_settings(tiny.path, tiny.task)
    source = write_yaml(tmp_path / "run.yaml", {**settings, "device": "cuda:7"})
    code, _, err = call("run", source, "--out", tmp_path / "runs")
    assert code == 2
    assert "run.yaml:" in err
    assert "device: 'cuda:7' is not a device here; allowed: auto, cpu" in err
    code, _, err = call("run", source, "--device", "mps0", "--out", tmp_path / "runs")
    assert (code, "--device: device: 'mps0' is not a device here" in err) == (2, True)
    assert not (tmp_path / "runs").exists()
    for words in (("audit", tmp_path / "nowhere"), ("doctor", tiny.path), ("plan", source)):
        code, _, err = call(*words, "--device", "cuda:7")
        assert (code, "'cuda:7' is not a device here" in err) == (2, True), words
