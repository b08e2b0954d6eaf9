"""The arms of a run: the grid, the choice of a point on validation tasks, what is then trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean as mean

import polars as pl

from oocr.engine.forward import start_block
from oocr.engine.trainable import Schedule, Spec
from oocr.evals.scores import Scoring, selection_scores
from oocr.runs.arms import ArmPlan, ScoredArm
from oocr.runs.config import AdapterGrid, RunConfig, VectorGrid
from oocr.runs.records import ArmRecord, GridPoint, Method, Role, Selection
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task, TaskSet


def grids_of(config: RunConfig) -> dict[Method, VectorGrid | AdapterGrid]:
    """What is tried, by method."""
    grids: dict[Method, VectorGrid | AdapterGrid] = {}
    if config.vector is not None:
        grids["vector"] = config.vector
    if config.adapter is not None:
        grids["adapter"] = config.adapter
    return grids


def expected_plans(config: RunConfig, tasks: TaskSet) -> tuple[list[ArmPlan], list[ArmPlan]]:
    """Upper bound on a run's arms, before anything is chosen.

    Returns:
        The arms of the grid, and the reported arms if its most expensive point is chosen: the
        lowest layer with the most steps.
    """
    grids, points, tried = grids_of(config), [], []
    for method, grid in grids.items():
        if only_point(method, grid, config) is None:
            tried += grid_plans(grid, config, tasks)
        rate, step, lowest = grid.learning_rates[0], grid.steps[-1], min(layers_of(grid))
        fixed = {"method": method, "learning_rate": rate, "step": step, "score": None}
        points += [
            GridPoint.model_validate({**fixed, "layer": layer, "chosen": layer == lowest})
            for layer in layers_of(grid)
        ]
    selection = Selection(criterion="", tasks=(), grid=tuple(points))
    return tried, reported_plans(config, tasks, grids, selection)


def reported_plans(
    config: RunConfig,
    tasks: TaskSet,
    grids: Mapping[Method, VectorGrid | AdapterGrid],
    selection: Selection,
) -> list[ArmPlan]:
    """The arms that are reported, then controls and layer sweeps."""
    groups: list[tuple[str, Role, Task, int]]
    groups = [("", "test", task, seed) for task in tasks.test for seed in range(config.seeds)]
    wanted = config.controls.trained
    for name, control_tasks in tasks.controls.items():
        if wanted is True or (isinstance(wanted, tuple) and name in wanted):
            groups += [(name, "control", task, 0) for task in control_tasks]
    plans: list[ArmPlan] = []
    for control, role, task, seed in groups:
        for method, grid in grids.items():
            plan = _plan(config, grid, selection.chosen(method), task, seed)
            every_step = not control and seed == 0
            plans.append(replace(plan, control=control, role=role, score_every_step=every_step))
    for method, grid in grids.items():
        points = selection.best_by_layer(method) if grid.sweep else []
        plans += [
            replace(_plan(config, grid, point, task, seed), role="sweep", score_every_step=False)
            for point in points
            for task in tasks.test
            for seed in range(config.seeds)
        ]
    return plans


def _plan(
    config: RunConfig, grid: VectorGrid | AdapterGrid, point: GridPoint, task: Task, seed: int
) -> ArmPlan:
    # A control without items to stop on trains as long as the validation tasks say.
    by_itself = config.stop_on == "stop" and bool(task.stop)
    return ArmPlan(
        task=task,
        spec=spec_of(grid, point.layer),
        learning_rate=point.learning_rate,
        steps=grid.steps,
        early_stop=None if by_itself else point.step or grid.steps[-1],
        seed=seed,
        schedule=schedule_of(grid, config),
    )


def starts_of(config: RunConfig) -> list[int]:
    """Blocks from which arms will start."""
    starts: list[int] = []
    if config.vector is not None:
        starts += [
            start_block(spec)
            for layer in config.vector.layers
            if isinstance(spec := spec_of(config.vector, layer), SteeringVector)
        ]
    if config.adapter is not None:
        layers = config.adapter.layers
        starts += [0] if layers == "all" else list(layers)
    return starts


def spec_of(grid: VectorGrid | AdapterGrid, layer: int) -> Spec:
    """What is trained at one point of the grid."""
    if isinstance(grid, VectorGrid):
        return SteeringVector(
            layer=layer, positions=grid.positions, site=grid.site, init_norm=grid.init_norm
        )
    return LowRankAdapter(
        layers="all" if grid.layers == "all" else (layer,),
        rank=grid.rank,
        alpha=grid.alpha,
        modules=grid.modules,
        dropout=grid.dropout,
    )


def schedule_of(grid: VectorGrid | AdapterGrid, config: RunConfig) -> Schedule:
    """How the steps of its arms are made."""
    return Schedule(
        warmup=grid.warmup,
        decay=grid.decay,
        weight_decay=grid.weight_decay,
        absolute=isinstance(grid, VectorGrid) and grid.rates == "absolute",
        accumulate=config.accumulate,
        length=grid.steps[-1],
    )


def layers_of(grid: VectorGrid | AdapterGrid) -> tuple[int, ...]:
    """The grid's layers; an adapter in all blocks counts as layer 0."""
    return (0,) if grid.layers == "all" else tuple(grid.layers)


