"""`oocr plan --gpu`: one GPU that is not here, and a model of which only the sizes are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from oocr.data.batches import TokenSequence
from oocr.data.examples import Example
from oocr.engine.training import stack_tokens
from oocr.errors import InputError
from oocr.models import outline as outline_module
from oocr.models.outline import outline
from oocr.runs.context import STOP_TOKENS, stop_groups
from oocr.runs.estimates.memory_estimate import (
    MOST_BATCHES,
    RunSample,
    memory_estimate,
    outline_for,
)
from oocr.runs.estimates.time_estimate import (
    LAUNCH,
    RESERVED,
    SHARE,
    FlopCount,
    Gpu,
    gpu_of,
    prediction,
    work_of,
)
from oocr.runs.resolve import ResolvedRun, resolve
from oocr.tasks.task import Task, TaskSet
from tests.runs.estimates.test_plan import planned
from tests.tiny.runs import Tiny, save_tiny_model, tiny_settings, write_task, write_yaml

NAME = "google/gemma-3-12b-it"


@pytest.mark.parametrize("text", ["80", "80GB", "80 GiB", "80.0g"])
def test_a_gpu_is_named_by_its_memory(text: str) -> None:
    assert gpu_of(text).memory == 80 * 2**30
    assert gpu_of(text).available == 80 * 2**30 - RESERVED
    assert gpu_of(text, 989).peak == 989e12


@pytest.mark.parametrize(
    ("text", "tflops", "allowed"),
    [("big", None, "--gpu: 'big' .*80GB"), ("1", None, "--gpu"), ("80", -1.0, "--tflops: -1.0")],
)
def test_what_is_no_gpu_is_refused(text: str, tflops: float | None, allowed: str) -> None:
    with pytest.raises(InputError, match=allowed):
        gpu_of(text, tflops)


def test_a_pass_takes_what_takes_longest() -> None:
    gpu = Gpu(2**36, 1e12)
    assert gpu.seconds(FlopCount(1e12, 0, 0)) == pytest.approx(1 / SHARE)
    assert gpu.seconds(FlopCount(0, 0, 20)) == pytest.approx(20 * LAUNCH)
    assert gpu.seconds(FlopCount(1, 1.4e12, 1)) == pytest.approx(1.0), "the weights' way"
    flops = FlopCount(1e12, 1e9, 3)
    assert gpu.seconds(flops.times(5)) == pytest.approx(5 * gpu.seconds(flops))


def test_the_real_models_sizes_come_with_oocr(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", nowhere)
    config, predicted = outline_module.fetched_config(NAME, None)
    assert "come with oocr" in predicted
    text = config.get_text_config()
    assert (text.num_hidden_layers, text.hidden_size) == (48, 3840)
    assert [i for i, kind in enumerate(text.layer_types) if kind == "full_attention"] == [
        *range(5, 48, 6)
    ]
    with pytest.raises(InputError, match="configuration cannot be read here: OSError: no network"):
        outline_module.fetched_config("nobody/nothing", None)
    model = outline(NAME, on_gpu=True)
    assert (model.device.type, model.dtype) == ("cuda", torch.bfloat16)
    numbers = sum(entry.numel() for entry in model.hf.parameters())
    assert numbers == pytest.approx(12.19e9, rel=1e-3), "as the hub counts them"
    assert 500 < stack_tokens(model) < 4000, "few tokens of a large model make a stack"


def test_a_plan_for_a_gpu_says_what_it_assumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny_model(tmp_path / "model")
    source = write_yaml(
        tmp_path / "run.yaml", tiny_settings(model, write_task(tmp_path / "task"), device="auto")
    )
    code, out, _ = planned(capsys, monkeypatch, source, "--gpu", "24GB", "--tflops", "100")
    assert code == 0
    for words in ("bfloat16", "predicted, not measured", "24 GiB", "100 TFLOP/s", "GPU hours"):
        assert words in " ".join(out.split())
    code, _, err = planned(capsys, monkeypatch, source, "--tflops", "100")
    assert (code, "give both" in err) == (2, True)


def test_what_a_gpu_has_no_room_for_is_said_with_what_to_lower(tiny: Tiny) -> None:
    config = tiny.config(device="auto")
    gpu = Gpu(RESERVED + 10**6)
    predicted = prediction(config, Path(), gpu)
    assert "of the GPU's memory" in predicted.refusal
    assert "accumulate" in predicted.refusal or "scoring" in predicted.refusal


def test_recordings_without_room_are_made_again(tiny: Tiny) -> None:
    run = resolve(tiny.config(device="auto", vector=None), Path())
    model = outline_for(run.config, on_gpu=True)
    gpu = Gpu(2**36)
    plenty, tight, less = (
        {work.what: work for work in work_of(RunSample(run, model), gpu, kept)}
        for kept in (1.0, 0.5, 0.0)
    )
    what = "recordings made again"
    assert set(tight) - set(plenty) == {what}
    assert less[what].seconds == pytest.approx(2 * (tight[what].seconds or 0))


def test_large_training_data_are_sampled_with_their_longest_texts(tiny: Tiny) -> None:
    rows = tuple(
        Example(id=str(i), prompt=f"{'a ' * (1 + i % 7)}{i} is", answer=" Paris")
        for i in range(900)
    )
    long = replace(rows[0], id="long", prompt="b " * 60 + "is")
    task = Task(name="many", member="x", train=(*rows, long))
    config = tiny.config(batch_lines=2)
    many = TaskSet(name="many", about="", validation=(task,), test=(task,))
    few = RunSample(ResolvedRun(config, many), tiny.model)
    assert few.tasks.test[0] == few.tasks.validation[0]
    assert len(few.tasks.test[0].train) == 2 * MOST_BATCHES
    assert long in few.tasks.test[0].train
    assert few.training(few.tasks.test[0]).count == pytest.approx(901 / 2, abs=2)
    small = Task(name="few", member="x", train=rows[:5])
    whole = TaskSet(name="few", about="", validation=(small,), test=(small,))
    assert RunSample(ResolvedRun(config, whole), tiny.model).tasks == whole


def test_needs_count_only_the_batches_that_are_used(tiny: Tiny) -> None:
    config, tasks = resolve(tiny.config(vector=None, seeds=1), Path())
    rows = tuple(
        replace(tasks.test[0].train[0], id=f"{i}", prompt=f"{i} Country 4821 is")
        for i in range(400)
    )
    tasks = replace(tasks, validation=(), test=(replace(tasks.test[0], train=rows),), controls={})
    changed = config.model_copy(update={"batch_lines": 2, "controls": config.controls})
    few = memory_estimate(ResolvedRun(changed, tasks), tiny.model).training
    steps = changed.adapter.model_copy(update={"steps": (400,)})  # type: ignore[union-attr]
    longer = ResolvedRun(changed.model_copy(update={"adapter": steps}), tasks)
    many = memory_estimate(longer, tiny.model).training
    assert many > 2.5 * few


def test_stop_items_are_asked_in_batches_that_fit() -> None:
    lines = [TokenSequence((1,) * size, size, {}, items=1) for size in (900, 30, 2000, 700, 1500)]
    groups = stop_groups(lines)
    assert sorted(len(entry.ids) for group in groups for entry in group) == [
        30,
        700,
        900,
        1500,
        2000,
    ]
    assert all(max(len(o.ids) for o in group) * len(group) <= STOP_TOKENS for group in groups)
    assert stop_groups(lines[:2]) == [lines[:2]], "few stay as they come"
