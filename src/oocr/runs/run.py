"""One run: choose on validation tasks, train the test arms and controls, explain, judge, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl
import torch

from oocr.data.examples import Example
from oocr.data.tokens import RowTokens
from oocr.engine.training import stack_tokens
from oocr.io import remove_unfinished, write_text
from oocr.models.language_model import LanguageModel
from oocr.runs.arms import ArmPlan, ScoredArm, arm_id, grouped, load_intervention, run_arms
from oocr.runs.config import AdapterGrid, RunConfig, VectorGrid
from oocr.runs.context import RunContext, TrainingTokens
from oocr.runs.controls import (
    RowJobs,
    base_jobs,
    ceiling_jobs,
    example_jobs,
    free_jobs,
    random_jobs,
)
from oocr.runs.executor import (
    Job,
    ModelSlot,
    ProcessExecutor,
    RunJobs,
    SerialExecutor,
    WorkerSpec,
    plan_workers,
)
from oocr.runs.explain_stage import explain_jobs
from oocr.runs.folder import only_one, run_folder, same_threads
from oocr.runs.grid import by_loss, choose, grid_plans, grids_of, only_point, reported_plans
from oocr.runs.memory_estimate import memory_estimate
from oocr.runs.memory_plan import MemoryEstimate, PeakMemory, gib, room_for
from oocr.runs.progress import Progress, SilentProgress, timed
from oocr.runs.records import ArmRecord, Continuation, Method, ModelInfo, Selection
from oocr.runs.resolve import ResolvedRun, check_fits, own_answers, resolve, with_answers
from oocr.runs.write_results import Results, finish, samples_of
from oocr.steering.vectors import Vector
from oocr.tasks.task import TaskSet

T = TypeVar("T")
CRITERION = {
    "accuracy": "mean over facets of answer-balanced accuracy on the validation tasks' probes; "
    "ties by the log-probability of the answer",
    "unbalanced": "mean over facets of accuracy on the validation tasks' probes; ties by the "
    "log-probability of the answer",
    "log_odds": "mean log-probability of the trained option on the validation situations",
    "loss": "minus the loss on held-out training rows, nats per item",
}


@dataclass(frozen=True)
class PreparedRun:
    """A resolved run that fits its model, with all that is needed of the model to plan it.

    Attributes:
        run: configuration and tasks.
        model: facts about the model, which need not stay loaded.
        tokens: the training rows that were tokenized so far, and the tokenizer.
        most_tokens: that one pass over arms side by side may have.
        needs: its memory.
        device: where the model is.
    """

    run: ResolvedRun
    model: ModelInfo
    tokens: TrainingTokens
    most_tokens: int
    needs: MemoryEstimate
    device: torch.device

    @staticmethod
    def of(run: ResolvedRun, model: LanguageModel) -> PreparedRun:
        """Check a run against its model, and predict its memory; nothing is trained.

        Raises:
            InputError: the run does not fit the model, or cannot be tokenized.
        """
        check_fits(run, model)
        rows = RowTokens(model.tokenizer)
        needs = memory_estimate(run, model, rows)
        return PreparedRun(
            *(run, ModelInfo.of(model), TrainingTokens(rows), stack_tokens(model), needs),
            model.device,
        )


def run(
    config: RunConfig,
    model: LanguageModel,
    out: Path,
    *,
    base: Path = Path(),
    progress: Progress | None = None,
    command: str = "",
) -> Path:
    """Do a run, or what is left of it, and return its folder.

    Args:
        config: what to do.
        model: the loaded model.
        out: folder of all runs.
        base: folder that relative paths of the configuration start from.
        progress: told of what is going on.
        command: how the run was asked for, to be shown.

    Raises:
        InputError: the configuration does not fit model, task or memory; nothing was computed.
        RunError: the disk is full, a file is unreadable, another process is at work on this run;
            what was computed stays.
    """
    prepared = PreparedRun.of(resolve(config, base), model)
    models = ModelSlot()
    models.put(prepared.run.config, model)
    with ProcessExecutor(SerialExecutor(models)) as executor:
        return do_run(prepared, executor, out, progress=progress, command=command)


def do_run(
    prepared: PreparedRun,
    executor: ProcessExecutor,
    out: Path,
    *,
    progress: Progress | None = None,
    command: str = "",
) -> Path:
    """Do a prepared run with the executor of a command (see `run`)."""
    say = progress or SilentProgress()
    config, tasks, needs = prepared.run.config, prepared.run.tasks, prepared.needs
    room = room_for(prepared.device)
    fit, threads = plan_workers(needs, config.workers, room)
    if fit.workers < (config.workers or 1):
        say.note(
            f"{fit.workers} workers instead of {config.workers}: {gib(room)} of memory available"
        )
    folder = run_folder(config, out)
    write_text(folder / "config.yaml", config.yaml())
    kept_threads = torch.get_num_threads()
    with only_one(folder), ExitStack() as stack:
        remove_unfinished(folder)
        remove_unfinished(folder / "arms")
        threads = same_threads(folder, threads)
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, kept_threads)
        memory = stack.enter_context(PeakMemory())
        # A model that was made in memory cannot be loaded by other processes.
        workers = 1 if prepared.model.model_source.get("kind") == "memory" else fit.workers
        budget = None if needs.on_device else fit.budget  # of main memory
        spec = WorkerSpec(config, threads, workers, budget)
        if workers == 1:
            executor.serial.open(spec, prepared.tokens)
        jobs = RunJobs(executor, spec)
        if tasks.asked_first:
            ask = partial(_own_answers, items=tasks.asked_first, folder=folder)
            ((_, answers),) = jobs.each([("own answers", ask)])
            tasks = with_answers(tasks, answers, prepared.model.model)
        results = _compute(prepared, tasks, jobs, folder / "arms", say)
        results.peak_memory_gib = memory.sample()
        say.stage("judging and writing", 1)
        with timed(results.stages, "judging and writing"):
            finish(results, folder, command or f"oocr run {folder / 'config.yaml'}")
        say.advance()
    return folder


def _own_answers(
    context: RunContext, *, items: tuple[Example, ...], folder: Path
) -> dict[str, int]:
    return own_answers(context.model, items, folder)


def _compute(
    prepared: PreparedRun, tasks: TaskSet, jobs: RunJobs, folder: Path, say: Progress
) -> Results:
    config = prepared.run.config
    stages: dict[str, float] = {}
    grids = grids_of(config)
    with timed(stages, "choosing"):
        selection = _select(prepared, tasks, grids, jobs, folder, say)
    write_text(folder.parent / "selection.json", selection.model_dump_json(indent=1) + "\n")
    with timed(stages, "training and scoring"):
        plans = reported_plans(config, tasks, grids, selection)
        ceiling = ceiling_jobs(tasks, folder)
        trained, frames = _train(prepared, plans, jobs, folder, say, "training arms", ceiling)
    arms = [arm.record for arm in trained]
    frames += [arm.reported_rows for arm in trained]

    def stage(name: str, todo: Sequence[tuple[str, Job[T]]], timer: str) -> list[T]:
        """What the jobs of a stage give."""
        say.stage(name, len(todo))
        results: list[T] = []
        with timed(stages, timer):
            for label, result in jobs.each(todo):
                say.advance(label)
                results.append(result)
        return results

    explained: list[ArmRecord] = []
    if config.explain.enabled and config.adapter is not None and config.adapter.layers != "all":
        explained = [arm for arm in arms if arm.method == "adapter" and arm.role == "test"]
    frames += stage(
        "explaining LoRAs", explain_jobs(config, tasks, explained, folder), "explaining"
    )
    fixed = base_jobs(tasks, folder)
    count = config.controls.random_directions
    for name, like in _like(arms, explained, folder).items() if count else ():
        fixed += random_jobs(tasks, like, name, count, folder)
    frames += stage("base and random directions", fixed, "base and random directions")
    if free := free_jobs(tasks, arms, folder):
        frames += stage("free answers", free, "free answers")
    shown = example_jobs(tasks, arms, config.explain.examples, folder)
    examples: list[Continuation] = []
    for continuations in stage("examples", shown, "examples"):
        examples += continuations
    positions = config.vector.positions if config.vector else ""
    return Results(
        config=config,
        tasks=tasks,
        model=prepared.model,
        rows=pl.concat(frames, how="diagonal_relaxed"),
        arms=arms,
        explained=explained,
        selection=selection,
        examples=examples,
        samples=samples_of(tasks, prepared.tokens.rows.tokenizer, positions),
        stages=stages,
    )


def _train(
    prepared: PreparedRun,
    plans: Sequence[ArmPlan],
    jobs: RunJobs,
    folder: Path,
    say: Progress,
    stage: str,
    others: RowJobs | None = None,
) -> tuple[list[ScoredArm], list[pl.DataFrame]]:
    """Train arms; `others` are jobs that need no arm, which keep the cores busy to the end."""
    ids = [arm_id(plan) for plan in plans]
    assert len(set(ids)) == len(ids), "two arms would share a folder"
    others = others or []
    say.stage(stage, len(plans) + len(others))
    batch_lines = prepared.run.config.batch_lines
    groups = grouped(plans, prepared.tokens, batch_lines, prepared.most_tokens)
    todo: list[tuple[str, Job[list[ScoredArm] | pl.DataFrame]]] = [
        *[(_label(group), partial(run_arms, plans=group, folder=folder)) for group in groups],
        *others,
    ]
    arms: dict[str, ScoredArm] = {}
    frames: list[pl.DataFrame] = []
    for label, result in jobs.each(todo):
        if isinstance(result, pl.DataFrame):
            frames.append(result)
            say.advance(label)
            continue
        for arm in result:
            arms[arm.record.id] = arm
            say.advance(label)
    return [arms[name] for name in ids], frames


def _label(plans: Sequence[ArmPlan]) -> str:
    first = plans[0]
    words = [f"{first.method} at block {first.layer}", first.control, first.task.member]
    more = f" and {len(plans) - 1} more" if len(plans) > 1 else ""
    return ", ".join(word for word in words if word) + more


def _select(
    prepared: PreparedRun,
    tasks: TaskSet,
    grids: Mapping[Method, VectorGrid | AdapterGrid],
    jobs: RunJobs,
    folder: Path,
    say: Progress,
) -> Selection:
    """Train the grid on the validation tasks and choose a point per method."""
    config = prepared.run.config
    given = {name: only_point(name, grid, config) for name, grid in grids.items()}
    open_grids = {name: grid for name, grid in grids.items() if given[name] is None}
    plans = [plan for grid in open_grids.values() for plan in grid_plans(grid, config, tasks)]
    plans.sort(key=lambda plan: plan.task.name)
    arms, _ = _train(prepared, plans, jobs, folder, say, "choosing on validation tasks")
    points = [point for point in given.values() if point is not None]
    for method, grid in open_grids.items():
        of_method = [arm for arm in arms if arm.record.method == method]
        points += choose(method, grid, config, tasks, of_method)
    return Selection(
        criterion=_criterion(tasks),
        tasks=tuple(task.name for task in tasks.validation),
        grid=tuple(points),
    )


def _criterion(tasks: TaskSet) -> str:
    if by_loss(tasks):
        return CRITERION["loss"]
    return CRITERION[tasks.score if tasks.balance else "unbalanced"]


def _like(
    arms: Sequence[ArmRecord], explained: Sequence[ArmRecord], folder: Path
) -> dict[str, list[Vector]]:
    """The vectors whose site and norm random directions take, by the name of the null."""
    trained = [arm for arm in arms if arm.method == "vector" and arm.role == "test"]
    vectors = [load_intervention(folder, arm) for arm in trained]
    of_nulls = {"random direction": [vector for vector in vectors if isinstance(vector, Vector)]}
    for null, swap in (("at span", "swap-at-span"), ("everywhere", "swap-everywhere")):
        paths = [folder / f"{arm.id}-explained" / f"{swap}.safetensors" for arm in explained]
        of_nulls[f"random direction {null}"] = list(map(Vector.load, paths))
    return {name: like for name, like in of_nulls.items() if like}
