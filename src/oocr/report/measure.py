"""The headline score of a run as cells for `oocr.stats`, whatever the task's kind.

accuracy   share right; the bootstrap draws members, then seeds
contrast   log-odds of the member trained towards the positive pole minus its twin's; the
bootstrap draws probes (groups), then seeds
log-odds   log-odds towards the trained pole minus the untouched model's, where there is no twin
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.arms import BASE, rows_of
from oocr.families.choices import POLES
from oocr.report.runs import Run, has
from oocr.stats import Cells, Interval


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """How to score rows of a run.

    Attributes:
        kind: see above.
        cluster: the column that the bootstrap draws.
        base: rows of the untouched model, for `log-odds`.
        balance: the column whose values weigh the same in a balanced accuracy; None: clusters do.
    """

    kind: Literal["accuracy", "contrast", "log-odds"]
    cluster: str
    base: pl.DataFrame | None = None
    balance: str | None = "answer"

    @property
    def axis(self) -> str:
        """Title of the score's axis."""
        return {
            "accuracy": "share right",
            "contrast": "log-odds, one pole minus its twin (nats)",
            "log-odds": "log-odds minus the untouched model's (nats)",
        }[self.kind]

    @property
    def bars(self) -> str:
        """What an interval resamples, for captions."""
        drawn = "members" if self.cluster == "member" else "probe groups"
        return f"95 % bootstrap intervals over {drawn}, then seeds"

    def cells(self, rows: pl.DataFrame, *, balanced: bool = False) -> Cells | None:
        """The cells of one arm's rows; None where it cannot be scored like this."""
        if rows.is_empty():
            return None
        if self.kind == "accuracy":
            balance = self.balance if balanced else None
            return stats.cells(rows, "right", cluster=self.cluster, balance=balance)
        pair = self._pair(rows)
        if pair is None:
            return None
        ours, theirs = (
            stats.cells(one, "log_odds", cluster="group", balance=None) for one in _matched(*pair)
        )
        if not ours.clusters:
            return None
        return ours - theirs

    def _pair(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        if self.kind == "log-odds":
            return None if self.base is None else (rows, self.base)
        found = poles(rows)
        if found is None:
            return None
        column, up, down = found
        return rows.filter(pl.col(column) == up), rows.filter(pl.col(column) == down)


def measure_of(run: Run) -> Measure | None:
    """The measure of a run's rows."""
    rows = run.rows
    if rows is None:
        return None
    if run.info.score == "accuracy":
        if not has(rows, "right", "answer"):
            return None
        several = rows.filter(pl.col("arm") != "ceiling")["member"].n_unique() > 1
        # There each member has both answers of many choices, so its first one tells nothing.
        gated = run.info.family == "nano" and has(rows, "tag_condition")
        cluster = "member" if several else "group"
        return Measure("accuracy", cluster, balance=None if gated else "answer")
    if not has(rows, "log_odds"):
        return None
    plain = rows.filter(pl.col("control") == "", ~pl.col("arm").is_in(["base", "ceiling"]))
    if not plain.is_empty() and poles(plain) is not None:
        return Measure("contrast", "group")
    base = rows_of(rows, BASE)
    return Measure("log-odds", "group", None if base.is_empty() else base)


_TWINS = (*POLES.values(), ("shuffled", "shuffled opposite"))


def poles(rows: pl.DataFrame) -> tuple[str, str, str] | None:
    """The column that tells twins apart, the positive pole's value in it, and the other's."""
    for column in ("tag_stated", "member"):
        if column in rows.columns:
            members = set(rows[column].drop_nulls().unique().to_list())
            for up, down in _TWINS:
                if {up, down} <= members:
                    return column, up, down
    return None


def _matched(a: pl.DataFrame, b: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of both sides that have the same facet and group, facets in the same order."""
    keys = ["facet", "group"]
    shared = a.select(keys).unique().join(b.select(keys).unique(), on=keys)
    left, right = (one.join(shared, on=keys, how="inner").sort(keys) for one in (a, b))
    return left, right


def null_scores(measure: Measure, rows: pl.DataFrame, *, balanced: bool) -> pl.DataFrame:
    """Score of each random direction by facet: columns facet, number, score.

    A contrast needs two: under one number the twins have two different directions.
    """
    if measure.kind == "contrast":
        return _null_contrasts(rows)
    cells = measure.cells(rows, balanced=balanced)
    if cells is None:
        return _no_null()
    numbers = sorted(rows["seed"].fill_null(0).unique().to_list())
    present = ~np.isnan(cells.values)
    weights = cells.weights[:, None, :] * present
    sums = (weights * np.where(present, cells.values, 0.0)).sum(axis=0)
    total = weights.sum(axis=0)
    means = np.where(total > 0, sums / np.where(total > 0, total, 1), np.nan)  # [seed, facet]
    return pl.DataFrame(
        [
            {"facet": facet, "number": number, "score": float(means[i, j])}
            for j, facet in enumerate(cells.facets)
            for i, number in enumerate(numbers[: means.shape[0]])
        ]
    )


def _null_contrasts(rows: pl.DataFrame) -> pl.DataFrame:
    found = poles(rows)
    if found is None:
        return _no_null()
    column, up, down = found
    keys = ["facet", "seed"]
    means = [
        rows.filter(pl.col(column) == side).group_by(keys).agg(pl.col("log_odds").mean())
        for side in (up, down)
    ]
    both = (
        means[0]
        .join(means[1], on=keys, suffix="_down")
        .select("facet", number="seed", score=pl.col("log_odds") - pl.col("log_odds_down"))
    )
    if not (both["score"] != 0).any():  # twins that share their directions make no null
        return _no_null()
    return both.sort("facet", "number")


def _no_null() -> pl.DataFrame:
    return pl.DataFrame(schema={"facet": pl.String, "number": pl.Int64, "score": pl.Float64})


def scored(measure: Measure, rows: pl.DataFrame, *, balanced: bool = False) -> Interval | None:
    """The mean over facets with its interval."""
    cells = measure.cells(rows, balanced=balanced)
    return None if cells is None else stats.estimate(cells)
