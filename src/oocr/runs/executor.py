"""Arms on several processes, each with its own copy of the model.

On a CPU one small arm keeps one core busy best, so arms run side by side, one thread each: that
scales with the cores, and gives the same numbers however many there are.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import torch

from oocr.engine.loading import load_model
from oocr.errors import RunError
from oocr.models.language_model import LanguageModel
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.runs.memory_plan import MemoryEstimate, MemoryPlan, fitted

T = TypeVar("T")
MOST = 16
"""Processes, if the user does not say."""

Job = Callable[[RunContext], T]
"""Work on a lab. Sent to other processes, so a partial of a module-level function."""


class Executor(Protocol):
    """Does jobs."""

    def each(self, jobs: Iterable[tuple[str, Job[T]]]) -> Iterator[tuple[str, T]]:
        """Do labelled jobs and give each label and result, in the order of the jobs."""
        ...


@dataclass(slots=True)
class SerialExecutor:
    """Does all jobs in this process."""

    lab: RunContext

    def each(self, jobs: Iterable[tuple[str, Job[T]]]) -> Iterator[tuple[str, T]]:
        """Do the jobs one after the other."""
        for label, job in jobs:
            yield label, job(self.lab)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker needs to know of a run: which model, and its `RunContext`'s settings."""

    config: RunConfig
    starts: tuple[int, ...]
    threads: int
    budget: int | None = None


class WorkerPool:
    """Worker processes that serve one run after the other; use as a context, so that they end.

    Starting a process and loading a model into it takes seconds, so runs on the same model share
    them.
    """

    def __init__(self) -> None:
        self.pool: ProcessPoolExecutor | None = None
        self.count = 0

    def crew(self, place: WorkerSpec, count: int) -> ProcessExecutor:
        """So many processes for a run."""
        if self.count != count:
            self._end(at_once=False)
            self.count = count
            self.pool = ProcessPoolExecutor(
                count,
                mp_context=get_context("spawn"),
                initializer=_begin,
                initargs=(os.getpid(),),
            )
        assert self.pool is not None
        return ProcessExecutor(self.pool, place, count)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._end(at_once=kind is not None)  # don't wait for the jobs that are still going

    def _end(self, *, at_once: bool) -> None:
        if self.pool is None:
            return
        if at_once:
            for process in list((getattr(self.pool, "_processes", None) or {}).values()):
                process.terminate()
        self.pool.shutdown(cancel_futures=True)
        self.pool, self.count = None, 0


@dataclass(slots=True)
class ProcessExecutor:
    """Does jobs in worker processes, each on a lab of its own."""

    pool: ProcessPoolExecutor
    place: WorkerSpec
    count: int

    def each(self, jobs: Iterable[tuple[str, Job[T]]]) -> Iterator[tuple[str, T]]:
        """Do the jobs side by side.

        Raises:
            RunError: a worker was killed, e.g. for want of memory; finished jobs stay.
        """
        yield from self.placed((label, self.place, job) for label, job in jobs)

    def placed(self, jobs: Iterable[tuple[str, WorkerSpec, Job[T]]]) -> Iterator[tuple[str, T]]:
        """Do jobs of several runs side by side, each on its own run's lab.

        Raises:
            RunError: a worker was killed, e.g. for want of memory; finished jobs stay.
        """
        waiting = list(jobs)
        running: dict[Future[T], int] = {}
        done: dict[int, T] = {}
        sent = given = 0
        try:
            while given < len(waiting):
                while sent < len(waiting) and len(running) < self.count:
                    with _no_interrupt():
                        _, place, job = waiting[sent]
                        running[self.pool.submit(_do, place, job)] = sent
                    sent += 1
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done[running.pop(future)] = future.result()
                while given in done:
                    yield waiting[given][0], done.pop(given)
                    given += 1
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process was killed (often for want of memory: try --workers 1); "
                "what was computed stays, the same command goes on"
            ) from error


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back while workers are started, who inherit that: it is for the parent only."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_LAB: list[tuple[WorkerSpec, RunContext]] = []
"""This worker's lab and what it was made for."""


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be held back
    warnings.simplefilter("ignore", FutureWarning)  # between libraries, none of it the user's
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    # PEFT's progress bars share a lock between processes; a worker that is ended would leave it.
    import_module("tqdm").tqdm.set_lock(threading.RLock())


def _leave_with(parent: int) -> None:
    """End this worker when its parent is gone, even if it was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _do(place: WorkerSpec, job: Job[Any]) -> Any:
    return job(_lab(place))


def _lab(place: WorkerSpec) -> RunContext:
    if not _LAB or _LAB[0][0] != place:
        torch.set_num_threads(place.threads)
        config = place.config
        kept = _LAB and model_key(_LAB[0][0].config) == model_key(config)
        model = _LAB[0][1].model if kept else None
        _LAB.clear()  # before another model is loaded
        model = model or load_for(config)
        lab = RunContext(model, place.starts, config.batch_lines, place.budget)
        _LAB.append((place, lab))
    return _LAB[0][1]


def model_key(config: RunConfig) -> tuple[str | None, ...]:
    """Equal for configurations that load the same model."""
    return (config.model, config.dtype, config.device, config.device_map, config.revision)


def load_for(config: RunConfig, on_progress: Callable[[str], None] | None = None) -> LanguageModel:
    """Load the model of a configuration."""
    return load_model(
        config.model,
        dtype=config.dtype,
        device=config.device,
        device_map=config.device_map,
        revision=config.revision,
        on_progress=on_progress,
    )


def plan_workers(needs: MemoryEstimate, wanted: int | None, room: int) -> tuple[MemoryPlan, int]:
    """How many processes, what each may keep, and threads for each.

    On a GPU one process. On a CPU one process per core, and the cores shared out among them; never
    more threads than torch has here (OMP_NUM_THREADS, `torch.set_num_threads`). Fewer processes
    where memory has no room for as many.

    Args:
        needs: the run's memory.
        wanted: processes that the user asked for.
        room: bytes that the run can have.

    Raises:
        InputError: not even one process fits; with the numbers.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    most = wanted or (1 if needs.on_device else min(cores, MOST))
    fit = fitted(needs, most, room)
    return fit, max(1, min(cores // fit.workers, torch.get_num_threads()))
