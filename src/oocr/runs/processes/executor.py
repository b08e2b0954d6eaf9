"""Executes the jobs of runs in this process or in several, each with the model loaded.

On a CPU small arms run fastest with one thread each, side by side in several processes. Time then
scales with the cores, and results do not depend on the number of processes.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from oocr.engine.recording_cache import tiers
from oocr.engine.selftest import load_model
from oocr.errors import RunError
from oocr.models.language_model import LanguageModel
from oocr.models.machine import forget_peak, gpus, peak_memory, release_memory
from oocr.models.out_of_memory import memory_errors
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext, TrainingTokens
from oocr.runs.processes.job_order import preferred
from oocr.runs.processes.memory_plan import WorkerSpec

T = TypeVar("T")
JobResult = tuple[Any, int, int]
"""The result of a job, the id of its process, and the peak bytes of that process on GPUs."""

Job = Callable[[RunContext], T]
"""A function of a run's context. It is pickled: a partial of a function of a module."""


class Worker:
    """Executes jobs in this process, with one model and one run's context at a time."""

    def __init__(self, on_progress: Callable[[str], None] | None = None, number: int = 0) -> None:
        self.on_progress, self.number = on_progress, number
        self._model: tuple[object, LanguageModel] | None = None
        self._context: tuple[WorkerSpec, RunContext] | None = None

    def holds(self, config: RunConfig) -> bool:
        """Whether the configuration's model is loaded."""
        return self._model is not None and self._model[0] == config.loading

    def model(self, config: RunConfig) -> LanguageModel:
        """The configuration's model; it replaces another model that is loaded."""
        if self._model is None or not self.holds(config):
            self.close()  # free the memory before another model is loaded
            self.put(config, loaded_model(config, self.on_progress))
        assert self._model is not None
        return self._model[1]

    def put(self, config: RunConfig, model: LanguageModel) -> None:
        """Take a model that was loaded elsewhere."""
        self._model = (config.loading, model)

    def open(self, spec: WorkerSpec, tokens: TrainingTokens | None = None) -> RunContext:
        """The context of a run; that of another run is dropped first."""
        if self._context is None or self._context[0] != spec:
            self._context = None
            config, model = spec.config, self.model(spec.config_of(self.number))
            for device in gpus():
                forget_peak(device)
            memory = tiers(model.device, spec.budget, spec.overflow)
            at = [config.vector.positions] if config.vector else []
            context = RunContext(
                model,
                config.starts,
                config.batch_lines,
                memory,
                tokens,
                positions=at,
                asked_starts=config.asked_starts,
            )
            self._context = (spec, context)
        return self._context[1]

    def close(self) -> None:
        """Release the context, the model, and their memory on a GPU."""
        self._model = self._context = None
        release_memory()


