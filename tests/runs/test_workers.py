"""Jobs in this process or in several: the same results in the same order, and clear ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from oocr.errors import InputError, RunError
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.runs.executor import Executor, Job, Worker, WorkerSpec, plan_workers
from oocr.runs.memory_plan import SHARED, WORK, MemoryEstimate
from tests.tiny_run import save_tiny_model, tiny_config, write_task

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
    assert executor.pool is None


def needs(gigabytes: float, *, on_device: bool = False) -> MemoryEstimate:
    """A process that needs so many gigabytes, and as much again for its recordings if it may."""
    parts = dict.fromkeys((*SHARED, *WORK, "recordings, at least"), 0)
    return MemoryEstimate(
        {**parts, "weights": int(gigabytes * 1e9)}, int(gigabytes * 1e9), 0, on_device
    )


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


def test_on_a_gpu_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert plan_workers(workers_wanted(None), needs(1, on_device=True), 10**11).workers == 1
