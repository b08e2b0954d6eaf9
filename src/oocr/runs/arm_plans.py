"""Which arms a run trains, once layer, learning rate and number of steps are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from oocr.engine.forward import start_block
from oocr.runs.arms import ArmPlan
from oocr.runs.config import AdapterArm, Method, RunConfig, VectorArm
from oocr.runs.records import Choice, Role, Selection
from oocr.runs.selection import (
    best_by_layer,
    grid_plans,
    layers_of,
    only_point,
    schedule_of,
    spec_of,
)
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task, TaskSet


def grids_of(config: RunConfig) -> dict[Method, VectorArm | AdapterArm]:
    """What is tried, by method."""
    grids: dict[Method, VectorArm | AdapterArm] = {}
    if config.vector is not None:
        grids["vector"] = config.vector
    if config.adapter is not None:
        grids["adapter"] = config.adapter
    return grids


def expected_plans(config: RunConfig, tasks: TaskSet) -> tuple[list[ArmPlan], list[ArmPlan]]:
    """The arms to choose by, and those that are reported if the dearest point is chosen.

    The dearest is the lowest layer with the most steps.
    """
    grids, points, tried = grids_of(config), [], []
    for method, grid in grids.items():
        if only_point(method, grid, config) is None:
            tried += grid_plans(grid, config, tasks)
        rate, step, lowest = grid.learning_rates[0], grid.steps[-1], min(layers_of(grid))
        fixed = {"method": method, "learning_rate": rate, "step": step, "score": None}
        points += [
            Choice.model_validate({**fixed, "layer": layer, "chosen": layer == lowest})
            for layer in layers_of(grid)
        ]
    selection = Selection(criterion="", tasks=(), grid=tuple(points))
    return tried, reported_plans(config, tasks, grids, selection)


def reported_plans(
    config: RunConfig,
    tasks: TaskSet,
    grids: Mapping[Method, VectorArm | AdapterArm],
    selection: Selection,
) -> list[ArmPlan]:
    """The arms that are reported, then controls and layer sweeps."""
    groups: list[tuple[str, Role, Task, int]]
    groups = [("", "test", task, seed) for task in tasks.test for seed in range(config.seeds)]
    wanted = config.controls.trained
    for name, some in tasks.controls.items():
        if wanted is True or (isinstance(wanted, tuple) and name in wanted):
            groups += [(name, "control", task, 0) for task in some]
    todo: list[ArmPlan] = []
    for control, role, task, seed in groups:
        for method, grid in grids.items():
            point = next(p for p in selection.grid if p.chosen and p.method == method)
            plan = _plan(config, grid, point, task, seed)
            along = not control and seed == 0
            todo.append(replace(plan, control=control, role=role, along=along))
    for method, grid in grids.items():
        points = best_by_layer(selection, method) if grid.sweep else []
        todo += [
            replace(_plan(config, grid, point, task, seed), role="sweep", along=False)
            for point in points
            for task in tasks.test
            for seed in range(config.seeds)
        ]
    return todo


def _plan(
    config: RunConfig, grid: VectorArm | AdapterArm, point: Choice, task: Task, seed: int
) -> ArmPlan:
    # A control without items to stop on trains as long as the validation tasks say.
    own = config.stop_on == "stop" and bool(task.stop)
    return ArmPlan(
        task=task,
        spec=spec_of(grid, point.layer),
        learning_rate=point.learning_rate,
        steps=grid.steps,
        stop=None if own else point.step or grid.steps[-1],
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
