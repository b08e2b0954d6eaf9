"""How far a run is, read from its folder by anybody who can read it."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from oocr.errors import InputError
from oocr.io import write_atomic
from oocr.leases import Holder, board_of, claim_path, done_of, holder_of, is_gone, seconds_of
from oocr.runs.folder import WORK, makers
from oocr.runs.records import MadeWith
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

    folder: Path
    finished: bool
    made_with: MadeWith | None
    stages: list[StageStatus]
    parts: dict[str, int]
    logs: list[Path]


def status_of(folder: Path) -> RunStatus:
    """Look at a run's folder.

    Raises:
        InputError: it is none.
    """
    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder} is not a run folder: it holds no config.yaml")
    stages = _stages(folder)
    names = [path.name for path in (folder / "arms").glob("[!.]*")] if not stages else []
    ends = ("-explained", "-free")
    parts = Counter(name.partition("-")[0] for name in names if not name.endswith(ends))
    logs = sorted((folder / LOGS).glob("*.log"))
    finished = (folder / "run.json").is_file() and all(s.done == s.jobs for s in stages)
    finished = finished and (not stages or stages[-1].name == "writing")
    return RunStatus(folder, finished, makers(folder), stages, dict(parts), logs)


def _stages(folder: Path) -> list[StageStatus]:
    """Of the newest state of the run."""
    lists = list((folder / WORK).glob(f"*/*/{JOBS}"))
    if not lists:
        return []
    newest = max(lists, key=lambda path: path.stat().st_mtime).parent.parent
    read: list[tuple[JobList, Path]] = []
    for path in lists:
        if path.parent.parent == newest:
            with suppress(ValidationError, OSError):
                read.append((JobList.model_validate_json(path.read_bytes()), path.parent))
    now = _time_there(newest)
    return [_stage(jobs, of, now) for jobs, of in sorted(read, key=lambda pair: pair[0].order)]


def _time_there(folder: Path) -> float:
    """The time by the clock that stamps files there, which may not be this machine's."""
    path = folder / ".now"
    with suppress(Exception):  # a folder that may only be read: this machine's, then
        return write_atomic(path, lambda part: part.touch()).stat().st_mtime
    return time.time()


def _stage(jobs: JobList, folder: Path, now: float) -> StageStatus:
    board = board_of(folder)
    in_work: list[InWork] = []
    for job, number in sorted(board.claimed.items()):
        path = claim_path(folder, job, number)
        with suppress(OSError):
            content, written = path.read_bytes(), path.stat().st_mtime
            if (holder := holder_of(content)) is not None:
                silent = max(0.0, now - written)
                in_work.append(InWork(holder.label, holder, seconds_of(content), silent))
    failures = [failure_of(path) for path in sorted(folder.glob(f"*{FAILED}"))]
    costs = {job_name(place): cost for place, cost in enumerate(jobs.costs)}
    done = {job: cost for job, cost in costs.items() if job in board.done}
    timed = {job: done_of(folder / f"{job}.done") for job in islice(done, TIMED)}
    spent = sum(made.seconds for made in timed.values() if made)
    cost = sum(done[job] for job, made in timed.items() if made)
    rest = sum(costs.values()) - sum(done.values())
    hands = sum(not each.gone for each in in_work)
    left = rest * spent / cost / hands if cost and hands else None
    counts = len(jobs.labels), len(done)
    return StageStatus(jobs.stage, *counts, in_work, [f for f in failures if f], left)
