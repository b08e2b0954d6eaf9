"""`oocr plan`: what a run would compute, and whether it fits, without doing any of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.engine.trainable import tail_tokens
from oocr.runs.estimates import time_estimate as plan_module
from oocr.runs.estimates.memory_estimate import RunSample, outline_for
from oocr.runs.estimates.time_estimate import LAUNCH, ArmGroupCost, Gpu, seconds, work_of
from oocr.runs.read_config import load_configs
from oocr.runs.resolve import resolve
from oocr.steering.vectors import SteeringVector
from tests.command_line import Call, Ended
from tests.engine.test_memory import batch
from tests.tiny.models import tiny_config
from tests.tiny.runs import Tiny, save_tiny_model, tiny_settings, write_task, write_yaml


def planned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> Ended:
    monkeypatch.setattr(plan_module, "matmul_speed", lambda *_: 1e9)
    return Call(monkeypatch, capsys)("plan", *words)


def settings(tmp_path: Path, model: Path, **fields: Any) -> Path:
    return write_yaml(
        tmp_path / "run.yaml", tiny_settings(model, write_task(tmp_path / "task"), **fields)
    )


def test_a_plan_names_arms_memory_and_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = settings(tmp_path, save_tiny_model(tmp_path / "model"))
    code, out, _ = planned(capsys, monkeypatch, source)
    assert code == 0
    for words in (
        "tiny  ",
        "4 blocks, float32",
        "test: vector block 0",
        "test: adapter block 1",
        "random directions",
        "weights",
        "fits: ",
        "this machine: 1 GFLOP/s",
    ):
        assert words in out
    assert not (tmp_path / "runs").exists()


def test_a_folder_with_nothing_but_a_configuration_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_config("gemma3_text").save_pretrained(tmp_path / "model")
    source = settings(tmp_path, tmp_path / "model")
    code, out, _ = planned(capsys, monkeypatch, source, "--layers", "2", "--arms", "vector")
    assert code == 0
    assert "four characters count as a token" in out
    assert "test: vector block 2" in out
    assert "adapter" not in out


def test_what_does_not_fit_is_said_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = settings(tmp_path, save_tiny_model(tmp_path / "model"))
    monkeypatch.setattr(plan_module, "available_memory", lambda _: 10**6)
    code, out, _ = planned(capsys, monkeypatch, source)
    assert code == 0
    assert "does not fit: the run needs at least" in out


def test_s4_on_a_machine_with_a_gpu_its_own_speed_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = settings(tmp_path, save_tiny_model(tmp_path / "model"))
    monkeypatch.setattr(plan_module, "is_cpu", lambda _: False)
    monkeypatch.setattr(plan_module, "copy_speed", lambda _: 4e12)
    monkeypatch.setattr(plan_module, "total_memory", lambda _: 80 * 2**30)
    code, out, _ = planned(capsys, monkeypatch, source)
    assert code == 0
    text = " ".join(out.split())
    for words in (
        "on this machine's GPU",
        "predicted from this GPU's speed: one GPU with 80 GiB; 55% of 0 TFLOP/s (measured in",
        "80% of 4.0 TB/s, at least 1 ms for a block",
        "TFLOP each",
    ):
        assert words in text
    run = resolve(load_configs(str(source))[0], tmp_path)
    gpu = Gpu(2**36, 1e18, 1e18, measured=True)
    kinds = work_of(RunSample(run, outline_for(run.config)), gpu)
    assert seconds(kinds, 0.0, 1) > 100 * LAUNCH, "launches, though nothing else takes time"


def test_a_wrong_layer_is_refused_as_for_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = settings(tmp_path, save_tiny_model(tmp_path / "model"))
    code, _, err = planned(capsys, monkeypatch, source, "--layers", "9")
    assert code == 2
    assert "layers: 9 is not a block" in err


def test_work_counts_arms_and_grows_with_blocks_and_steps(tiny: Tiny) -> None:
    def of(**fields: Any) -> dict[str, ArmGroupCost]:
        run = resolve(tiny.config(**fields), Path())
        return {work.what: work for work in work_of(RunSample(run, outline_for(run.config)))}

    grid = {"layers": [0, 1], "learning_rates": [0.1], "steps": [2, 4]}
    works = of(vector=grid)
    low, high = works["choosing: vector block 0"], works["choosing: vector block 1"]
    assert low.arms == high.arms
    assert works["test: vector block 0"].arms == 2, "two seeds"
    assert low.training == pytest.approx(high.training * 3 / 2, rel=0.2), "three blocks, or two"
    longer = of(vector={**grid, "steps": [2, 8]})["choosing: vector block 1"]
    assert longer.training == pytest.approx(2 * high.training)
    # Beside the vector and the swap at its tokens; those beside the swap everywhere cost more.
    at_span, everywhere = works["random directions"], works["random directions everywhere"]
    assert (at_span.arms, everywhere.arms) == (6 * 2, 6)
    assert everywhere.scoring > at_span.scoring
    assert works["swaps of LoRAs"].arms == works["test: adapter block 1"].arms
    last = of(vector={**grid, "positions": "last"})["choosing: vector block 1"]
    assert last.tokens < high.tokens


def test_a_vector_runs_from_its_first_column_on() -> None:
    lines = batch(12, 3)
    lines.spans["word"] = torch.zeros_like(lines.mask)
    lines.spans["word"][1, 7] = True
    lines = replace(lines, rows=torch.tensor([[0, 11]]))
    assert tail_tokens(lines, None) == 3 * 12
    assert tail_tokens(lines, SteeringVector(layer=1, positions="last")) == 3
    assert tail_tokens(lines, SteeringVector(layer=1, positions="word")) == 3 * 5


def test_time_is_shared_out_among_workers() -> None:
    work = [ArmGroupCost("x", 4, 1, 100, 3e9, 0), ArmGroupCost("y", 1, 0, 0, 0, 5e9)]
    alone = seconds(work, 1e9, 1)
    assert alone > 17, "no machine gets all of its peak"
    assert seconds(work, 1e9, 2) == alone / 2
    assert seconds(work, 2e9, 1) == alone / 2
    assert seconds([ArmGroupCost("x", 4, 1, 8, 3e9, 0), work[1]], 1e9, 1) > 1.5 * alone, (
        "short passes"
    )
