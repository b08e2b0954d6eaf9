"""One run: choose on validation tasks, train the test arms and controls, explain, judge, report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import polars as pl
import torch
from filelock import FileLock, Timeout

from oocr.errors import InputError, RunError
from oocr.experiments.arms import ArmPlan, load_intervention, load_rows, run_arm
from oocr.experiments.config import AdapterArm, Method, RunConfig, VectorArm
from oocr.experiments.controls import base_jobs, random_jobs
from oocr.experiments.explained import explain_job
from oocr.experiments.finish import Results, finish
from oocr.experiments.lab import Lab
from oocr.experiments.progress import Progress, Silent, timed
from oocr.experiments.records import ArmRecord, Choice, Selection
from oocr.experiments.selection import choose, grid_plans, spec_of
from oocr.experiments.workers import Alone, Crew, Processes, plan_workers
from oocr.files import write_text
from oocr.interventions.adapters import LowRankAdapter, peft_config
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel
from oocr.tasks.build import build
from oocr.tasks.task import TaskSet

CRITERION = {
    "accuracy": "mean over facets of answer-balanced accuracy on the validation tasks' probes; "
    "ties by the log-probability of the answer",
    "log_odds": "mean log-probability of the trained option on the validation situations",
}


def run_folder(config: RunConfig, out: Path) -> Path:
    """Where a configuration's results lie: its name and the hash of all it says."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return out / f"{config.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def check_fits(config: RunConfig, tasks: TaskSet, model: LanguageModel) -> None:
    """Refuse layers and positions that the model or the task doesn't have.

    Raises:
        InputError: naming the field, the value and what is allowed.
    """
    last = model.n_blocks - 1
    for name, grid, low in (("vector", config.vector, -1), ("adapter", config.adapter, 0)):
        if grid is None or grid.layers == "all":
            continue
        for layer in grid.layers:
            if not low <= layer <= last:
                raise InputError(
                    f"{name}.layers: {layer} is not a block of {config.model}; "
                    f"allowed: {low} to {last}"
                )
    if config.vector is not None:
        spans = {name for task in tasks.test for name in task.positions}
        allowed = ["all", "last", "prompt", *sorted(spans)]
        if config.vector.positions not in allowed:
            raise InputError(
                f"vector.positions: {config.vector.positions!r} is not in this task; "
                f"allowed: {', '.join(allowed)}"
            )
    if config.adapter is not None:
        for layer in (0,) if config.adapter.layers == "all" else config.adapter.layers:
            spec = spec_of(config.adapter, layer)
            assert isinstance(spec, LowRankAdapter)
            peft_config(model, spec)
    wanted = config.controls.trained
    for name in wanted if isinstance(wanted, tuple) else ():
        if name not in tasks.controls:
            raise InputError(
                f"controls.trained: {name!r} is not a control of this task; "
                f"allowed: {', '.join(tasks.controls) or 'none'}"
            )
    if config.stop_on == "stop" and not all(task.stop for task in tasks.test):
        raise InputError("stop_on: 'stop' needs held-out items in every task; this family has none")


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
        InputError: the configuration does not fit model or task; nothing was computed.
        RunError: the disk is full, a file is unreadable, another process is at work on this run;
            what was computed stays.
    """
    say = progress or Silent()
    tasks = build(config.task, base)
    check_fits(config, tasks, model)
    folder = run_folder(config, out)
    write_text(folder / "config.yaml", config.yaml())
    starts = _starts(config)
    count, threads = plan_workers(model, config.workers)
    kept_threads = torch.get_num_threads()
    with _only_one(folder), ExitStack() as stack:
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, kept_threads)
        lab = Lab(model, starts, config.batch_lines)
        crew: Crew = Alone(lab)
        if count > 1 and model.source.get("kind") != "memory":
            crew = stack.enter_context(Processes(config, starts, count, threads))
        results, explained = _compute(config, tasks, lab, crew, folder / "arms", say)
        say.stage("judging and writing", 1)
        with timed(results.stages, "judging and writing"):
            finish(results, folder, explained, command or f"oocr run {folder / 'config.yaml'}")
        say.advance()
    return folder


def _compute(
    config: RunConfig, tasks: TaskSet, lab: Lab, crew: Crew, folder: Path, say: Progress
) -> tuple[Results, list[ArmRecord]]:
    stages: dict[str, float] = {}
    grids: dict[Method, VectorArm | AdapterArm] = {}
    if config.vector is not None:
        grids["vector"] = config.vector
    if config.adapter is not None:
        grids["adapter"] = config.adapter
    with timed(stages, "choosing"):
        selection = _select(config, tasks, grids, crew, folder, say)
    write_text(folder.parent / "selection.json", selection.model_dump_json(indent=1) + "\n")
    chosen = {point.method: point for point in selection.grid if point.chosen}

    with timed(stages, "training and scoring"):
        todo = _plans(config, tasks, grids, chosen)
        arms = _train(todo, crew, folder, say, "training arms")
    frames = [load_rows(folder, arm) for arm in arms]

    explained: list[ArmRecord] = []
    if config.explain.enabled and config.adapter is not None and config.adapter.layers != "all":
        explained = [arm for arm in arms if arm.method == "adapter" and not arm.control]
    with timed(stages, "explaining"):
        say.stage("explaining LoRAs", len(explained))
        job = partial(
            explain_job,
            positions=_swap_positions(config, tasks),
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
    frames += [pl.read_parquet(folder / f"{a.id}-explained" / "rows.parquet") for a in explained]

    with timed(stages, "base, ceiling, random directions"):
        jobs_fixed = base_jobs(tasks)
        count = config.controls.random_directions
        for name, like in _like(arms, explained, folder).items() if count else ():
            jobs_fixed += random_jobs(tasks, like, name, count)
        say.stage("base, ceiling, random directions", len(jobs_fixed))
        for label, some in crew.each(jobs_fixed):
            say.advance(label)
            frames += some
    rows = pl.concat(frames, how="diagonal_relaxed")
    return Results(config, tasks, lab.model, rows, arms, selection, stages), explained


def _train(
    plans: Sequence[ArmPlan], crew: Crew, folder: Path, say: Progress, stage: str
) -> list[ArmRecord]:
    say.stage(stage, len(plans))
    jobs = []
    for plan in plans:
        kind = plan.control or (f"seed {plan.seed}" if plan.role == "test" else "validation")
        label = f"{plan.method} at block {plan.layer}, {kind}, {plan.task.member}"
        jobs.append((label, partial(run_arm, plan=plan, folder=folder)))
    arms: list[ArmRecord] = []
    for label, arm in crew.each(jobs):
        say.advance(label)
        arms.append(arm)
    return arms


def _select(
    config: RunConfig,
    tasks: TaskSet,
    grids: Mapping[Method, VectorArm | AdapterArm],
    crew: Crew,
    folder: Path,
    say: Progress,
) -> Selection:
    """Train the grid on the validation tasks and choose a point per method."""
    plans = [plan for grid in grids.values() for plan in grid_plans(grid, config, tasks)]
    plans.sort(key=lambda plan: plan.task.name)
    arms = _train(plans, crew, folder, say, "choosing on validation tasks")
    frames = [(plan, load_rows(folder, arm)) for plan, arm in zip(plans, arms, strict=True)]
    points: list[Choice] = []
    for method, grid in grids.items():
        own = [(plan, frame) for plan, frame in frames if plan.method == method]
        points += choose(method, grid, config, tasks, own)
    return Selection(
        criterion=CRITERION[tasks.score],
        tasks=tuple(task.name for task in tasks.validation),
        grid=tuple(points),
    )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Refuse to work on a run that another process is at work on."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another process is at work on {folder}") from error
    try:
        yield
    finally:
        lock.release()


def _plans(
    config: RunConfig,
    tasks: TaskSet,
    grids: Mapping[Method, VectorArm | AdapterArm],
    chosen: Mapping[Method, Choice],
) -> list[ArmPlan]:
    """The arms that are reported, then the controls; task by task, to share recordings."""
    todo: list[ArmPlan] = []
    groups = [("", task, seed) for task in tasks.test for seed in range(config.seeds)]
    wanted = config.controls.trained
    for name, some in tasks.controls.items():
        if wanted is True or (isinstance(wanted, tuple) and name in wanted):
            groups += [(name, task, 0) for task in some]
    for control, task, seed in groups:
        for method, grid in grids.items():
            point = chosen[method]
            # A control without items to stop on trains as long as the validation tasks say.
            own = config.stop_on == "stop" and bool(task.stop)
            todo.append(
                ArmPlan(
                    task=task,
                    spec=spec_of(grid, point.layer),
                    learning_rate=point.learning_rate,
                    steps=grid.steps,
                    stop=None if own else point.step or grid.steps[-1],
                    seed=seed,
                    control=control,
                    role="control" if control else "test",
                    along=not control and seed == 0,
                )
            )
    return todo


def _starts(config: RunConfig) -> list[int]:
    starts: list[int] = []
    if config.vector is not None:
        starts += [layer + 1 for layer in config.vector.layers]
    if config.adapter is not None:
        layers = config.adapter.layers
        starts += [0] if layers == "all" else list(layers)
    return starts


def _swap_positions(config: RunConfig, tasks: TaskSet) -> str:
    if config.vector is not None:
        return config.vector.positions
    spans = tasks.test[0].positions
    return spans[0] if spans else "all"


def _like(
    arms: Sequence[ArmRecord], explained: Sequence[ArmRecord], folder: Path
) -> dict[str, list[Vector]]:
    """The vectors whose site and norm random directions take, by the name of the null."""
    trained = [a for a in arms if a.method == "vector" and not a.control]
    loaded = [load_intervention(folder, arm) for arm in trained]
    swaps = [folder / f"{arm.id}-explained" / "swap-everywhere.safetensors" for arm in explained]
    sites = {
        "random direction": [one for one in loaded if isinstance(one, Vector)],
        "random direction everywhere": [Vector.load(path) for path in swaps],
    }
    return {name: some for name, some in sites.items() if some}
