"""One run: choose on validation tasks, train the test arms and controls, explain, judge, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import polars as pl
import torch

from oocr.engine.training import stack_tokens
from oocr.io import remove_unfinished, write_text
from oocr.models.language_model import LanguageModel
from oocr.runs.arm_groups import stacks
from oocr.runs.arm_plans import grids_of, reported_plans, starts_of
from oocr.runs.arms import ArmPlan, arm_id, load_intervention, load_rows, run_arms
from oocr.runs.config import AdapterArm, Method, RunConfig, VectorArm
from oocr.runs.context import RunContext
from oocr.runs.continuations import example_jobs
from oocr.runs.controls import base_jobs, ceiling_jobs, random_jobs
from oocr.runs.executor import Executor, Job, SerialExecutor, WorkerPool, WorkerSpec, plan_workers
from oocr.runs.explain_stage import explain_job, swap_positions
from oocr.runs.folder import only_one, run_folder, same_threads
from oocr.runs.free_answers import free_jobs
from oocr.runs.memory_estimate import needs_of
from oocr.runs.memory_plan import MemoryEstimate, gib, room_for
from oocr.runs.peak_memory import PeakMemory
from oocr.runs.progress import Progress, SilentProgress, timed
from oocr.runs.records import ArmRecord, Continuation, Selection
from oocr.runs.resolve import check_fits, settled
from oocr.runs.selection import (
    by_loss,
    choose,
    grid_plans,
    only_point,
)
from oocr.runs.self_labels import with_own_answers
from oocr.runs.write_results import Results, finish
from oocr.steering.vectors import Vector
from oocr.tasks.task import TaskSet

CRITERION = {
    "accuracy": "mean over facets of answer-balanced accuracy on the validation tasks' probes; "
    "ties by the log-probability of the answer",
    "unbalanced": "mean over facets of accuracy on the validation tasks' probes; ties by the "
    "log-probability of the answer",
    "log_odds": "mean log-probability of the trained option on the validation situations",
    "loss": "minus the loss on held-out training rows, nats per item",
}


def run(
    config: RunConfig,
    model: LanguageModel,
    out: Path,
    *,
    base: Path = Path(),
    progress: Progress | None = None,
    command: str = "",
    workers: WorkerPool | None = None,
    needs: MemoryEstimate | None = None,
) -> Path:
    """Do a run, or what is left of it, and return its folder.

    Args:
        config: what to do.
        model: the loaded model.
        out: folder of all runs.
        base: folder that relative paths of the configuration start from.
        progress: told of what is going on.
        command: how the run was asked for, to be shown.
        workers: processes that other runs use too.
        needs: its memory, if that was predicted before.

    Raises:
        InputError: the configuration does not fit model, task or memory; nothing was computed.
        RunError: the disk is full, a file is unreadable, another process is at work on this run;
            what was computed stays.
    """
    say = progress or SilentProgress()
    config, tasks = settled(config, base)
    check_fits(config, tasks, model)
    needs, room = needs or needs_of(config, tasks, model), room_for(model.device)
    fit, threads = plan_workers(needs, config.workers, room)
    count = fit.workers
    if count < (config.workers or 1):
        say.note(f"{count} workers instead of {config.workers}: {gib(room)} of memory available")
    folder = run_folder(config, out)
    write_text(folder / "config.yaml", config.yaml())
    starts = starts_of(config)
    kept_threads = torch.get_num_threads()
    with only_one(folder), ExitStack() as stack:
        remove_unfinished(folder)
        remove_unfinished(folder / "arms")
        threads = same_threads(folder, threads)
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, kept_threads)
        memory = stack.enter_context(PeakMemory())
        tasks = with_own_answers(tasks, model, folder)
        budget = None if needs.on_device else fit.budget  # of main memory
        lab = RunContext(model, starts, config.batch_lines, budget)
        crew: Executor = SerialExecutor(lab)
        if count > 1 and model.source.get("kind") != "memory":
            shared = workers or stack.enter_context(WorkerPool())
            crew = shared.crew(WorkerSpec(config, tuple(starts), threads, budget), count)
        results, explained = _compute(config, tasks, lab, crew, folder / "arms", say)
        results.peak_memory_gib = memory.sample()
        say.stage("judging and writing", 1)
        with timed(results.stages, "judging and writing"):
            finish(results, folder, explained, command or f"oocr run {folder / 'config.yaml'}")
        say.advance()
    return folder


def _compute(
    config: RunConfig, tasks: TaskSet, lab: RunContext, crew: Executor, folder: Path, say: Progress
) -> tuple[Results, list[ArmRecord]]:
    stages: dict[str, float] = {}
    grids = grids_of(config)
    with timed(stages, "choosing"):
        selection = _select(config, tasks, grids, lab, crew, folder, say)
    write_text(folder.parent / "selection.json", selection.model_dump_json(indent=1) + "\n")
    with timed(stages, "training and scoring"):
        todo = reported_plans(config, tasks, grids, selection)
        beside = ceiling_jobs(tasks, folder)
        arms, frames = _train(todo, lab, crew, folder, say, "training arms", beside)
    frames += [load_rows(folder, arm) for arm in arms]

    explained: list[ArmRecord] = []
    if config.explain.enabled and config.adapter is not None and config.adapter.layers != "all":
        explained = [arm for arm in arms if arm.method == "adapter" and arm.role == "test"]
    with timed(stages, "explaining"):
        say.stage("explaining LoRAs", len(explained))
        job = partial(
            explain_job,
            positions=swap_positions(config, tasks),
            neutral_tokens=config.explain.neutral_tokens,
            folder=folder,
        )
        by_name = {task.name: task for task in tasks.test}
        jobs = [
            (f"{arm.member}, seed {arm.seed}", partial(job, task=by_name[arm.task], arm=arm))
            for arm in explained
        ]
        for label, _ in crew.each(jobs):
            say.advance(label)
    frames += [load_rows(folder, arm, "-explained") for arm in explained]

    with timed(stages, "base and random directions"):
        jobs_fixed = base_jobs(tasks, folder)
        count = config.controls.random_directions
        for name, like in _like(arms, explained, folder).items() if count else ():
            jobs_fixed += random_jobs(tasks, like, name, count, folder)
        say.stage("base and random directions", len(jobs_fixed))
        for label, some in crew.each(jobs_fixed):
            say.advance(label)
            frames.append(some)
    jobs_free = free_jobs(tasks, arms, folder)
    if jobs_free:
        say.stage("free answers", len(jobs_free))
        with timed(stages, "free answers"):
            for label, some in crew.each(jobs_free):
                say.advance(label)
                frames.append(some)
    rows = pl.concat(frames, how="diagonal_relaxed")
    with timed(stages, "examples"):
        jobs_shown = example_jobs(tasks, arms, config.explain.examples, folder)
        say.stage("examples", len(jobs_shown))
        examples: list[Continuation] = []
        for label, shown in crew.each(jobs_shown):
            say.advance(label)
            examples += shown
    return Results(config, tasks, lab.model, rows, arms, selection, examples, stages), explained


def _train(
    plans: Sequence[ArmPlan],
    lab: RunContext,
    crew: Executor,
    folder: Path,
    say: Progress,
    stage: str,
    beside: Sequence[tuple[str, Job[pl.DataFrame]]] = (),
) -> tuple[list[ArmRecord], list[pl.DataFrame]]:
    """Train arms; jobs `beside` it, which need no arm, keep the cores busy to the end."""
    ids = [arm_id(plan) for plan in plans]
    assert len(set(ids)) == len(ids), "two arms would share a folder"
    say.stage(stage, len(plans) + len(beside))
    groups = stacks(plans, lab.model.tokenizer, lab.batch_lines, stack_tokens(lab.model))
    jobs: list[tuple[str, Job[list[ArmRecord] | pl.DataFrame]]] = [
        *[(_label(group), partial(run_arms, plans=group, folder=folder)) for group in groups],
        *beside,
    ]
    arms: dict[str, ArmRecord] = {}
    frames: list[pl.DataFrame] = []
    for label, made in crew.each(jobs):
        if isinstance(made, pl.DataFrame):
            frames.append(made)
            say.advance(label)
            continue
        for arm in made:
            arms[arm.id] = arm
            say.advance(label)
    return [arms[one] for one in ids], frames


def _label(plans: Sequence[ArmPlan]) -> str:
    first = plans[0]
    words = [f"{first.method} at block {first.layer}", first.control, first.task.member]
    more = f" and {len(plans) - 1} more" if len(plans) > 1 else ""
    return ", ".join(word for word in words if word) + more


def _select(
    config: RunConfig,
    tasks: TaskSet,
    grids: Mapping[Method, VectorArm | AdapterArm],
    lab: RunContext,
    crew: Executor,
    folder: Path,
    say: Progress,
) -> Selection:
    """Train the grid on the validation tasks and choose a point per method."""
    given = {name: only_point(name, grid, config) for name, grid in grids.items()}
    open_grids = {name: grid for name, grid in grids.items() if given[name] is None}
    plans = [plan for grid in open_grids.values() for plan in grid_plans(grid, config, tasks)]
    plans.sort(key=lambda plan: plan.task.name)
    arms, _ = _train(plans, lab, crew, folder, say, "choosing on validation tasks")
    trained = [(plan, arm, load_rows(folder, arm)) for plan, arm in zip(plans, arms, strict=True)]
    points = [point for point in given.values() if point is not None]
    for method, grid in open_grids.items():
        own = [one for one in trained if one[0].method == method]
        points += choose(method, grid, config, tasks, own)
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
    trained = [a for a in arms if a.method == "vector" and a.role == "test"]
    loaded = [load_intervention(folder, arm) for arm in trained]
    homes = [folder / f"{arm.id}-explained" for arm in explained]
    sites = {
        "random direction": [one for one in loaded if isinstance(one, Vector)],
        "random direction at span": [Vector.load(h / "swap-at-span.safetensors") for h in homes],
        "random direction everywhere": [
            Vector.load(h / "swap-everywhere.safetensors") for h in homes
        ],
    }
    return {name: some for name, some in sites.items() if some}
