"""The paper's own scoring next to ours: the same arms on the paper's 10 to 60 questions.

Shown with interval, untouched model, random directions and controls, but without a verdict: so few
items separate only large differences, and the base model's preference decides many of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from oocr import intervals, stats
from oocr.claims.judge import RunResults, estimate_of, seeds_of
from oocr.claims.records import PaperReference, PaperScore
from oocr.evals.scores import select_rows
from oocr.stats import Cells
from oocr.tasks.task import Task, TaskSet

Method = Literal["vector", "adapter"]
ARMS: tuple[Method, ...] = ("vector", "adapter")
SECOND = "second"
Key = tuple[str, str]
"""Member and item id."""


def paper_scores(results: RunResults) -> list[PaperScore]:
    """One line per trained arm and facet; opposite twins apart. Empty without such items."""
    tests = [task for task in results.tasks.test if task.paper]
    if not tests or "part" not in results.rows.columns:
        return []
    signs = _signs([*tests, *(task for tasks in results.tasks.controls.values() for task in tasks)])
    rows = _scored(results.rows.filter(pl.col("part") == "paper"), signs)
    twins = results.tasks.score == "log_odds" and len(tests) > 1
    groups = [[task] for task in tests] if twins else [tests]
    scores = []
    for group in groups:
        for facet in dict.fromkeys(item.facet for task in group for item in task.paper):
            of_facet = rows.filter(pl.col("facet") == facet)
            member = group[0].member if twins else ""
            lines = [_line(of_facet, arm, member, group, results.tasks, signs) for arm in ARMS]
            scores += [line for line in lines if line is not None]
    return scores


def _signs(tasks: Sequence[Task]) -> Mapping[Key, float] | None:
    """By which factor log-odds become those of the right option; None: not all have two options."""
    signs: dict[Key, float] = {}
    for task in tasks:
        for item in task.paper:
            values = item.option_values
            if len(values) != 2 or values[0] * values[1] >= 0:
                return None
            right = values[item.options.index(item.answer)]
            signs[task.member, item.id] = 1.0 if right > 0 else -1.0
    return signs


def _scored(rows: pl.DataFrame, signs: Mapping[Key, float] | None) -> pl.DataFrame:
    """The rows with a column `second`."""
    if signs is None:
        return rows.with_columns(pl.col("logp").exp().alias(SECOND))
    keys = zip(rows["member"].to_list(), rows["item"].to_list(), strict=True)
    factors = pl.Series([signs.get(key) for key in keys], dtype=pl.Float64)
    return rows.with_columns((pl.col("log_odds") * factors).alias(SECOND))


def _line(
    rows: pl.DataFrame,
    arm: Method,
    member: str,
    group: Sequence[Task],
    tasks: TaskSet,
    signs: Mapping[Key, float] | None,
) -> PaperScore | None:
    members = [task.member for task in group]
    trained = _of(rows, arm, "", members)
    if trained.is_empty():
        return None
    cluster = "member" if len(members) > 1 else "group"
    share = _cells(trained, "right", cluster, intervals.SHARE)
    second = _cells(trained, SECOND, cluster, intervals.SHARE if signs is None else None)
    items = trained.select("member", "item").unique().height
    n = f"{items} items × {seeds_of(share.values.shape[1])}"
    return PaperScore(
        arm=arm,
        member=member,
        facet=str(trained["facet"][0]),
        items=items,
        share=estimate_of(stats.estimate(share), n),
        second=estimate_of(stats.estimate(second), n),
        second_is="probability" if signs is None else "logit difference, nats",
        beside=tuple(_references(rows, arm, members, tasks)),
    )


def _references(
    rows: pl.DataFrame, arm: str, members: Sequence[str], tasks: TaskSet
) -> Iterator[PaperReference]:
    yield from _reference("untouched model", _of(rows, "base", "", members))
    random = _of(rows, "random direction", "", members)
    if not random.is_empty():
        directions = random.group_by("seed").agg(pl.col("right", SECOND).mean())
        share, second = (
            float(np.quantile(directions[column].to_list(), 0.95)) for column in ("right", SECOND)
        )
        name = f"{directions.height} random directions, 95th centile"
        yield PaperReference(name=name, share=share, second=second)
    places = [place for place, task in enumerate(tasks.test) if task.member in members]
    for name, control_tasks in tasks.controls.items():
        if name == "planted":  # its answers are meant to be partly another member's
            continue
        paired = len(control_tasks) == len(tasks.test)
        kept = [control_tasks[place] for place in places] if paired else control_tasks
        control = _of(rows, arm, name, [task.member for task in kept])
        yield from _reference(f"{name} training", control)


def _reference(name: str, rows: pl.DataFrame) -> Iterator[PaperReference]:
    """Means of rows, if there are any."""
    if not rows.is_empty():
        share, second = (
            float(np.mean(rows[column].cast(pl.Float64).to_list())) for column in ("right", SECOND)
        )
        yield PaperReference(name=name, share=share, second=second)


def _of(rows: pl.DataFrame, arm: str, control: str, members: Sequence[str]) -> pl.DataFrame:
    of_arm = select_rows(rows, arm, control, "paper")
    return of_arm.filter(pl.col("member").is_in(members))


def _cells(rows: pl.DataFrame, value: str, cluster: str, bounds: intervals.Bounds | None) -> Cells:
    """Cells whose mean is the mean over items, however many of them a cluster has."""
    cells = stats.cells(rows, value, cluster=cluster, balance=None, bounds=bounds)
    counts = dict(rows.group_by(cluster).len().iter_rows())
    weights = np.array([[float(counts[name])] for name in cells.clusters])
    return replace(cells, weights=weights)
