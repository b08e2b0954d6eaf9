"""Processes on two pretend GPUs, each with a model of its own; run by test_pretend_gpu.py.

They score and do not train: PyTorch's autograd knows one device of a Python backend.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.models.machine import GpuGroup, gpu_groups
from oocr.runs.context import RunContext, computed_with
from oocr.runs.estimates.memory_estimate import memory_estimate, outline_for
from oocr.runs.processes import memory_plan
from oocr.runs.processes.executor import Executor, Worker
from oocr.runs.processes.memory_plan import available_memory, gpus_for, plan_workers
from oocr.runs.resolve import resolve
from tests.devices import pretend
from tests.devices.features import unlike
from tests.tiny.runs import Tiny

pretend.setup()
TWO = Path(__file__).with_name("two")


@pytest.fixture(autouse=True)
def _gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two here, and in the processes that are started."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    paths = [str(TWO), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def scored(
    context: RunContext, *, items: tuple[Example, ...], wait: float = 0.5
) -> tuple[int, str, list[float]]:
    time.sleep(wait)  # so that each process gets a job
    scores = context.scores(items, None)[0]
    return os.getpid(), str(context.model.device), scores.flatten().tolist()


def test_a_process_on_each_gpu_gives_the_numbers_of_the_cpu(tiny: Tiny) -> None:
    config = tiny.config(device="auto", workers=None, devices=(1, 0))
    run = resolve(config, Path())
    needs = memory_estimate(run, outline_for(run.config))
    devices = gpus_for(run.config, needs)
    assert list(map(str, devices)) == ["gpu:1", "gpu:0"]
    spec = plan_workers(run.config, needs, min(map(available_memory, devices)), devices)
    assert (spec.workers, run.config.loading["device"]) == (2, "gpu:1")
    items = run.tasks.test[0].probes
    with Executor(Worker()) as executor:
        jobs = [("", spec, partial(scored, items=items)) for _ in range(4)]
        found = [result for _, result in executor.do(jobs)]
    together = replace(spec, devices=("gpu:0+gpu:1",))
    both = Worker(number=1).open(together)
    assert {str(part.device) for part in both.model.hf.parameters()} == {"gpu:0", "gpu:1"}
    found.append(scored(both, items=items, wait=0))
    on_cpu = RunContext(tiny.model, config.starts, config.batch_lines)
    expected = on_cpu.scores(items, None)[0].flatten().tolist()
    assert {device for _, device, _ in found[:4]} == {"gpu:0", "gpu:1"}
    assert len({process for process, *_ in found[:4]}) == 2
    assert computed_with(both.model)["device"] == "gpu", "part of what keeps results apart"
    assert "device" not in computed_with(tiny.model)
    assert unlike([expected] * 5, [scores for *_, scores in found]) == []


def test_gpus_in_groups_are_planned_as_one_and_named_together(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    config = tiny.config(device="auto", workers=None, gpus_per_worker=2)
    assert list(map(str, gpu_groups(None, 2))) == ["gpu:0+gpu:1", "gpu:2+gpu:3"]
    room = {f"gpu:{n}": 10 * 10**9 - n for n in range(5)}
    real = memory_plan.available_memory

    def seen(where: object) -> int:
        if isinstance(where, GpuGroup):
            return len(where) * min(room[str(device)] for device in where)
        return real(where)  # type: ignore[arg-type]

    monkeypatch.setattr(memory_plan, "available_memory", seen)
    model = outline_for(config.model_copy(update={"gpus_per_worker": 1, "device": "cpu"}))
    needs = replace(memory_estimate(resolve(config, Path()), model), on_device=True)
    groups = gpus_for(config, needs)
    assert list(map(seen, groups)) == [2 * (10 * 10**9 - 1), 2 * (10 * 10**9 - 3)]
    spec = plan_workers(config, needs, min(map(seen, groups)), groups)
    assert [spec.config_of(n).loading["device"] for n in range(3)] == [
        *("gpu:0+gpu:1", "gpu:2+gpu:3", "gpu:0+gpu:1"),
    ]
    with pytest.raises(InputError, match=r"devices: 7 is not a GPU here; allowed: 0, 1, 2, 3, 4"):
        gpu_groups([7], 1)
    with pytest.raises(InputError, match=r"gpus_per_worker: 6, but there are 5 GPUs"):
        gpu_groups(None, 6)
