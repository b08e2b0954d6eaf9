"""Jobs in this process or in several: the same results in the same order, and clear ends."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from oocr.errors import InputError, RunError
from oocr.experiments import workers
from oocr.experiments.lab import Lab
from oocr.experiments.workers import Alone, Place, Workers, load_for, plan_workers
from oocr.models.language_model import LanguageModel
from tests.tiny import tiny_language_model
from tests.tiny_run import save_tiny_model, tiny_config, write_task


def name_of(lab: Lab, *, number: int) -> tuple[int, str, int]:
    if number % 3 == 0:
        torch.randn(200, 200) @ torch.randn(200, 200)
    return number, lab.model.fingerprint, torch.get_num_threads()


def refuse(lab: Lab) -> None:
    raise InputError("this job will not do")


def die(lab: Lab) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def state_of_interrupts(lab: Lab) -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_alone_does_jobs_one_after_the_other() -> None:
    lab = Lab(tiny_language_model(), [1], 4)
    crew = Alone(lab)
    begun: list[int] = []

    def job(lab: Lab, number: int) -> int:
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
    with Workers() as workers:
        crew = workers.crew(Place(config, (1,), 1), 2)
        jobs = [(f"job {n}", partial(name_of, number=n)) for n in range(7)]
        found = list(crew.each(jobs))
        assert found == [(f"job {n}", (n, here.fingerprint, 1)) for n in range(7)]
        assert list(crew.each([("signal", state_of_interrupts)])) == [("signal", True)]
        with pytest.raises(InputError, match="this job will not do"):
            list(crew.each([("bad", refuse), *jobs]))
        assert len(list(crew.each(jobs))) == 7, "one bad job does not end the crew"
        with pytest.raises(RunError, match=r"a worker process was killed .*try --workers 1"):
            list(crew.each([("dies", die)]))


def place_of(lab: Lab) -> tuple[int, int, int, str, int]:
    return os.getpid(), id(lab), id(lab.model), lab.model.name, lab.starts[0]


def test_runs_share_processes_and_those_on_one_model_the_model(tmp_path: Path) -> None:
    task = write_task(tmp_path / "task")
    one, other = (
        tiny_config(save_tiny_model(tmp_path / name, seed), task)
        for name, seed in (("one", 0), ("other", 1))
    )
    with Workers() as workers:

        def ask(place: Place) -> tuple[int, int, int, str, int]:
            (found,) = workers.crew(place, 1).each([("", place_of)])
            return found[1]

        first = ask(Place(one, (1,), 1))
        assert ask(Place(one, (1,), 1)) == first, "the same run keeps its recordings"
        second = ask(Place(one, (2,), 1))
        assert (second[0], second[2], second[4]) == (first[0], first[2], 2)
        third = ask(Place(other, (1,), 1))
        assert third[0] == first[0]
        assert (first[3], third[3]) == tuple(str(tmp_path / name) for name in ("one", "other"))
    assert workers.pool is None


def sizes(gigabytes: float) -> LanguageModel:
    """A stand-in with so many gigabytes of weights on a CPU."""
    weight = SimpleNamespace(numel=lambda: int(gigabytes * 1e9 / 4), element_size=lambda: 4)
    hf = SimpleNamespace(parameters=lambda: [weight])
    return SimpleNamespace(hf=hf, device=torch.device("cpu"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("cores", "free", "weights", "wanted", "torch_threads", "plan"),
    [
        (2, 16e9, 1.0, None, 2, (2, 1)),
        (8, 16e9, 1.0, None, 8, (5, 1)),  # five times 3 GB
        (8, 64e9, 1.0, None, 8, (8, 1)),
        (8, 2e9, 1.0, None, 8, (1, 8)),  # no room for a second
        (64, 1e12, 0.1, None, 64, (16, 4)),
        (8, 2e9, 1.0, 3, 8, (3, 2)),  # as the user says
        (2, 16e9, 1.0, 4, 2, (4, 1)),
        (8, 16e9, 1.0, 1, 1, (1, 1)),  # OMP_NUM_THREADS=1
    ],
)
def test_as_many_processes_as_cores_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    free: float,
    weights: float,
    wanted: int | None,
    torch_threads: int,
    plan: tuple[int, int],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    memory = SimpleNamespace(available=free)
    monkeypatch.setattr(workers.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_threads)
    assert plan_workers(sizes(weights), wanted) == plan


def test_on_a_gpu_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert plan_workers(model, None)[0] == 1  # type: ignore[arg-type]
