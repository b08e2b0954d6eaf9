"""Jobs that any number of processes do together, through claims in a store (`oocr.leases`)."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from oocr.errors import RunError
from oocr.io import DiskError, Record
from oocr.leases import Claim, Claims, board_of
from oocr.runs.processes.executor import KilledWorkerError
from oocr.runs.processes.job_order import preferred
from oocr.runs.progress import ProgressReport
from oocr.stores import Store
from oocr.words import short_list

T = TypeVar("T")
JOBS, FAILED = "jobs.json", ".failed"

SHORTEST_WAIT, LONGEST_WAIT = 0.1, 0.1
"""Between looks at the store while there is nothing to do: seconds at first, then leases."""


class JobList(Record):
    """The jobs of a stage, with what each costs beside the others; `order` is its place."""

    stage: str
    order: int
    labels: tuple[str, ...]
    costs: tuple[float, ...]


class Failure(Record):
    """A job that ended with an error, and where; `when` is a time of that machine's clock."""

    label: str
    host: str
    pid: int
    when: str
    error: str
    trace: str


def job_name(place: int) -> str:
    """A job's name in its store."""
    return f"{place:06d}"


def done_here(job: Callable[[], T]) -> Future[T]:
    """A job that is done in this process: its future is finished."""
    future: Future[T] = Future()
    try:
        future.set_result(job())
    except Exception as error:
        future.set_exception(error)
    return future


@dataclass
class SharedJobs:
    """This process's part of jobs that several do; each job is tried once in it."""

    claims: Claims
    progress: ProgressReport
    order: int = 0
    tried: set[tuple[Store, str]] = field(default_factory=set[tuple[Store, str]])
    known: set[str] = field(default_factory=set[str])

    def do(
        self,
        store: Store,
        name: str,
        jobs: Sequence[tuple[str, Callable[[], Future[Any]]]],
        costs: Sequence[float],
        result: Callable[[Future[Any]], Any],
        most: int,
        tasks: Sequence[str] = (),
        keep: Callable[[], object] = lambda: None,
    ) -> None:
        """Do the jobs that nobody else does, the dearest first, until all are done.

        Args:
            store: of their claims.
            name: of the stage that they are.
            jobs: each one's label, and what begins it; all processes name the same ones.
            costs: of each; none: all the same.
            result: of a finished future; raises its error.
            most: how many this process does at a time.
            tasks: whose recordings each of the first jobs needs, which this process then has.
            keep: brings a finished job's results to where others find them, before its marker.

        Raises:
            RunError: the store is full or away, a worker was killed, or jobs failed; the others are
                done then.
        """
        costs = costs or [1.0] * len(jobs)
        labels = tuple(label for label, _ in jobs)
        listed = JobList(stage=name, order=self.order, labels=labels, costs=tuple(costs))
        self.order += 1
        self.progress.stage(name, len(jobs))
        order = sorted(range(len(jobs)), key=lambda place: -costs[place])
        todo = {job_name(place): place for place in order}
        cost = {job_name(place): each for place, each in enumerate(costs)}
        of = {job_name(place): task for place, task in enumerate(tasks)}
        running: dict[Future[Any], Claim] = {}
        seen, pause, longest = 0, SHORTEST_WAIT, LONGEST_WAIT * self.claims.lease
        while True:
            board = board_of(store)
            if JOBS not in board.names:
                store.write(JOBS, listed.model_dump_json().encode())
            left = [job for job in todo if job not in board.done]
            for _ in range(len(jobs) - len(left) - seen):
                self.progress.advance()
            seen = len(jobs) - len(left)
            if not left and not running:
                return
            mine = [job for job in left if (store, job) not in self.tried]
            taken = len(running)
            while mine and len(running) < most:
                begun = {
                    task for job, task in of.items() if job in board.claimed or job in board.done
                }
                mine = preferred(mine, cost, of, self.known, begun)
                claim = self.claims.next(store, mine, board, lambda job: labels[todo[job]])
                if claim is None:
                    break
                mine.remove(claim.job)
                self.known |= {of[claim.job]} if claim.job in of else set()
                board.claimed[claim.job] = claim.number
                _, begin = jobs[todo[claim.job]]
                running[begin()] = claim
            if running:
                done = wait(running, timeout=longest, return_when=FIRST_COMPLETED).done
                for future in done:
                    claim = running.pop(future)
                    if self._went_well(future, claim, labels, result):
                        keep()
                        self.claims.release(claim, self.claims.clock() - claim.began)
                        if f"{claim.job}{FAILED}" in board.names:
                            store.remove(f"{claim.job}{FAILED}")
            elif not mine and not any(job in board.claimed for job in left):
                _refuse(store, left)
            else:
                time.sleep(pause)
            pause = SHORTEST_WAIT if len(running) > taken else min(2 * pause, longest)

    def _went_well(
        self,
        future: Future[Any],
        claim: Claim,
        labels: Sequence[str],
        result: Callable[[Future[Any]], Any],
    ) -> bool:
        """Whether a finished job did; if not, what went wrong is written down."""
        try:
            result(future)
        except (DiskError, KilledWorkerError):  # this machine's trouble, not the job's
            raise
        except Exception as error:
            self.tried.add((claim.store, claim.job))
            label = labels[int(claim.job)]
            self.progress.note(f"failed: {label}: {error}")
            _write_failure(claim, label, error)
            self.claims.release(claim)
            return False
        return True


def _refuse(store: Store, left: Sequence[str]) -> None:
    """Say what could not be done."""
    failures = [failure_of(store, f"{job}{FAILED}") for job in left]
    first = next((failure for failure in failures if failure), None)
    named = short_list(failure.label for failure in failures if failure)
    raise RunError(
        f"{len(left)} of the jobs could not be done ({named}): "
        f"{first.error if first else 'see the log'}; the others are done and stay; "
        f"more in {store}/*{FAILED}"
    )


def _write_failure(claim: Claim, label: str, error: BaseException) -> None:
    failure = Failure(
        label=label,
        host=socket.gethostname(),
        pid=os.getpid(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        error=f"{type(error).__name__}: {error}",
        trace="".join(traceback.format_exception(error)),
    )
    text = failure.model_dump_json(indent=1) + "\n"
    claim.store.write(f"{claim.job}{FAILED}", text.encode())


def failure_of(store: Store, name: str) -> Failure | None:
    """A job's failure in its file; None: it has none."""
    with suppress(OSError, ValueError):
        return Failure.model_validate_json(store.read(name))
    return None
