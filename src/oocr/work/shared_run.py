"""A run that any number of processes do together, through claims in its folder.

Each process goes through the run's stages, and does the jobs of each that nobody is at work on.
A stage begins when the one before is whole; the last job judges the run and writes its tables.
Results are those of `oocr run`: jobs keep them under the same keys, and every job that is done
twice gives the same.

Below the run's folder, work/<state>/<stage>/ holds the stage's claims (`oocr.leases`) and
jobs.json (`Jobs`). A state is everything that the numbers depend on.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from oocr.errors import RunError
from oocr.io import DiskError, Record, key_of, remove_unfinished, write_text
from oocr.leases import LEASE, Claim, Claims, board_of
from oocr.runs import controls, grid
from oocr.runs.arms import ArmPlan
from oocr.runs.context import RunContext
from oocr.runs.executor import Executor, Job, JobResult
from oocr.runs.folder import (
    WORK,
    beside_others,
    check_makers,
    makers,
    redo_if_broken,
    same_threads,
)
from oocr.runs.progress import ProgressReport, timed
from oocr.runs.records import ArmRecord, Selection
from oocr.runs.run import (
    PreparedRun,
    RunStages,
    new_run_folder,
    note_changes,
    run_stages,
    workers_for,
    write_results,
)
from oocr.runs.write_results import OnJudged
from oocr.words import some_of
from oocr.work.logs import logged

JOBS, FAILED = "jobs.json", ".failed"

SHORTEST_WAIT, LONGEST_WAIT = 0.1, 0.1
"""Between looks at the folder while there is nothing to do: seconds at first, then leases."""

TIMERS = {"training": "training and scoring", "random directions": "base and random directions"}
"""What run.json calls the time of a stage."""


class Jobs(Record):
    """The jobs of a stage, with what each costs beside the others; `order` is the stage's place."""

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
    """A job's name in its stage's folder."""
    return f"{place:06d}"


@dataclass
class SharedRun:
    """A run's stages, whose jobs are shared with other processes through claims."""

    stages: RunStages
    claims: Claims
    order: int = 0
    tried: set[Path] = field(default_factory=set[Path])

    @property
    def executor(self) -> Executor:
        """Does the jobs that this process takes."""
        return self.stages.executor

    @property
    def root(self) -> Path:
        """The folder of the claims of this state of the run."""
        prepared, tasks = self.stages.prepared, self.stages.tasks
        config = prepared.run.config.anywhere
        hashes = [(task.name, task.train_hash, task.asked_hash) for task in tasks.all_tasks]
        made = makers(self.stages.folder.parent)
        state = key_of(config.yaml(), hashes, prepared.model.model_fingerprint, str(made))
        return self.stages.folder.parent / WORK / state

    def do(self, finish: Callable[[], None]) -> None:
        """Do what is left of the run beside others, until all of it is done.

        `finish` writes the run's results; one process does it.
        """
        stages = self.stages
        config, folder = stages.prepared.run.config, stages.folder
        if first := stages.first_jobs():
            self.share("own answers", first)
            stages.ask_first()
        tasks = stages.tasks
        self.train("choosing", grid.selection_plans(config, tasks))
        self.share("selection", [("selection", partial(_alone, do=self._select))], here=True)
        selection = self._selection()
        plans = grid.reported_plans(config, tasks, selection)
        beside = [*controls.ceiling_jobs(tasks, folder), *controls.base_jobs(tasks, folder)]
        self.train("training", plans, beside)
        arms = [_record(folder, plan) for plan in plans if plan.role == "test"]
        explained = [*stages.explain_jobs(arms), *controls.free_jobs(tasks, arms, folder)]
        self.share("explaining", explained)
        self.share("random directions", stages.control_jobs(arms))
        self.share("writing", [("writing", partial(_alone, do=finish))], here=True)

    def train(self, name: str, plans: Sequence[ArmPlan], others: Sequence[Any] = ()) -> None:
        """A stage of arms, and of jobs beside them."""
        groups, jobs, costs = self.stages.arm_jobs(plans)
        folder = self._folder(name)
        here = {path.name for path in self.stages.folder.glob("*")}
        for place, group in enumerate(groups):  # what a user deleted is not done
            if not here.issuperset(plan.id for plan in group):
                (folder / f"{job_name(place)}.done").unlink(missing_ok=True)
        self.share(name, [*jobs, *others], [*costs, *[0.0] * len(others)])

    def _folder(self, name: str) -> Path:
        """Of a stage's claims."""
        return self.root / name.replace(" ", "-")

    def share(
        self,
        name: str,
        jobs: Sequence[tuple[str, Job[Any]]],
        costs: Sequence[float] = (),
        *,
        here: bool = False,
    ) -> None:
        """Do a stage's jobs that nobody else does, the dearest first, until all are done.

        `here`: in this process itself, not in its workers.
        """
        folder = self._folder(name)
        costs = costs or [1.0] * len(jobs)
        labels = tuple(label for label, _ in jobs)
        if not (folder / JOBS).exists():
            listed = Jobs(stage=name, order=self.order, labels=labels, costs=tuple(costs))
            write_text(folder / JOBS, listed.model_dump_json())
        self.order += 1
        with timed(self.stages.seconds, TIMERS.get(name, name)):
            self._share(folder, jobs, labels, costs, here=here)

    def _share(
        self,
        folder: Path,
        jobs: Sequence[tuple[str, Job[Any]]],
        labels: Sequence[str],
        costs: Sequence[float],
        *,
        here: bool,
    ) -> None:
        progress = self.stages.progress
        progress.stage(folder.name.replace("-", " "), len(jobs))
        order = sorted(range(len(jobs)), key=lambda place: -costs[place])
        todo = {job_name(place): place for place in order}
        most = 1 if here else self.stages.spec.workers
        running: dict[Future[JobResult], Claim] = {}
        seen, pause, longest = 0, SHORTEST_WAIT, LONGEST_WAIT * self.claims.lease
        while True:
            board = board_of(folder)
            left = [job for job in todo if job not in board.done]
            for _ in range(len(jobs) - len(left) - seen):
                progress.advance()
            seen = len(jobs) - len(left)
            if not left and not running:
                return
            mine = [job for job in left if folder / job not in self.tried]
            taken = len(running)
            while mine and len(running) < most:
                claim = self.claims.next(folder, mine, board, lambda job: labels[todo[job]])
                if claim is None:
                    break
                mine.remove(claim.job)
                board.claimed[claim.job] = claim.number
                running[self._submit(*jobs[todo[claim.job]], here=here)] = claim
            if running:
                done = wait(running, timeout=longest, return_when=FIRST_COMPLETED).done
                for future in done:
                    self._end(future, running.pop(future), labels)
            elif left and all(folder / job in self.tried for job in left):
                self._refuse(folder, left)
            elif len(running) == taken:
                time.sleep(pause)
            pause = SHORTEST_WAIT if len(running) > taken else min(2 * pause, longest)

    def _submit(self, label: str, job: Job[Any], *, here: bool) -> Future[JobResult]:
        if not here:
            return self.executor.submit(label, self.stages.spec, job)
        future: Future[JobResult] = Future()
        try:
            future.set_result((job(None), 0, 0))  # type: ignore[arg-type]
        except Exception as error:
            future.set_exception(error)
        return future

    def _end(self, future: Future[JobResult], claim: Claim, labels: Sequence[str]) -> None:
        """A finished job: its marker, or what went wrong."""
        seconds = self.claims.clock() - claim.began
        try:
            self.executor.result(future)
        except DiskError:  # of this machine, or of the store: no other job would fare better
            raise
        except Exception as error:
            if isinstance(error, RunError) and "worker process was killed" in str(error):
                raise
            self.tried.add(claim.folder / claim.job)
            label = labels[int(claim.job)]
            self.stages.progress.note(f"failed: {label}: {error}")
            _write_failure(claim.folder / f"{claim.job}{FAILED}", label, error)
            self.claims.release(claim)
            return
        self.claims.release(claim, seconds)
        (claim.folder / f"{claim.job}{FAILED}").unlink(missing_ok=True)

    def _refuse(self, folder: Path, left: Sequence[str]) -> None:
        """Say what could not be done; others may still be at work on it."""
        failures = [failure_of(folder / f"{job}{FAILED}") for job in left]
        first = next((failure for failure in failures if failure), None)
        named = some_of(failure.label for failure in failures if failure)
        raise RunError(
            f"{len(left)} of the jobs could not be done ({named}): "
            f"{first.error if first else 'see the log'}; the others are done and stay; "
            f"more in {folder}/*{FAILED}"
        )

    def _select(self) -> None:
        plans = grid.selection_plans(self.stages.prepared.run.config, self.stages.tasks)
        _, jobs, _ = self.stages.arm_jobs(plans)
        arms = {arm.record.id: arm for _, trained in self.stages.each(jobs) for arm in trained}
        self.stages.select([arms[plan.id] for plan in plans])

    def _selection(self) -> Selection:
        path = self.stages.folder.parent / "selection.json"
        with redo_if_broken(path):
            return Selection.model_validate_json(path.read_text(encoding="utf-8"))