def grid_plans(grid: VectorGrid | AdapterGrid, config: RunConfig, tasks: TaskSet) -> list[ArmPlan]:
    """One arm per validation task and grid point, seed 0; task by task, to share recordings."""
    stop = None if config.stop_on == "stop" else grid.steps[-1]
    schedule = schedule_of(grid, config)
    return [
        ArmPlan(task, spec_of(grid, layer), rate, grid.steps, stop, 0, schedule, "", "selection")
        for task in tasks.validation
        for layer in layers_of(grid)
        for rate in grid.learning_rates
    ]


def choose(
    method: Method,
    grid: VectorGrid | AdapterGrid,
    config: RunConfig,
    tasks: TaskSet,
    trained: Sequence[ScoredArm],
) -> list[GridPoint]:
    """Score every grid point and mark the best; earlier points win ties.

    With `stop_on: stop` each arm counts at its own stopping point, given as step 0 here.
    """
    points: list[tuple[tuple[float, float], GridPoint]] = []
    for layer in layers_of(grid):
        for rate in grid.learning_rates:
            here = [
                arm
                for arm in trained
                if (arm.record.layer, arm.record.learning_rate) == (layer, rate)
            ]
            if by_loss(tasks):
                scored = _losses([arm.record for arm in here], config)
            else:
                scored = _scores([arm.rows for arm in here], config, tasks)
            for step, score in scored.items():
                choice = GridPoint(
                    method=method, layer=layer, learning_rate=rate, step=step, score=score[0]
                )
                points.append((score, choice))
    best = max(range(len(points)), key=lambda i: (*points[i][0], -i))
    return [
        choice.model_copy(update={"chosen": index == best})
        for index, (_, choice) in enumerate(points)
    ]


def by_loss(tasks: TaskSet) -> bool:
    """Whether the validation tasks ask no choices, so that only their loss can tell."""
    return any(len(example.options) < 2 for task in tasks.validation for example in task.probes)


def _scores(
    frames: Sequence[pl.DataFrame], config: RunConfig, tasks: TaskSet
) -> dict[int, tuple[float, float]]:
    """Step -> score, then what breaks ties."""
    table = pl.concat(frames, how="diagonal").filter(pl.col("part") == "probes")
    if config.stop_on == "stop":
        table = table.filter("final").with_columns(pl.lit(0).alias("step"))
    scoring = Scoring.of(tasks)
    return {
        int(step): selection_scores(table.filter(pl.col("step") == step), scoring)
        for step in sorted(table["step"].unique().to_list())
    }


def _losses(arms: Sequence[ArmRecord], config: RunConfig) -> dict[int, tuple[float, float]]:
    """Step -> minus the mean loss on the tasks' `stop` items, twice."""
    if config.stop_on == "stop":
        best = -mean(arm.stop_losses[arm.stop_step] for arm in arms)
        return {0: (best, best)}
    steps = {step: -mean(arm.stop_losses[step] for arm in arms) for step in arms[0].stop_losses}
    return {step: (score, score) for step, score in steps.items()}


def only_point(
    method: Method, grid: VectorGrid | AdapterGrid, config: RunConfig
) -> GridPoint | None:
    """The grid's point if it has only one: nothing to choose, no validation arm to train."""
    steps = (0,) if config.stop_on == "stop" else grid.steps
    if len(layers_of(grid)) * len(grid.learning_rates) * len(steps) > 1:
        return None
    return GridPoint(
        method=method,
        layer=layers_of(grid)[0],
        learning_rate=grid.learning_rates[0],
        step=steps[0],
        score=None,
        chosen=True,
    )
