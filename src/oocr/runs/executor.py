"""Jobs of runs, done in this process or in several, each with the model.

On a CPU one small arm keeps one core busy best, so arms run side by side, one thread each: that
scales with the cores, and the numbers don't depend on how many processes there are.
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
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from oocr.engine.recording_cache import default_budget, tiers
from oocr.engine.selftest import load_model
from oocr.errors import RunError
from oocr.models import machine
from oocr.models.language_model import LanguageModel
from oocr.models.machine import GpuGroup, forget_peak, gpu_groups, gpus, peak_memory, release_memory
from oocr.models.out_of_memory import memory_errors
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext, TrainingTokens
from oocr.runs.job_order import preferred
from oocr.runs.memory_plan import MemoryEstimate, fit_workers, room_for

T = TypeVar("T")
MOST_WORKERS = 16
"""Processes, if the user does not say."""

JobResult = tuple[Any, int, int]
"""What a job gave, the process that did it, and the most bytes that this held on GPUs."""

Job = Callable[[RunContext], T]
"""Work with a run's context. It is sent to other processes: a partial of a module's function."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How a run's jobs are done: in so many processes, each with so many threads.

    `budget` is each one's bytes for recordings on the model's device; `overflow` those of main
    memory for what does not fit on a GPU. `devices` are GPUs or groups of them, which the processes
    take in turn; none: all load the model where the configuration says.
    """

    config: RunConfig
    workers: int
    threads: int
    budget: int
    overflow: int = 0
    devices: tuple[str, ...] = ()

    def config_of(self, number: int) -> RunConfig:
        """The configuration for a process, by its number."""
        if self.workers == 1 or not self.devices:
            return self.config
        device = self.devices[number % len(self.devices)]
        return self.config.model_copy(update={"device": device})

    def more_room(self) -> str:
        """What to do where memory does not suffice."""
        lower = ["dtype (bfloat16 halves float32)"] if self.config.dtype != "bfloat16" else []
        lower += ["batch_lines (and raise accumulate: as many lines per step)"]
        lower = [*(["workers (fewer side by side)"] if self.workers > 1 else []), *lower]
        spread = self.config.device_map is None and len(gpus()) > 1
        return (
            "What was computed stays, the same command goes on. If nothing else can leave the "
            f"memory, lower: {', '.join(lower)}"
            + ("; or spread the model over all GPUs (device_map: auto)" if spread else "")
        )


def cores() -> int:
    """The cores that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def plan_workers(
    config: RunConfig,
    needs: MemoryEstimate,
    room: int,
    devices: Sequence[torch.device | GpuGroup] = (),
) -> WorkerSpec:
    """How many processes a run gets, each one's threads, and its bytes for recordings.

    On GPUs one process for each of `devices`, `room` being that of every one; on MPS one; on a CPU
    one per core as far as there is memory. The cores are shared out among them, but with no more
    threads than torch has here (OMP_NUM_THREADS).

    Raises:
        InputError: not even one process fits; with the numbers.
    """
    places = max(1, len(devices))
    on_cpu = not needs.on_device and config.device != "mps"
    most = config.workers or (min(cores(), MOST_WORKERS) if on_cpu else places)
    each, budget = fit_workers(needs, -(-most // places), room)
    workers = min(most, each * places)
    threads = max(1, min(cores() // workers, torch.get_num_threads()))
    overflow = default_budget() // workers if needs.on_device else 0
    return WorkerSpec(config, workers, threads, budget, overflow, tuple(map(str, devices)))


def gpus_for(config: RunConfig, needs: MemoryEstimate) -> list[torch.device | GpuGroup]:
    """The GPUs that processes may take in turn: those with room, where none is named.

    In groups, where a process has several. None for a model that is spread over all.
    """
    if config.device_map is not None or config.device not in ("auto", machine.GPU):
        return []
    places: list[torch.device | GpuGroup] = [*gpus()]
    if config.joins_gpus:
        groups = gpu_groups(config.devices, config.gpus_per_worker)
        places = [group if len(group) > 1 else group[0] for group in groups]
    return [place for place in places if room_for(place) >= needs.total(1, 0)]


class Worker:
    """Does jobs in this process, with one model and one run's context at a time."""

    def __init__(self, on_progress: Callable[[str], None] | None = None, number: int = 0) -> None:
        self.on_progress, self.number = on_progress, number
        self._model: tuple[object, LanguageModel] | None = None
        self._context: tuple[WorkerSpec, RunContext] | None = None

    def holds(self, config: RunConfig) -> bool:
        """Whether the configuration's model is loaded."""
        return self._model is not None and self._model[0] == config.loading

    def model(self, config: RunConfig) -> LanguageModel:
        """The configuration's model, loaded if it is not the one that is there."""
        if self._model is None or not self.holds(config):
            self.close()  # before another is loaded
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
                model, config.starts, config.batch_lines, memory, tokens, positions=at
            )
            self._context = (spec, context)
        return self._context[1]

    def close(self) -> None:
        """Let go of the context and of the model, and of the memory that they had on a GPU."""
        self._model = self._context = None
        release_memory()


class Executor:
    """Does jobs in worker processes; of runs with one worker, in this process.

    One serves all runs of a command: starting a process and loading a model takes seconds. Use it
    as a context, so that the processes end. The model in this process is dropped before workers
    load theirs.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.pools: list[ProcessPoolExecutor] = []  # of one process each
        self.gpu_peaks: dict[int, int] = {}  # by process: the most bytes it held on GPUs
        self._busy: dict[Future[Any], int] = {}  # a job, and the place of its pool
        self._known: list[set[str]] = []  # by pool: tasks whose texts it recorded

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._end(at_once=kind is not None)  # don't wait for jobs that are still going

    def begin_run(self) -> None:
        """A run begins: what is known of the processes' last one is dropped, as they drop it."""
        self.gpu_peaks.clear()
        for known in self._known:
            known.clear()

    def do(self, jobs: Iterable[tuple[str, WorkerSpec, Job[T]]]) -> Iterator[tuple[str, T]]:
        """Do labelled jobs side by side and give each label and result, in the order of the jobs.

        All have the same number of workers. A worker that was killed, e.g. for want of memory, is a
        `RunError`; finished jobs stay.
        """
        waiting = list(jobs)
        done = _in_order(self.completed(waiting))
        yield from zip([label for label, _, _ in waiting], done, strict=True)

    def do_plain(
        self, jobs: Iterable[tuple[str, Callable[[], T]]], workers: int
    ) -> Iterator[tuple[str, T]]:
        """The same for jobs that need no model, in so many processes of one thread each."""
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
        """Do labelled jobs and give each one's place and result as soon as it is done.

        With several workers those that cost most begin first (`costs`: of the first jobs; others
        cost nothing), and among them rather those of a task whose texts the free worker recorded
        (`tasks`: of the first jobs). One takes them as they come, so that neighbours share
        recordings.
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
        """Begin a job; with one worker it is done here, and the future is finished.

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
        """What a finished job gave, or its error."""
        with _killed_workers():
            result, process, peak = future.result()
        self.gpu_peaks[process] = peak
        return result

    def _send(self, count: int, task: str, call: Callable[..., T], *given: Any) -> Future[T]:
        """Have a call made in one of so many processes."""
        with _killed_workers():
            self._start(count)
            place = self._free(task)
            with _no_interrupt():
                future = self.pools[place].submit(call, *given)
        self._busy[future] = place
        self._known[place].update({task} if task else ())
        return future

    def _free(self, task: str = "") -> int:
        """The place of the process that has least to do; one that knows the task, if it can be."""
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
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads, of each process
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
    """Begin so many at a time, of a total; each one's place as soon as it is finished."""
    running: dict[Future[T], int] = {}
    while total or running:
        while total and len(running) < count:
            place, future = begin()
            running[future], total = place, total - 1
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future


def _in_order(results: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Results in the order of their places, each as soon as those before it are there."""
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


_WORKER: list[Worker] = []
"""What does the jobs in a worker process; empty in the parent."""


def _begin(parent: int, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be held back
    warnings.simplefilter("ignore")  # the parent has said what is to be said
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    # PEFT's progress bars share a lock between processes; a worker that is ended would leave it.
    import_module("tqdm").tqdm.set_lock(threading.RLock())
    _WORKER.append(Worker(number=number))


def _leave_with(parent: int) -> None:
    """End this worker when its parent is gone, even if it was killed."""
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
    with memory_errors(f"at work on {label!r}", spec.more_room()):
        result = job(worker.open(spec))
    return result, os.getpid(), sum(map(peak_memory, gpus()))


def loaded_model(
    config: RunConfig, on_progress: Callable[[str], None] | None = None
) -> LanguageModel:
    """Load the model of a configuration; its workers share the weights."""
    return load_model(**config.loading, shared=config.workers != 1, on_progress=on_progress)
