"""The arms of a run: the grid, selection on validation tasks, and the reported arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean as mean

import polars as pl

from oocr.evals.scores import Scoring, selection_scores
from oocr.runs.arms import ArmPlan, ScoredArm
from oocr.runs.config import RunConfig
from oocr.runs.records import ArmRecord, GridPoint, Method, Role, Selection
from oocr.tasks.task import Task, TaskSet

CRITERION = {
    "accuracy": "mean over facets of answer-balanced accuracy on the validation tasks' probes; "
    "ties by the log-probability of the answer",
    "unbalanced": "mean over facets of accuracy on the validation tasks' probes; ties by the "
    "log-probability of the answer",
    "log_odds": "mean log-probability of the trained option on the validation situations",
    "loss": "minus the loss on held-out training rows, nats per item",
}


def expected_plans(config: RunConfig, tasks: TaskSet) -> tuple[list[ArmPlan], list[ArmPlan]]:
    """Upper bound on a run's arms, before anything is chosen.

    Returns:
        The arms of the grid, and the reported arms if its most expensive point is chosen: the
        lowest layer with the most steps.
    """
    points: list[GridPoint] = []
    for method, grid in config.grids.items():
        rate, step, lowest = grid.learning_rates[0], grid.steps[-1], min(grid.blocks)
        points += [_point(method, n, rate, step, chosen=n == lowest) for n in grid.blocks]
    selection = Selection(criterion="", tasks=(), grid=tuple(points))
    return selection_plans(config, tasks), reported_plans(config, tasks, selection)


def selection_plans(config: RunConfig, tasks: TaskSet) -> list[ArmPlan]:
    """One arm per validation task and grid point, seed 0; task by task, to share recordings.

    A method whose grid has one point has no such arm: there is nothing to choose.
    """
    return [
        _plan(config, _point(method, layer, rate, grid.steps[-1]), task, 0, "selection")
        for task in sorted(tasks.validation, key=lambda task: task.name)
        for method, grid in config.grids.items()
        if only_point(method, config) is None
        for layer, rate in _points(config, method)
    ]


def trained_controls(config: RunConfig, tasks: TaskSet) -> dict[str, tuple[Task, ...]]:
    """The control tasks that a run trains, by name."""
    wanted = config.controls.trained
    return {
        name: controls
        for name, controls in tasks.controls.items()
        if wanted is True or (isinstance(wanted, tuple) and name in wanted)
    }


def reported_plans(config: RunConfig, tasks: TaskSet, selection: Selection) -> list[ArmPlan]:
    """The arms that are reported, then controls and layer sweeps."""
    tests = [(task, seed) for task in tasks.test for seed in range(config.seeds)]
    groups: list[tuple[Task, int, Role, str]] = [(*test, "test", "") for test in tests]
    for name, control_tasks in trained_controls(config, tasks).items():
        groups += [(task, 0, "control", name) for task in control_tasks]
    plans = [
        _plan(config, selection.chosen(method), *group)
        for group in groups
        for method in config.grids
    ]
    for method, grid in config.grids.items():
        points = selection.best_by_layer(method) if grid.sweep else []
        plans += [_plan(config, point, *test, "sweep") for point in points for test in tests]
    return plans


def _plan(
    config: RunConfig, point: GridPoint, task: Task, seed: int, role: Role, control: str = ""
) -> ArmPlan:
    grid = config.grids[point.method]
    # A control without stop items uses the step chosen on the validation tasks.
    by_itself = config.stop_on == "stop" and bool(task.stop)
    stop = None if by_itself else point.step or grid.steps[-1]
    every_step = role == "selection" or (role == "test" and seed == 0)
    return ArmPlan(
        task=task,
        spec=grid.spec(point.layer),
        learning_rate=point.learning_rate,
        steps=grid.steps[-1] if every_step or stop is None else stop,
        seed=seed,
        snapshots=grid.steps,
        schedule=grid.schedule(config.accumulate),
        early_stop=stop,
        control=control,
        role=role,
        score_every_step=every_step,
    )


def _points(config: RunConfig, method: Method) -> Iterator[tuple[int, float]]:
    """Layers and learning rates to try."""
    grid = config.grids[method]
    return ((layer, rate) for layer in grid.blocks for rate in grid.learning_rates)


def _point(
    method: Method, layer: int, rate: float, step: int, *, chosen: bool = False
) -> GridPoint:
    return GridPoint(
        method=method, layer=layer, learning_rate=rate, step=step, score=None, chosen=chosen
    )


def only_point(method: Method, config: RunConfig) -> GridPoint | None:
    """The point of a grid with one point, which needs no validation arm; else None."""
    steps = (0,) if config.stop_on == "stop" else config.grids[method].steps
    (layer, rate), *more = _points(config, method)
    return None if more or len(steps) > 1 else _point(method, layer, rate, steps[0], chosen=True)


def select(config: RunConfig, tasks: TaskSet, trained: Sequence[ScoredArm]) -> Selection:
    """Choose a point per method from the trained arms of `selection_plans`."""
    points: list[GridPoint] = []
    for method in sorted(config.grids, key=lambda method: only_point(method, config) is None):
        point = only_point(method, config)
        points += _scored(config, method, tasks, trained) if point is None else [point]
    balanced = tasks.score if tasks.balance else "unbalanced"
    return Selection(
        criterion=CRITERION["loss" if by_loss(tasks) else balanced],
        tasks=tuple(task.name for task in tasks.validation),
        grid=tuple(points),
    )


def _scored(
    config: RunConfig, method: Method, tasks: TaskSet, trained: Sequence[ScoredArm]
) -> list[GridPoint]:
    """Score every grid point and mark the best; earlier points win ties.

    With `stop_on: stop` each arm counts at its own stopping point, given as step 0 here.
    """
    points: list[GridPoint] = []
    scores: list[tuple[float, float]] = []
    for layer, rate in _points(config, method):
        arms = [
            arm
            for arm in trained
            if (arm.record.method, arm.record.layer, arm.record.learning_rate)
            == (method, layer, rate)
        ]
        if by_loss(tasks):
            by_step = _losses([arm.record for arm in arms], config)
        else:
            by_step = _scores([arm.rows for arm in arms], config, tasks)
        for step, score in by_step.items():
            scores.append(score)
            point = _point(method, layer, rate, step)
            points.append(point.model_copy(update={"score": score[0]}))
    best = max(range(len(points)), key=scores.__getitem__)
    points[best] = points[best].model_copy(update={"chosen": True})
    return points


def by_loss(tasks: TaskSet) -> bool:
    """Whether the validation tasks have no multiple choice, so that the loss decides."""
    return any(len(example.options) < 2 for task in tasks.validation for example in task.probes)


def _scores(
    frames: Sequence[pl.DataFrame], config: RunConfig, tasks: TaskSet
) -> dict[int, tuple[float, float]]:
    """Step -> (score, tie-breaker)."""
    table = pl.concat(frames, how="diagonal").filter(pl.col("part") == "probes")
    if config.stop_on == "stop":
        table = table.filter("final").with_columns(pl.lit(0).alias("step"))
    scoring = Scoring.of(tasks)
    return {
        int(step): selection_scores(table.filter(pl.col("step") == step), scoring)
        for step in sorted(table["step"].unique().to_list())
    }


def _losses(arms: Sequence[ArmRecord], config: RunConfig) -> dict[int, tuple[float, float]]:
    """Step -> minus the mean loss on the tasks' `stop` items, as score and tie-breaker."""
    if config.stop_on == "stop":
        best = -mean(arm.stop_losses[arm.stop_step] for arm in arms)
        return {0: (best, best)}
    steps = {step: -mean(arm.stop_losses[step] for arm in arms) for step in arms[0].stop_losses}
    return {step: (score, score) for step, score in steps.items()}
