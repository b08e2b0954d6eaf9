"""Jobs in this process or in several: the same results in the same order, and clear ends."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from oocr.errors import InputError, RunError
from oocr.runs.context import RunContext
from oocr.runs.executor import SerialExecutor, WorkerPool, WorkerSpec, load_for, plan_workers
from oocr.runs.memory_plan import SHARED, WORK, MemoryEstimate
from tests.tiny import tiny_language_model
from tests.tiny_run import save_tiny_model, tiny_config, write_task


def name_of(lab: RunContext, *, number: int) -> tuple[int, str, int]:
    if number % 3 == 0:
        torch.randn(200, 200) @ torch.randn(200, 200)
    return number, lab.model.fingerprint, torch.get_num_threads()


def refuse(lab: RunContext) -> None:
    raise InputError("this job will not do")


def die(lab: RunContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def state_of_interrupts(lab: RunContext) -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_alone_does_jobs_one_after_the_other() -> None:
    lab = RunContext(tiny_language_model(), [1], 4)
    crew = SerialExecutor(lab)
    begun: list[int] = []

    def job(lab: RunContext, number: int) -> int:
        begun.append(number)
        return number * 10

    found = crew.each((str(n), partial(job, number=n)) for n in range(3))
    assert next(found) == ("0", 0)
    assert begun == [0], "what was done is told before the next begins"
    assert list(found) == [("1", 10), ("2", 20)]


def test_processes_give_results_in_order_and_say_what_went_wrong(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    config = tiny_config(model, write_task(tmp_path / "task"))
    here = load_for(config)
    with WorkerPool() as workers:
        crew = workers.crew(WorkerSpec(config, (1,), 1), 2)
        jobs = [(f"job {n}", partial(name_of, number=n)) for n in range(7)]
        found = list(crew.each(jobs))
        assert found == [(f"job {n}", (n, here.fingerprint, 1)) for n in range(7)]
        assert list(crew.each([("signal", state_of_interrupts)])) == [("signal", True)]
        with pytest.raises(InputError, match="this job will not do"):
            list(crew.each([("bad", refuse), *jobs]))
        assert len(list(crew.each(jobs))) == 7, "one bad job does not end the crew"
        with pytest.raises(RunError, match=r"a worker process was killed .*try --workers 1"):
            list(crew.each([("dies", die)]))


def place_of(lab: RunContext) -> tuple[int, int, int, str, int]:
    return os.getpid(), id(lab), id(lab.model), lab.model.name, lab.starts[0]


def test_runs_share_processes_and_those_on_one_model_the_model(tmp_path: Path) -> None:
    task = write_task(tmp_path / "task")
    one, other = (
        tiny_config(save_tiny_model(tmp_path / name, seed), task)
        for name, seed in (("one", 0), ("other", 1))
    )
    with WorkerPool() as workers:

        def ask(place: WorkerSpec) -> tuple[int, int, int, str, int]:
            (found,) = workers.crew(place, 1).each([("", place_of)])
            return found[1]

        first = ask(WorkerSpec(one, (1,), 1))
        assert ask(WorkerSpec(one, (1,), 1)) == first, "the same run keeps its recordings"
        second = ask(WorkerSpec(one, (2,), 1))
        assert (second[0], second[2], second[4]) == (first[0], first[2], 2)
        third = ask(WorkerSpec(other, (1,), 1))
        assert third[0] == first[0]
        assert (first[3], third[3]) == tuple(str(tmp_path / name) for name in ("one", "other"))
    assert workers.pool is None


def needs(gigabytes: float, *, on_device: bool = False) -> MemoryEstimate:
    """A process that needs so many gigabytes, and as much again for its recordings if it may."""
    parts = dict.fromkeys((*SHARED, *WORK, "recordings, at least"), 0)
    return MemoryEstimate(
        {**parts, "weights": int(gigabytes * 1e9)}, int(gigabytes * 1e9), 0, on_device
    )


@pytest.mark.parametrize(
    ("cores", "room", "weights", "wanted", "torch_threads", "plan"),
    [
        (2, 16e9, 1.0, None, 2, (2, 1)),
        (8, 6e9, 1.0, None, 8, (5, 1)),  # the parent holds the model, too
        (8, 64e9, 1.0, None, 8, (8, 1)),
        (8, 2e9, 1.0, None, 8, (1, 8)),  # no room for a second
        (64, 1e12, 0.1, None, 64, (16, 4)),
        (8, 16e9, 1.0, 3, 8, (3, 2)),  # as the user says
        (8, 3e9, 1.0, 3, 8, (2, 4)),  # as far as there is room
        (2, 16e9, 1.0, 4, 2, (4, 1)),
        (8, 16e9, 1.0, 1, 1, (1, 1)),  # OMP_NUM_THREADS=1
    ],
)
def test_as_many_processes_as_cores_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    room: float,
    weights: float,
    wanted: int | None,
    torch_threads: int,
    plan: tuple[int, int],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_threads)
    fit, threads = plan_workers(needs(weights), wanted, int(room))
    assert (fit.workers, threads) == plan
    assert needs(weights).total(fit.workers, fit.budget) <= room


def test_on_a_gpu_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert plan_workers(needs(1, on_device=True), None, 10**11)[0].workers == 1
