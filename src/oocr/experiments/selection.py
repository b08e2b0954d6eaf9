"""Choosing layer, learning rate and number of steps, on validation tasks only."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from oocr import stats
from oocr.engine.training import Spec
from oocr.experiments.arms import ArmPlan
from oocr.experiments.config import AdapterArm, Method, RunConfig, VectorArm
from oocr.experiments.headline import headline_rows
from oocr.experiments.records import Choice
from oocr.interventions.adapters import LowRankAdapter
from oocr.interventions.vectors import SteeringVector
from oocr.tasks.task import TaskSet


def spec_of(grid: VectorArm | AdapterArm, layer: int) -> Spec:
    """What is trained at one point of the grid."""
    if isinstance(grid, VectorArm):
        return SteeringVector(layer=layer, positions=grid.positions)
    return LowRankAdapter(
        layers="all" if grid.layers == "all" else (layer,),
        rank=grid.rank,
        alpha=grid.alpha,
        modules=grid.modules,
        dropout=grid.dropout,
    )


def layers_of(grid: VectorArm | AdapterArm) -> tuple[int, ...]:
    """The grid's layers; an adapter in all blocks counts as layer 0."""
    return (0,) if grid.layers == "all" else tuple(grid.layers)


def grid_plans(grid: VectorArm | AdapterArm, config: RunConfig, tasks: TaskSet) -> list[ArmPlan]:
    """One arm per validation task and grid point, seed 0; task by task, to share recordings."""
    stop = None if config.stop_on == "stop" else grid.steps[-1]
    return [
        ArmPlan(task, spec_of(grid, layer), rate, grid.steps, stop, 0, "", "selection")
        for task in tasks.validation
        for layer in layers_of(grid)
        for rate in grid.learning_rates
    ]


def choose(
    method: Method,
    grid: VectorArm | AdapterArm,
    config: RunConfig,
    tasks: TaskSet,
    frames: Sequence[tuple[ArmPlan, pl.DataFrame]],
) -> list[Choice]:
    """Score every grid point and mark the best; earlier points win ties.

    With `stop_on: stop` each arm counts at its own stopping point, given as step 0 here.
    """
    points: list[tuple[tuple[float, float], Choice]] = []
    for layer in layers_of(grid):
        for rate in grid.learning_rates:
            some = [f for plan, f in frames if (plan.layer, plan.learning_rate) == (layer, rate)]
            table = headline_rows(
                pl.concat(some, how="diagonal").filter(pl.col("part") == "probes"), tasks
            )
            if config.stop_on == "stop":
                table = table.filter("final").with_columns(pl.lit(0).alias("step"))
            for step in sorted(table["step"].unique().to_list()):
                at = table.filter(pl.col("step") == step)
                likely = stats.mean(stats.cells(at, "logp", balance=None))
                if tasks.score == "accuracy":
                    score = stats.mean(stats.cells(at, "right"))
                else:
                    score = likely
                choice = Choice(
                    method=method, layer=layer, learning_rate=rate, step=int(step), score=score
                )
                points.append(((score, likely), choice))
    best = max(range(len(points)), key=lambda i: (*points[i][0], -i))
    return [
        choice.model_copy(update={"chosen": index == best})
        for index, (_, choice) in enumerate(points)
    ]
