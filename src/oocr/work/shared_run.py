"""A run that any number of processes do together, through claims in its folder or at a URL.

Each process goes through the run's stages, and does the jobs of each that nobody is at work on.
A stage begins when the one before is whole; the last job judges the run and writes its tables.
Results are those of `oocr run`: jobs keep them under the same keys, and every job that is done
twice gives the same.

Below the run's folder or URL, work/<state>/<stage>/ holds the stage's claims (`oocr.leases`) and
jobs.json (`oocr.work.shared_jobs.JobList`). A state is everything that the numbers depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from oocr.io import key_of, remove_unfinished
from oocr.leases import LEASE, Claims, board_of
from oocr.runs import controls, grid
from oocr.runs.arm_index import ArmIndex
from oocr.runs.arms import ArmPlan
from oocr.runs.context import RunContext
from oocr.runs.folder import (
    WORK,
    check_made_with,
    read_made_with,
    redo_if_broken,
    run_threads,
    shared_lock,
)
from oocr.runs.processes.executor import Executor, Job, JobResult
from oocr.runs.progress import ProgressReport, timed
from oocr.runs.records import ArmRecord, Selection
from oocr.runs.resolve import FILE as OWN_ANSWERS
from oocr.runs.run import (
    new_run_folder,
    note_changes,
    run_stages,
    workers_for,
    write_results,
)
from oocr.runs.stages import PreparedRun, RunStages
from oocr.runs.write_results import OnJudged
from oocr.stores import FolderStore, Store, UrlStore
from oocr.work.logs import logged
from oocr.work.mirror import Mirror
from oocr.work.shared_jobs import SharedJobs, done_here, job_name

SELECTION = "selection.json"

TIMERS = {"training": "training and scoring", "random directions": "base and random directions"}
"""What run.json calls the time of a stage."""


@dataclass
class SharedRun:
    """A run's stages, whose jobs are shared with other processes through claims."""

    stages: RunStages
    jobs: SharedJobs
    mirror: Mirror

    @property
    def executor(self) -> Executor:
        """Does the jobs that this process takes."""
        return self.stages.executor

    @property
    def root(self) -> Store:
        """Of the claims of this state of the run."""
        prepared, tasks = self.stages.prepared, self.stages.tasks
        config = prepared.run.config.anywhere
        hashes = [(task.name, task.train_hash, task.asked_hash) for task in tasks.all_tasks]
        made = read_made_with(FolderStore(self.stages.folder.parent))
        state = key_of(config.yaml(), hashes, prepared.model.model_fingerprint, str(made))
        return self.mirror.store.below(f"{WORK}/{state}")

    def do(self, finish: Callable[[], None]) -> None:
        """Do what is left of the run beside others, until all of it is done.

        `finish` writes the run's results; one process does it.
        """
        stages = self.stages
        config, folder = stages.prepared.run.config, stages.folder
        if first := stages.first_jobs():
            self.share("own answers", first, files=(OWN_ANSWERS,))
            stages.ask_first()
        tasks = stages.tasks
        self.train("choosing", grid.selection_plans(config, tasks))
        select = [("selection", partial(_alone, do=self._select))]
        self.share("selection", select, files=(SELECTION,), here=True)
        selection = self._selection()
        plans = grid.reported_plans(config, tasks, selection)
        beside = controls.ceiling_jobs(tasks, folder)
        for group in controls.task_groups(tasks):
            beside += controls.base_jobs(group, folder)
        self.train("training", plans, beside)
        arms = [_record(folder, plan) for plan in plans if plan.role == "test"]
        explained = [*stages.explain_jobs(arms), *controls.free_jobs(tasks, arms, folder)]
        self.share("explaining", explained, tasks=stages.explained_tasks(arms))
        jobs, recorded = stages.control_jobs(arms)
        self.share("random directions", jobs, tasks=recorded)
        write = [("writing", partial(_alone, do=finish))]
        self.share("writing", write, files=("*",), here=True)

    def train(self, name: str, plans: Sequence[ArmPlan], others: Sequence[Any] = ()) -> None:
        """A stage of arms, and of jobs beside them."""
        groups, jobs, costs = self.stages.arm_jobs(plans)
        store = self.store(name)
        done = board_of(store).done
        here = {path.name for path in self.stages.folder.glob("*")}
        for place, group in enumerate(groups):  # what a user deleted is not done
            if job_name(place) in done and not here.issuperset(plan.id for plan in group):
                store.remove(f"{job_name(place)}.done")
        tasks = [group[0].task.train_hash for group in groups]
        self.share(name, [*jobs, *others], [*costs, *[0.0] * len(others)], tasks)

    def store(self, name: str) -> Store:
        """Of a stage's claims."""
        return self.root.below(name.replace(" ", "-"))

    def share(
        self,
        name: str,
        jobs: Sequence[tuple[str, Job[Any]]],
        costs: Sequence[float] = (),
        tasks: Sequence[str] = (),
        *,
        files: Sequence[str] = (),
        here: bool = False,
    ) -> None:
        """Do a stage's jobs that nobody else does, the dearest first, until all are done.

        `tasks` are those of the first jobs; `files` of the run are written by them (see
        `Mirror.push`); `here`: in this process itself, not in its workers.
        """
        others = [""] * (len(jobs) - len(tasks))
        begin = [
            (label, partial(self._submit, label, job, task, here=here))
            for (label, job), task in zip(jobs, [*tasks, *others], strict=True)
        ]
        most = 1 if here else self.stages.spec.workers
        with timed(self.stages.seconds, TIMERS.get(name, name)):
            keep, result = partial(self.mirror.push, files), self.executor.result
            self.jobs.do(self.store(name), name, begin, costs, result, most, tasks, keep)
            self.mirror.exchange(files)

    def _submit(self, label: str, job: Job[Any], task: str, *, here: bool) -> Future[JobResult]:
        if not here:
            return self.executor.submit(label, self.stages.spec, job, task)
        return done_here(lambda: (job(None), 0, 0))  # type: ignore[arg-type]

    def _select(self) -> None:
        plans = grid.selection_plans(self.stages.prepared.run.config, self.stages.tasks)
        quiet = replace(self.stages, progress=ProgressReport())
        self.stages.select(quiet.train(plans, "", ArmIndex(self.stages.folder))[0])

    def _selection(self) -> Selection:
        path = self.stages.folder.parent / SELECTION
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
    url: UrlStore | None = None,
) -> Path:
    """Do a run beside any number of other processes that do so, wherever they are.

    `on_judged` gets the verdicts in the process that finishes the run, before they are stored. With
    a `url` the runs are shared there, and the folder in `out` is this machine's own.

    Raises:
        InputError: results here would round otherwise than those that are there.
        RunError: a process has the folder for itself, the storage is full or away, or jobs failed.
    """
    spec = workers_for(prepared, progress)
    folder = new_run_folder(prepared, out)
    mirror = Mirror(folder, url and url.below(folder.name))
    with shared_lock(folder), Claims(lease) as claims:
        note_changes(folder, prepared, progress)
        threads = run_threads(mirror.store, spec.threads)
        check_made_with(mirror.store, prepared.model.made_with(threads))
        mirror.begin()
        with (
            logged(progress, folder) as report,
            run_stages(prepared, executor, spec, folder, report) as stages,
        ):
            shared = SharedRun(stages, SharedJobs(claims, report), mirror)

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
