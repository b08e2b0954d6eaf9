"""The headline score of an arm: which rows count, under which facet, and as what."""

from __future__ import annotations

import polars as pl

from oocr import stats
from oocr.families.choices import POLES
from oocr.stats import Cells
from oocr.tasks.task import TaskSet

TWINS = tuple(POLES.values())
"""Opposite twins: compared with each other where the score is log-odds."""


def twins(tasks: TaskSet) -> tuple[str, str] | None:
    """The members of the test tasks if these are opposite twins: positive pole, negative pole."""
    members = {task.member for task in tasks.test}
    return next((pair for pair in TWINS if set(pair) == members), None)


def has_twins(tasks: TaskSet) -> bool:
    """Whether the test tasks are opposite twins."""
    return twins(tasks) is not None


def headline_rows(frame: pl.DataFrame, tasks: TaskSet) -> pl.DataFrame:
    """Rows that count, with `facet` as it counts; of planted controls the intended answers."""
    if "tag_against" in frame.columns:
        frame = frame.filter(pl.col("tag_against").fill_null("intended") == "intended")
    if not tasks.headline:
        return frame
    names = dict(tasks.headline)
    return frame.filter(pl.col("facet").is_in(list(names))).with_columns(
        pl.col("facet").replace_strict(names, return_dtype=pl.String)
    )


def select_rows(
    rows: pl.DataFrame, arm: str, control: str = "", part: str = "probes"
) -> pl.DataFrame:
    """The rows of one arm that count."""
    return rows.filter(
        pl.col("final"),
        pl.col("arm") == arm,
        pl.col("control") == control,
        pl.col("part") == part,
    )


def balance_of(tasks: TaskSet) -> str | None:
    """What members share their weight by: their answer, unless each has many of its own."""
    return None if tasks.name == "nano/backdoor" else "answer"


def accuracy_cells(
    rows: pl.DataFrame, tasks: TaskSet, arm: str, control: str = "", part: str = "probes"
) -> Cells | None:
    """Answer-balanced accuracy [member, seed, facet], or None without such rows.

    A task of one's own has one member: there the bootstrap draws the probes' groups.
    """
    some = select_rows(rows, arm, control, part)
    if part == "probes":
        some = headline_rows(some, tasks)
    cluster = "member" if len(tasks.test) > 1 else "group"
    if some.is_empty():
        return None
    return stats.cells(some, "right", cluster=cluster, balance=balance_of(tasks))


def contrast_cells(
    rows: pl.DataFrame,
    tasks: TaskSet,
    arm: str,
    control: str = "",
    part: str = "probes",
    sides: tuple[str, str] | None = None,
    value: str = "log_odds",
) -> Cells | None:
    """First member minus second, per probe group and seed, or None without such rows.

    A task without an opposite twin is compared with the untouched model. `sides` are the twins'
    names where they are not those of the test tasks.
    """
    if part == "probes":
        rows = headline_rows(rows, tasks)
    sides = sides or twins(tasks) or TWINS[0]
    some = select_rows(rows, arm, control, part)
    halves = [some.filter(pl.col("member") == side) for side in sides]
    if not any(len(half) for half in halves):
        halves = [some, select_rows(rows, "base", part=part)]
    if not all(len(half) for half in halves):
        return None
    first, second = (stats.cells(h, value, cluster="group", balance=None) for h in halves)
    return first - second


def random_scores(rows: pl.DataFrame, tasks: TaskSet, arm: str) -> list[float]:
    """The headline score of each random direction."""
    some, base = select_rows(rows, arm), select_rows(rows, "base")
    scores: list[float] = []
    for seed in sorted(some["seed"].unique().to_list()):
        one = some.filter(pl.col("seed") == seed)
        if tasks.score == "log_odds":
            cells = contrast_cells(pl.concat([one, base]), tasks, arm)
        else:
            cells = accuracy_cells(one, tasks, arm)
        if cells is not None:
            scores.append(stats.mean(cells))
    return scores
