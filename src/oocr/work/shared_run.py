"""A run that any number of processes do together, through claims in its folder.

Each process goes through the run's stages, and does the jobs of each that nobody is at work on.
A stage begins when the one before is whole; the last job judges the run and writes its tables.
Results are those of `oocr run`: jobs keep them under the same keys, and every job that is done
twice gives the same.

Below the run's folder, work/<state>/<stage>/ holds the stage's claims (`oocr.leases`) and
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
from oocr.leases import LEASE, Claims
from oocr.runs import controls, grid
from oocr.runs.arm_index import ArmIndex
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
from oocr.work.logs import logged
from oocr.work.shared_jobs import SharedJobs, done_here, job_name

TIMERS = {"training": "training and scoring", "random directions": "base and random directions"}
"""What run.json calls the time of a stage."""


@dataclass
class SharedRun:
    """A run's stages, whose jobs are shared with other processes through claims."""

    stages: RunStages
    jobs: SharedJobs

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
        self.share("explaining", explained, tasks=stages.explained_tasks(arms))
        self.share("random directions", stages.control_jobs(arms))
        self.share("writing", [("writing", partial(_alone, do=finish))], here=True)

    def train(self, name: str, plans: Sequence[ArmPlan], others: Sequence[Any] = ()) -> None:
        """A stage of arms, and of jobs beside them."""
        groups, jobs, costs = self.stages.arm_jobs(plans)
        folder = self.folder(name)
        here = {path.name for path in self.stages.folder.glob("*")}
        for place, group in enumerate(groups):  # what a user deleted is not done
            if not here.issuperset(plan.id for plan in group):
                (folder / f"{job_name(place)}.done").unlink(missing_ok=True)
        tasks = [group[0].task.train_hash for group in groups]
        self.share(name, [*jobs, *others], [*costs, *[0.0] * len(others)], tasks)

    def folder(self, name: str) -> Path:
        """Of a stage's claims."""
        return self.root / name.replace(" ", "-")

    def share(
        self,
        name: str,
        jobs: Sequence[tuple[str, Job[Any]]],
        costs: Sequence[float] = (),
        tasks: Sequence[str] = (),
        *,
        here: bool = False,
    ) -> None:
        """Do a stage's jobs that nobody else does, the dearest first, until all are done.

        `tasks` are those of the first jobs; `here`: in this process itself, not in its workers.
        """
        others = [""] * (len(jobs) - len(tasks))
        begin = [
            (label, partial(self._submit, label, job, task, here=here))
            for (label, job), task in zip(jobs, [*tasks, *others], strict=True)
        ]
        most = 1 if here else self.stages.spec.workers
        with timed(self.stages.seconds, TIMERS.get(name, name)):
            self.jobs.do(self.folder(name), name, begin, costs, self.executor.result, most, tasks)

    def _submit(self, label: str, job: Job[Any], task: str, *, here: bool) -> Future[JobResult]:
        if not here:
            return self.executor.submit(label, self.stages.spec, job, task)
        return done_here(lambda: (job(None), 0, 0))  # type: ignore[arg-type]

    def _select(self) -> None:
        plans = grid.selection_plans(self.stages.prepared.run.config, self.stages.tasks)
        quiet = replace(self.stages, progress=ProgressReport())
        self.stages.select(quiet.train(plans, "", ArmIndex(self.stages.folder))[0])

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
            shared = SharedRun(stages, SharedJobs(claims, report))

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