def work_on(
    prepared: PreparedRun,
    executor: Executor,
    out: Path,
    *,
    progress: ProgressReport,
    command: str,
    lease: float = LEASE,
    on_judged: OnJudged = lambda *_: None,
) -> Path:
    """Do a run beside any number of other processes that do so, wherever they are.

    `on_judged` gets the verdicts in the process that finishes the run, before they are stored.

    Raises:
        InputError: results here would round otherwise than those that are there.
        RunError: a process has the folder for itself, the storage is full or away, or jobs failed.
    """
    spec = workers_for(prepared, progress)
    folder = new_run_folder(prepared, out)
    with beside_others(folder), Claims(lease) as claims:
        note_changes(folder, prepared, progress)
        threads = same_threads(folder, spec.threads)
        check_makers(folder, prepared.model.made_with(threads))
        with (
            logged(progress, folder) as report,
            run_stages(prepared, executor, spec, folder, report) as stages,
        ):
            shared = SharedRun(stages, claims)

            def finish() -> None:
                remove_unfinished(folder / "arms")
                quiet = replace(stages, progress=ProgressReport())
                write_results(quiet, quiet.results(), command, on_judged)

            shared.do(finish)
    return folder


def _alone(_context: RunContext, *, do: Callable[[], None]) -> None:
    do()


def _record(folder: Path, plan: ArmPlan) -> ArmRecord:
    path = folder / plan.id / "arm.json"
    with redo_if_broken(path):
        return ArmRecord.model_validate_json(path.read_text(encoding="utf-8"))


def _write_failure(path: Path, label: str, error: BaseException) -> None:
    failure = Failure(
        label=label,
        host=socket.gethostname(),
        pid=os.getpid(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        error=f"{type(error).__name__}: {error}",
        trace="".join(traceback.format_exception(error)),
    )
    write_text(path, failure.model_dump_json(indent=1) + "\n")


def failure_of(path: Path) -> Failure | None:
    """A job's failure; None: it has none."""
    with suppress(OSError, ValueError):
        return Failure.model_validate_json(path.read_text(encoding="utf-8"))
    return None
