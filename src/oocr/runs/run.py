"""One run: choose on validation tasks, train the test arms and controls, explain, judge, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl
import torch

from oocr.data.tokens import RowTokens
from oocr.engine.training import stack_tokens
from oocr.io import command_line, remove_unfinished, write_text
from oocr.models.language_model import LanguageModel
from oocr.runs import controls, grid
from oocr.runs.arms import ArmPlan, ScoredArm, grouped, load_intervention, reported_rows, run_arms
from oocr.runs.check_run import check_run, with_day
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext, TrainingTokens
from oocr.runs.executor import Executor, Job, Worker, WorkerSpec, gpus_for, plan_workers
from oocr.runs.explain_stage import explain_jobs, explains
from oocr.runs.folder import changed_files, only_one, run_folder, same_threads
from oocr.runs.memory_estimate import RunSample
from oocr.runs.memory_plan import DevicePart, MemoryEstimate, PeakMemory, gib, parts_of, room_for
from oocr.runs.progress import ProgressReport, timed
from oocr.runs.records import ArmRecord, ModelInfo
from oocr.runs.resolve import ResolvedRun, check_run_fits, own_answers, resolve, with_answers
from oocr.runs.write_results import OnJudged, Results, finish, samples_of
from oocr.steering.vectors import Vector
from oocr.tasks.task import TaskSet
from oocr.words import some_of

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedRun:
    """A resolved run that fits its model, with all that is needed of the model to plan it.

    The model need not stay loaded. `tokens` are the training rows that were tokenized so far;
    `most_tokens` are those that one pass over arms side by side may have; `stored` are the bytes
    that the run will write; `parts` is where the model lies; `notes` say what is to know of its
    rows under this model.
    """

    run: ResolvedRun
    model: ModelInfo
    tokens: TrainingTokens
    most_tokens: int
    needs: MemoryEstimate
    stored: int
    parts: list[DevicePart]
    notes: tuple[str, ...]

    @staticmethod
    def of(run: ResolvedRun, model: LanguageModel) -> PreparedRun:
        """Check a run and its rows against its model (`InputError`), and predict its memory."""
        check_run_fits(run, model)
        rows = RowTokens(model.tokenizer)
        notes = check_run(run, model, rows)
        run = with_day(run, model.tokenizer)
        sample = RunSample(run, model, rows)
        needs, stored = sample.memory(), sample.stored()
        info, tokens = ModelInfo.of(model), TrainingTokens(rows)
        most, parts = stack_tokens(model), parts_of(model, run.config.starts)
        return PreparedRun(run, info, tokens, most, needs, stored, parts, notes)

    def without_tokens(self) -> PreparedRun:
        """The same with no row tokenized, for a run that does not begin yet: they take memory."""
        return replace(self, tokens=TrainingTokens(RowTokens(self.tokens.rows.tokenizer)))


def run(
    config: RunConfig,
    model: LanguageModel,
    out: Path,
    *,
    base: Path = Path(),
    progress: ProgressReport | None = None,
    command: str = "",
) -> Path:
    """Do a run, or what is left of it, and return its folder, which lies in `out`.

    Relative paths of the configuration start from `base`; `command` is how the run was asked for,
    to be shown.

    InputError: the configuration does not fit model, task or memory; nothing was computed.
    RunError: the disk is full, a file is unreadable, another process is at work on this run; what
    was computed stays.
    """
    prepared = PreparedRun.of(resolve(config, base), model)
    worker = Worker()
    worker.put(prepared.run.config, model)
    with Executor(worker) as executor:
        return do_run(prepared, executor, out, progress=progress, command=command)


def do_run(
    prepared: PreparedRun,
    executor: Executor,
    out: Path,
    *,
    progress: ProgressReport | None = None,
    command: str = "",
    on_judged: OnJudged = lambda *_: None,
) -> Path:
    """Do a prepared run with the executor of a command (see `run`).

    `on_judged` gets the verdicts before they are stored.
    """
    progress = progress or ProgressReport()
    config, tasks = prepared.run.config, prepared.run.tasks
    devices = gpus_for(config, prepared.needs)
    room = min([room_for(prepared.parts), *map(room_for, devices)])
    spec = plan_workers(config, prepared.needs, room, devices)
    if spec.workers < (config.workers or 1):
        progress.note(
            f"{spec.workers} workers instead of {config.workers}: {gib(room)} of memory available"
        )
    folder = run_folder(config, out)
    write_text(folder / "config.yaml", config.yaml())
    with only_one(folder), ExitStack() as stack:
        remove_unfinished(folder)
        remove_unfinished(folder / "arms")
        if changed := changed_files(folder, config):
            progress.note(
                f"{some_of(changed)} changed since this run was done: what depends on it is done "
                f"again and takes its place in {folder}"
            )
        spec = replace(spec, threads=same_threads(folder, spec.threads))
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(spec.threads)
        memory = stack.enter_context(PeakMemory())
        executor.gpu_peaks.clear()
        # A model that was made in memory cannot be loaded by other processes.
        if prepared.model.model_source.get("kind") == "memory":
            spec = replace(spec, workers=1)
        if spec.workers == 1:
            executor.worker.open(spec, prepared.tokens)
        if tasks.asked_first:
            ask = partial(_own_answers, tasks=tasks, folder=folder)
            ((_, answers),) = executor.do([("own answers", spec, ask)])
            tasks = with_answers(tasks, answers, prepared.model.model)
        stages = RunStages(prepared, tasks, executor, spec, folder / "arms", progress)
        results = stages.results()
        results.peak_memory_gib = memory.sample()
        results.peak_gpu_gib = sum(executor.gpu_peaks.values()) / 2**30
        progress.stage("judging and writing", 1)
        with timed(results.stages, "judging and writing"):
            again = command or command_line(["oocr", "run", folder / "config.yaml"])
            finish(results, folder, again, on_judged)
        progress.advance()
    return folder


def _own_answers(context: RunContext, *, tasks: TaskSet, folder: Path) -> dict[str, int]:
    return own_answers(context.model, tasks.asked_first, folder)


@dataclass
class RunStages:
    """The stages of a run, each done by its jobs; `folder` is that of the arms.

    `seconds` are those of the stages so far.
    """

    prepared: PreparedRun
    tasks: TaskSet
    executor: Executor
    spec: WorkerSpec
    folder: Path
    progress: ProgressReport
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def results(self) -> Results:
        """Everything that the run computes, or finds in its folder."""
        config, tasks, folder = self.prepared.run.config, self.tasks, self.folder
        with timed(self.seconds, "choosing"):
            plans = grid.selection_plans(config, tasks)
            trained, _ = self._train(plans, "choosing on validation tasks")
            selection = grid.select(config, tasks, trained)
        write_text(folder.parent / "selection.json", selection.model_dump_json(indent=1) + "\n")
        with timed(self.seconds, "training and scoring"):
            plans = grid.reported_plans(config, tasks, selection)
            # Jobs that need no arm keep the cores busy to the end.
            ceiling = controls.ceiling_jobs(tasks, folder)
            trained, frames = self._train(plans, "training arms", ceiling)
        arms = [arm.record for arm in trained]
        frames += [reported_rows(arm.rows, arm.record) for arm in trained]
        reported = [arm for arm in arms if arm.role == "test"]
        explained = [a for a in reported if a.method == "adapter" and explains(config)]
        jobs = explain_jobs(config, tasks, explained, folder)
        frames += self._stage("explaining LoRAs", jobs, "explaining")
        fixed = controls.base_jobs(tasks, folder)
        count = config.controls.random_directions
        for name, like in self._like(reported, explained).items() if count else ():
            fixed += controls.random_jobs(tasks, like, name, count, folder)
        frames += self._stage("base and random directions", fixed)
        if free := controls.free_jobs(tasks, arms, folder):
            frames += self._stage("free answers", free)
        shown = controls.example_jobs(tasks, arms, config.explain.examples, folder)
        examples = self._stage("examples", shown)
        positions = config.vector.positions if config.vector else ""
        return Results(
            config=config,
            tasks=tasks,
            model=self.prepared.model,
            rows=pl.concat(frames, how="diagonal_relaxed"),
            arms=arms,
            explained=explained,
            selection=selection,
            examples=[example for of_member in examples for example in of_member],
            samples=samples_of(tasks, self.prepared.tokens.rows.tokenizer, positions),
            notes=self.prepared.notes,
            stages=self.seconds,
        )

    def _each(self, jobs: Sequence[tuple[str, Job[T]]]) -> Iterator[tuple[str, T]]:
        return self.executor.do((label, self.spec, job) for label, job in jobs)

    def _stage(self, name: str, jobs: Sequence[tuple[str, Job[T]]], timer: str = "") -> list[T]:
        """What the jobs of a stage give."""
        self.progress.stage(name, len(jobs))
        results: list[T] = []
        with timed(self.seconds, timer or name):
            for label, result in self._each(jobs):
                self.progress.advance(label)
                results.append(result)
        return results

    def _train(
        self, plans: Sequence[ArmPlan], stage: str, others: controls.RowJobs | None = None
    ) -> tuple[list[ScoredArm], list[pl.DataFrame]]:
        """Train and score arms; `others` are jobs that are done beside them."""
        assert len({plan.id for plan in plans}) == len(plans), "two arms would share a folder"
        prepared, others = self.prepared, others or []
        self.progress.stage(stage, len(plans) + len(others))
        batch_lines = prepared.run.config.batch_lines
        groups = grouped(plans, prepared.tokens, batch_lines, prepared.most_tokens)
        train = partial(run_arms, folder=self.folder)
        jobs: list[tuple[str, Job[list[ScoredArm] | pl.DataFrame]]] = [
            *[(_label(group), partial(train, plans=group)) for group in groups],
            *others,
        ]
        arms: dict[str, ScoredArm] = {}
        frames: list[pl.DataFrame] = []
        for label, result in self._each(jobs):
            if isinstance(result, pl.DataFrame):
                frames.append(result)
                self.progress.advance(label)
                continue
            for arm in result:
                arms[arm.record.id] = arm
                self.progress.advance(label)
        return [arms[plan.id] for plan in plans], frames

    def _like(
        self, reported: Sequence[ArmRecord], explained: Sequence[ArmRecord]
    ) -> dict[str, list[Vector]]:
        """The vectors whose site and norm random directions take, by the name of the null."""
        trained = [arm for arm in reported if arm.method == "vector"]
        vectors = [load_intervention(self.folder, arm) for arm in trained]
        of_nulls = {"random direction": [v for v in vectors if isinstance(v, Vector)]}
        for null, swap in (("at span", "swap-at-span"), ("everywhere", "swap-everywhere")):
            folders = [self.folder / f"{arm.id}-explained" for arm in explained]
            swaps = [Vector.load(folder / f"{swap}.safetensors") for folder in folders]
            of_nulls[f"random direction {null}"] = swaps
        return {name: like for name, like in of_nulls.items() if like}


def _label(plans: Sequence[ArmPlan]) -> str:
    first = plans[0]
    words = [f"{first.method} at block {first.layer}", first.control, first.task.member]
    more = f" and {len(plans) - 1} more" if len(plans) > 1 else ""
    return ", ".join(word for word in words if word) + more