class Executor:
    """Executes jobs in worker processes, or in this process for runs with one worker.

    A command uses one executor for all its runs, since starting a process and loading a model takes
    seconds. Use it as a context manager, so that the processes end. The model in this process is
    released before workers load theirs.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.pools: list[ProcessPoolExecutor] = []  # of one process each
        self.gpu_peaks: dict[int, int] = {}  # by process: the most bytes it held on GPUs
        self._busy: dict[Future[Any], int] = {}  # job -> index of its pool
        self._known: list[set[str]] = []  # by pool: tasks whose texts it recorded

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._end(at_once=kind is not None)  # after an error, do not wait for running jobs

    def begin_run(self) -> None:
        """Begin a run: forget the recordings of the last run, which workers release too."""
        self.gpu_peaks.clear()
        for known in self._known:
            known.clear()

    def do(self, jobs: Iterable[tuple[str, WorkerSpec, Job[T]]]) -> Iterator[tuple[str, T]]:
        """Execute labelled jobs side by side; yields labels and results in the order of the jobs.

        All jobs have the same number of workers. A killed worker (e.g. out of memory) raises
        `RunError`; results of finished jobs are kept.
        """
        waiting = list(jobs)
        done = _in_order(self.completed(waiting))
        yield from zip([label for label, _, _ in waiting], done, strict=True)

    def do_plain(
        self, jobs: Iterable[tuple[str, Callable[[], T]]], workers: int
    ) -> Iterator[tuple[str, T]]:
        """The same for jobs without a model, in `workers` processes of one thread each."""
        waiting = list(jobs)
        if workers == 1:
            for label, job in waiting:
                yield label, _do_plain(job)
            return
        places = list(range(len(waiting)))

        def begin() -> tuple[int, Future[T]]:
            place = places.pop(0)
            return place, self._send(workers, "", _do_plain, waiting[place][1])

        done = _finished(begin, len(waiting), workers)
        with _killed_workers():
            results = _in_order((place, future.result()) for place, future in done)
            yield from zip([label for label, _ in waiting], results, strict=True)

    def completed(
        self,
        jobs: Sequence[tuple[str, WorkerSpec, Job[T]]],
        costs: Sequence[float] = (),
        tasks: Sequence[str] = (),
    ) -> Iterator[tuple[int, T]]:
        """Execute labelled jobs; yields the index and result of each as soon as it is finished.

        With several workers the most expensive jobs begin first (`costs`: of the first jobs; the
        others count as 0). Among jobs of similar cost a worker prefers tasks whose texts it has
        recorded (`tasks`: of the first jobs). One worker keeps the order of the jobs, so that
        neighbours share recordings.
        """
        count = min((spec.workers for _, spec, _ in jobs), default=1)
        cost = {place: costs[place] if place < len(costs) else 0.0 for place in range(len(jobs))}
        of = dict(enumerate(tasks)) if count > 1 else {}
        left = sorted(cost, key=lambda place: -cost[place]) if count > 1 else list(cost)
        begun: set[str] = set()

        def begin() -> tuple[int, Future[JobResult]]:
            known = self._known[self._free()] if self._known else set[str]()
            place = preferred(left, cost, of, known, begun)[0]
            left.remove(place)
            begun.update({of[place]} if place in of else ())
            return place, self.submit(*jobs[place], of.get(place, ""))

        for place, future in _finished(begin, len(jobs), count):
            yield place, self.result(future)

    def submit(
        self, label: str, spec: WorkerSpec, job: Job[Any], task: str = ""
    ) -> Future[JobResult]:
        """Begin a job; with one worker it runs in this process before the call returns.

        A worker that has recorded the texts of `task` is preferred among those that are free.
        """
        if spec.workers > 1:
            return self._send(spec.workers, task, _do, label, spec, job)
        future: Future[JobResult] = Future()
        try:
            future.set_result(_done(self.worker, label, spec, job))
        except Exception as error:
            future.set_exception(error)
        return future

    def result(self, future: Future[JobResult]) -> Any:
        """The result of a finished job, or its error."""
        with _killed_workers():
            result, process, peak = future.result()
        self.gpu_peaks[process] = peak
        return result

    def _send(self, count: int, task: str, call: Callable[..., T], *given: Any) -> Future[T]:
        """Make a call in one of `count` processes."""
        with _killed_workers():
            self._start(count)
            place = self._free(task)
            with _no_interrupt():
                future = self.pools[place].submit(call, *given)
        self._busy[future] = place
        self._known[place].update({task} if task else ())
        return future

    def _free(self, task: str = "") -> int:
        """The index of the process with fewest jobs; among equals one that recorded the task."""
        self._busy = {future: at for future, at in self._busy.items() if not future.done()}
        work = list(self._busy.values())

        def rank(place: int) -> tuple[int, bool, int]:
            return work.count(place), task not in self._known[place], len(self._known[place])

        return min(range(len(self.pools)), key=rank)

    def _start(self, count: int) -> None:
        if len(self.pools) == count:
            return
        self._end(at_once=False)
        self.worker.close()
        spawn = get_context("spawn")  # a process that CUDA is used in cannot be forked
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads of numpy in each process
        for number in range(count):
            given = (os.getpid(), number)
            self.pools.append(ProcessPoolExecutor(1, spawn, _begin, given))
            self._known.append(set())

    def _end(self, *, at_once: bool) -> None:
        for pool in self.pools if at_once else ():
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.terminate()
        for pool in self.pools:
            pool.shutdown(cancel_futures=True)
        self.pools, self._busy, self._known = [], {}, []


def _finished(
    begin: Callable[[], tuple[int, Future[T]]], total: int, count: int
) -> Iterator[tuple[int, Future[T]]]:
    """Begin `total` jobs, `count` at a time; yields the index of each as soon as it is finished."""
    running: dict[Future[T], int] = {}
    while total or running:
        while total and len(running) < count:
            place, future = begin()
            running[future], total = place, total - 1
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future


def _in_order(results: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Results in the order of their indices, each as soon as all before it are finished."""
    done: dict[int, T] = {}
    given = 0
    for place, result in results:
        done[place] = result
        while given in done:
            yield done.pop(given)
            given += 1


class KilledWorkerError(RunError):
    """A worker process was killed."""


@contextmanager
def _killed_workers() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise KilledWorkerError(
            "a worker process was killed (often because memory ran out: try --workers 1); "
            "what was computed is kept, and the same command continues"
        ) from error


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Block Ctrl-C while workers start; they inherit this, so that only the parent handles it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_WORKER: list[Worker] = []
"""The `Worker` of a worker process; empty in the parent."""


def _begin(parent: int, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
    warnings.simplefilter("ignore")  # the parent shows warnings
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    # PEFT's progress bars use a lock shared by processes, which a terminated worker would hold.
    import_module("tqdm").tqdm.set_lock(threading.RLock())
    _WORKER.append(Worker(number=number))


def _leave_with(parent: int) -> None:
    """End this worker when its parent has ended, even if it was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _do(label: str, spec: WorkerSpec, job: Job[Any]) -> JobResult:
    torch.set_num_threads(spec.threads)
    return _done(_WORKER[0], label, spec, job)


def _do_plain(job: Callable[[], T]) -> T:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return job()
    finally:
        torch.set_num_threads(threads)


def _done(worker: Worker, label: str, spec: WorkerSpec, job: Job[Any]) -> JobResult:
    with memory_errors(f"running {label!r}", spec.memory_advice()):
        result = job(worker.open(spec))
    return result, os.getpid(), sum(map(peak_memory, gpus()))


def loaded_model(
    config: RunConfig, on_progress: Callable[[str], None] | None = None
) -> LanguageModel:
    """Load the model of a configuration; its workers share the weights."""
    return load_model(**config.loading, shared=config.workers != 1, on_progress=on_progress)
