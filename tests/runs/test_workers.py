"""Jobs in this process or in several: the same results in the same order, and clear ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from oocr.engine.training import fit
from oocr.errors import InputError, RunError
from oocr.models.shared_weights import WeightsCopy
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.runs.processes import executor as executor_module
from oocr.runs.processes import memory_plan
from oocr.runs.processes.executor import Executor, Job, Worker
from oocr.runs.processes.memory_plan import (
    SHARED,
    WORK,
    MemoryEstimate,
    WorkerSpec,
    gpus_for,
    plan_workers,
)
from oocr.steering.adapters import LowRankAdapter
from tests.engine.test_training import capital_task
from tests.mapped_memory import SMAPS, unshared
from tests.tiny.runs import save_tiny_model, tiny_config, write_task

T = TypeVar("T")


def name_of(context: RunContext, *, number: int) -> tuple[int, str, int]:
    if number % 3 == 0:
        torch.randn(200, 200) @ torch.randn(200, 200)
    return number, context.model.fingerprint, torch.get_num_threads()


def refuse(context: RunContext) -> None:
    raise InputError("this job will not do")


def die(context: RunContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def state_of_interrupts(context: RunContext) -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def spec_of(config: RunConfig, workers: int = 1) -> WorkerSpec:
    return WorkerSpec(config, workers, threads=1, budget=2**28)


def each(
    executor: Executor, spec: WorkerSpec, jobs: Iterable[tuple[str, Job[T]]]
) -> Iterator[tuple[str, T]]:
    return executor.do((label, spec, job) for label, job in jobs)


def test_alone_does_jobs_one_after_the_other(tmp_path: Path) -> None:
    spec = spec_of(tiny_config(save_tiny_model(tmp_path / "m"), write_task(tmp_path / "t")))
    begun: list[int] = []

    def job(context: RunContext, number: int) -> int:
        begun.append(number)
        return number * 10

    results = each(Executor(Worker()), spec, ((str(n), partial(job, number=n)) for n in range(3)))
    assert next(results) == ("0", 0)
    assert begun == [0], "what was done is told before the next begins"
    assert list(results) == [("1", 10), ("2", 20)]


def test_processes_give_results_in_order_and_say_what_went_wrong(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    config = tiny_config(model, write_task(tmp_path / "task"))
    worker = Worker()
    fingerprint = worker.model(config).fingerprint
    with Executor(worker) as executor:
        spec = spec_of(config, 2)
        jobs = [(f"job {n}", partial(name_of, number=n)) for n in range(7)]
        results = list(each(executor, spec, jobs))
        assert results == [(f"job {n}", (n, fingerprint, 1)) for n in range(7)]
        assert not worker.holds(config), "no model stays loaded beside those of the workers"
        assert list(each(executor, spec, [("signal", state_of_interrupts)])) == [("signal", True)]
        with pytest.raises(InputError, match="this job will not do"):
            list(each(executor, spec, [("bad", refuse), *jobs]))
        assert len(list(each(executor, spec, jobs))) == 7, "one bad job does not end the workers"
        with pytest.raises(RunError, match=r"a worker process was killed .*try --workers 1"):
            list(each(executor, spec, [("dies", die)]))


def weights_apart(context: RunContext, *, file: Path) -> tuple[list[str], int, int]:
    """After training: see `unshared`."""
    task = capital_task()
    (data,) = context.prepared([task])
    fit(context.model, task, LowRankAdapter((1,), rank=2), steps=2, prepared=data)
    return (*unshared(context.model, file), os.getpid())


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux, which counts private pages")
def test_processes_hold_the_weights_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    model = save_tiny_model(tmp_path / "model")
    fields = {"dtype": "bfloat16", "workers": 2}
    config = tiny_config(model, write_task(tmp_path / "task")).model_copy(update=fields)
    file = WeightsCopy.of(model, torch.bfloat16).folder / "model.safetensors"
    with Executor(Worker()) as executor:
        jobs = [(str(n), partial(weights_apart, file=file)) for n in range(6)]
        found = [apart for _, apart in each(executor, spec_of(config, 2), jobs)]
    assert len({process for *_, process in found}) == 2
    assert [(elsewhere, changed) for elsewhere, changed, _ in found] == [([], 0)] * 6


@pytest.mark.parametrize(("workers", "order"), [(1, "abcd"), (2, "cbad")])
def test_several_workers_begin_with_what_costs_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, order: str
) -> None:
    begun: list[str] = []

    def submit(_: Executor, label: str, *__: object) -> Future[object]:
        begun.append(label)
        future: Future[object] = Future()
        future.set_result((label.upper(), 0, 0))
        return future

    monkeypatch.setattr(Executor, "submit", submit)
    config = tiny_config(tmp_path / "m", write_task(tmp_path / "t"))
    jobs = [(label, spec_of(config, workers), process_of) for label in "abcd"]
    done = dict(Executor(Worker()).completed(jobs, [1.0, 2.0, 3.0]))
    assert "".join(begun) == order, "the last has no cost: it fills the gaps"
    assert done == {0: "A", 1: "B", 2: "C", 3: "D"}


def test_a_task_stays_with_the_worker_that_recorded_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, str]] = []

    class Pool:
        def __init__(self, _: int, __: object, ___: object, given: tuple[int, int]) -> None:
            self.number = given[1]

        def submit(self, _: object, label: str, *__: object) -> Future[object]:
            begun.append((self.number, label))
            future: Future[object] = Future()
            future.set_result((label, 0, 0))
            return future

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(executor_module, "ProcessPoolExecutor", Pool)
    spec = spec_of(tiny_config(tmp_path / "m", write_task(tmp_path / "t")), 2)
    jobs = [(label, spec, process_of) for label in "abcdefg"]
    with Executor(Worker()) as executor:
        costs, tasks = [5.0, 5.0, 4.0, 4.0, 4.0, 1.0], "xxyxyx"
        assert len(list(executor.completed(jobs, costs, tasks))) == 7
    assert begun[:2] == [(0, "a"), (1, "c")], "the second takes a task that nobody has begun"
    assert {label: number for number, label in begun if label != "g"} == {
        **dict.fromkeys("abdf", 0),
        **dict.fromkeys("ce", 1),
    }
    labels = [label for _, label in begun]
    assert labels[-2:] == ["f", "g"], "what costs little comes last"


def process_of(context: RunContext) -> int:
    return os.getpid()


def test_runs_share_processes_and_those_on_one_model_the_model(tmp_path: Path) -> None:
    task = write_task(tmp_path / "task")
    a, b = (
        tiny_config(save_tiny_model(tmp_path / name, seed), task)
        for name, seed in (("a", 0), ("b", 1))
    )
    worker = Worker()
    first = worker.open(spec_of(a))
    assert worker.open(spec_of(a)) is first, "the same run keeps its recordings"
    second = worker.open(spec_of(a.model_copy(update={"batch_lines": 3})))
    assert (second.model, second.batch_lines) == (first.model, 3)
    assert worker.open(spec_of(b)).model.name == str(tmp_path / "b")
    with Executor(worker) as executor:
        jobs = [("", process_of) for _ in range(6)]
        processes = {
            process
            for config in (a, b, a)
            for _, process in each(executor, spec_of(config, 2), jobs)
        }
        assert len(processes) <= 2
        assert os.getpid() not in processes
    assert executor.pools == []


def needs(gigabytes: float, *, on_device: bool = False, shared: bool = False) -> MemoryEstimate:
    """A process that needs so many gigabytes, and as much again for its recordings if it may."""
    parts = dict.fromkeys((*SHARED, *WORK, "recordings, at least"), 0)
    size = int(gigabytes * 1e9)
    return MemoryEstimate({**parts, "weights": size}, size, 0, on_device, shared)


def workers_wanted(count: int | None) -> RunConfig:
    return RunConfig.model_validate({"task": {"family": "countries"}, "workers": count})


@pytest.mark.parametrize(
    ("cores", "memory", "weights", "wanted", "torch_threads", "plan"),
    [
        (2, 16e9, 1.0, None, 2, (2, 1)),
        (8, 6e9, 1.0, None, 8, (6, 1)),  # the parent holds no model
        (8, 64e9, 1.0, None, 8, (8, 1)),
        (8, 1.9e9, 1.0, None, 8, (1, 8)),  # no room for a second
        (64, 1e12, 0.1, None, 64, (16, 4)),
        (8, 16e9, 1.0, 3, 8, (3, 2)),  # as the user says
        (8, 2.9e9, 1.0, 3, 8, (2, 4)),  # as far as there is room
        (2, 16e9, 1.0, 4, 2, (4, 1)),
        (8, 16e9, 1.0, 1, 1, (1, 1)),  # OMP_NUM_THREADS=1
    ],
)
def test_as_many_processes_as_cores_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    memory: float,
    weights: float,
    wanted: int | None,
    torch_threads: int,
    plan: tuple[int, int],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_threads)
    spec = plan_workers(workers_wanted(wanted), needs(weights), int(memory))
    assert (spec.workers, spec.threads) == plan
    assert needs(weights).total(spec.workers, spec.budget) <= memory


def test_weights_that_processes_share_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    alone, shared = needs(1), needs(1, shared=True)
    assert alone.total(4, 0) - shared.total(4, 0) == 3 * alone.parts["weights"]
    assert alone.total(1, 0) == shared.total(1, 0)
    spec = plan_workers(workers_wanted(None), shared, int(1.9e9))
    assert spec.workers == 8
    assert shared.total(8, spec.budget) <= 1.9e9


def device_of(context: RunContext, *, wait: float = 0.3) -> str:
    """The device that this process was given, which it loads nothing on here."""
    time.sleep(wait)  # so that each process gets a job
    (worker,) = executor_module._WORKER
    assert worker._context is not None
    return worker._context[0].config_of(worker.number).device


def test_processes_take_the_devices_in_turn(tmp_path: Path) -> None:
    config = tiny_config(save_tiny_model(tmp_path / "model"), write_task(tmp_path / "task"))
    spec = replace(spec_of(config, 2), devices=("cpu", "auto"))  # both are the CPU
    with Executor(Worker()) as executor:
        devices = {d for _, d in each(executor, spec, [("", device_of) for _ in range(6)])}
    assert devices == {"cpu", "auto"}
    alone = replace(spec, workers=1, devices=("cuda:1",))
    assert alone.config_of(0) == config, "one process loads the model where the user says"


@pytest.mark.parametrize(
    ("wanted", "gigabytes", "workers"),
    [(None, 10, 2), (1, 10, 1), (4, 10, 4), (8, 5, 6), (None, 1.5, 2), (3, 10, 3)],
)
def test_on_two_gpus_a_process_for_each_as_far_as_there_is_room(
    wanted: int | None, gigabytes: float, workers: int
) -> None:
    gpus = [torch.device("cuda", index) for index in range(2)]
    room = int(gigabytes * 1e9)
    spec = plan_workers(workers_wanted(wanted), needs(1, on_device=True), room, gpus)
    assert (spec.workers, spec.devices) == (workers, ("cuda:0", "cuda:1"))
    each = -(-workers // 2)
    assert needs(1, on_device=True).total(each, spec.budget) <= room
    assert [spec.config_of(n).device for n in range(3)] == (
        ["auto"] * 3 if workers == 1 else ["cuda:0", "cuda:1", "cuda:0"]
    )


def test_d7_processes_on_gpus_share_main_memory_for_what_leaves_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_plan, "default_budget", lambda: 12 * 10**9)
    spec = plan_workers(workers_wanted(4), needs(1, on_device=True), 10**11)
    assert (spec.workers, spec.overflow) == (4, 3 * 10**9)
    assert plan_workers(workers_wanted(4), needs(1), 10**11).overflow == 0


def test_only_gpus_with_room_are_taken_and_none_where_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpus = [torch.device("cuda", index) for index in range(3)]
    room = {"cuda:0": 10**10, "cuda:1": 10**8, "cuda:2": 10**10}
    monkeypatch.setattr(memory_plan, "gpus", lambda: gpus)
    monkeypatch.setattr(memory_plan, "available_memory", lambda device: room[str(device)])
    anywhere, estimate = workers_wanted(None), needs(1, on_device=True)
    assert gpus_for(anywhere, estimate) == [gpus[0], gpus[2]]
    for named in ({"device": "cuda:1"}, {"device": "cpu"}, {"device_map": "auto"}):
        assert gpus_for(anywhere.model_copy(update=named), estimate) == []


def crowded(context: RunContext) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_without_memory_says_what_it_was_and_what_to_lower(
    tmp_path: Path, workers: int
) -> None:
    config = tiny_config(save_tiny_model(tmp_path / "m"), write_task(tmp_path / "t"))
    with (
        Executor(Worker()) as executor,
        pytest.raises(RunError, match=r"while running 'LoRA of Paris': 3\.00 GiB asked for") as e,
    ):
        list(each(executor, spec_of(config, workers), [("LoRA of Paris", crowded)]))
    text = str(e.value)
    assert "and the same command continues" in text
    assert ("workers (fewer side by side)" in text) == (workers > 1)
    assert "dtype (bfloat16 halves float32), batch_lines" in text


def test_on_a_gpu_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert plan_workers(workers_wanted(None), needs(1, on_device=True), 10**11).workers == 1
    on_mps = workers_wanted(None).model_copy(update={"device": "mps"})
    assert plan_workers(on_mps, needs(1), 10**11).workers == 1
