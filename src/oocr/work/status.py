"""How far a run is, read from its folder, or from a URL, by anybody who can read it."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from pydantic import ValidationError

from oocr.errors import InputError
from oocr.leases import Holder, board_of, claim_name, done_of, holder_of, is_gone, seconds_of
from oocr.runs.folder import WORK, read_made_with
from oocr.runs.records import MadeWith
from oocr.stores import TOGETHER, Store
from oocr.work.logs import LOGS
from oocr.work.shared_jobs import FAILED, JOBS, Failure, JobList, failure_of, job_name

TIMED = 300
"""Finished jobs of a stage whose times are read."""


@dataclass(frozen=True, slots=True)
class InWork:
    """A job that is in work: since so many seconds, by its holder's clock.

    `silent` are seconds since its last heartbeat, by the storage's clock.
    """

    label: str
    holder: Holder
    seconds: float
    silent: float

    @property
    def gone(self) -> bool:
        """Whether it will be taken over."""
        return self.silent > self.holder.lease or is_gone(self.holder)


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A stage; `left` are the seconds that it will take those who are at work now."""

    name: str
    jobs: int
    done: int
    in_work: list[InWork]
    failures: list[Failure]
    left: float | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run; of one that `oocr run` does there are no stages, and `parts` are what is finished."""

    run: Store
    finished: bool
    made_with: MadeWith | None
    stages: list[StageStatus]
    parts: dict[str, int]
    logs: list[str]


def status_of(run: Store) -> RunStatus:
    """Look at a run's folder.

    Raises:
        InputError: it is none.
    """
    files = run.names()
    if "config.yaml" not in files:
        raise InputError(f"{run} is not a run folder: it holds no config.yaml")
    stages = _stages(run)
    names = [name.rpartition("/")[2] for name in run.find("arms/[!.]*")] if not stages else []
    ends = ("-explained", "-free")
    parts = Counter(name.partition("-")[0] for name in names if not name.endswith(ends))
    logs = [f"{run}/{name}" for name in run.find(f"{LOGS}/*.log")]
    finished = "run.json" in files and all(s.done == s.jobs for s in stages)
    finished = finished and (not stages or stages[-1].name == "writing")
    return RunStatus(run, finished, read_made_with(run), stages, dict(parts), logs)


def _stages(run: Store) -> list[StageStatus]:
    """Of the newest state of the run."""
    lists = run.find(f"{WORK}/*/*/{JOBS}")
    if not lists:
        return []
    newest = max(lists, key=run.written).split("/")[1]
    state = run.below(f"{WORK}/{newest}")
    read: list[tuple[JobList, Store]] = []
    for path in lists:
        _, of, stage, _ = path.split("/")
        if of == newest:
            with suppress(ValidationError, OSError):
                read.append((JobList.model_validate_json(run.read(path)), state.below(stage)))
    now = _time_there(state)
    return [_stage(jobs, of, now) for jobs, of in sorted(read, key=lambda pair: pair[0].order)]


def _time_there(store: Store) -> float:
    """The time by the clock that stamps files there, which may not be this machine's."""
    with suppress(Exception):  # a store that may only be read: this machine's, then
        store.write(".now", b"")
        return store.written(".now")
    return time.time()


def _stage(jobs: JobList, store: Store, now: float) -> StageStatus:
    board = board_of(store)
    in_work: list[InWork] = []
    for job, number in sorted(board.claimed.items()):
        name = claim_name(job, number)
        with suppress(OSError):
            content, written = store.read(name), store.written(name)
            if (holder := holder_of(content)) is not None:
                silent = max(0.0, now - written)
                in_work.append(InWork(holder.label, holder, seconds_of(content), silent))
    failures = [failure_of(store, name) for name in sorted(board.names) if name.endswith(FAILED)]
    costs = {job_name(place): cost for place, cost in enumerate(jobs.costs)}
    done = {job: cost for job, cost in costs.items() if job in board.done}
    first = list(islice(done, TIMED))
    with ThreadPoolExecutor(TOGETHER) as pool:
        timed = dict(zip(first, pool.map(lambda job: done_of(store, job), first), strict=True))
    spent = sum(made.seconds for made in timed.values() if made)
    cost = sum(done[job] for job, made in timed.items() if made)
    rest = sum(costs.values()) - sum(done.values())
    hands = sum(not each.gone for each in in_work)
    left = rest * spent / cost / hands if cost and hands else None
    counts = len(jobs.labels), len(done)
    return StageStatus(jobs.stage, *counts, in_work, [f for f in failures if f], left)
