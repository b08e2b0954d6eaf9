"""The score of an arm: which rows count, under which facet, and how they become one number.

Everything that shows a score uses this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, Field, ValidationError

from oocr import stats
from oocr.errors import InputError
from oocr.intervals import FEWEST, SHARE, Interval
from oocr.io import Record, command_line
from oocr.stats import Cells
from oocr.tasks.task import Task, TaskSet
from oocr.words import first_line

Measure = Literal["accuracy", "contrast", "log_odds"]
"""Share of right answers, over members (of one member: probe groups); log-odds of the positive twin
minus those of the negative one, or minus the untouched model's, over probe groups."""

FREE = ("free_in_context", "free")
"""The parts that are answered in the model's own words: right or wrong, without log-odds."""


class Scoring(Record):
    """How rows of a task become its score; stored in run.json.

    Attributes:
        cluster: the column whose values an interval is over.
        balance: the column whose values weigh the same within a facet; None: clusters do.
        counted: facet -> the name under which it counts; facets not listed do not count. Empty:
            each facet counts by itself. The score is the plain mean over names.
        poles: control ("" for the test tasks) -> its twins, the positive pole first.
    """

    measure: Measure
    cluster: Literal["member", "group", "item"]
    balance: str | None = "answer"
    counted: dict[str, str] = Field(default_factory=dict)
    poles: dict[str, tuple[str, str]] = Field(default_factory=dict)

    @classmethod
    def of(cls, tasks: TaskSet | Task) -> Scoring:
        """The scoring of a family's tasks, or of one task that is scored alone."""
        if isinstance(tasks, Task):
            groups = {example.group for example in tasks.probes}
            cluster: Literal["group", "item"] = "group" if len(groups) >= FEWEST else "item"
            return cls(measure="accuracy", cluster=cluster, counted=dict(tasks.headline))
        poles: dict[str, tuple[str, str]] = {}
        if tasks.poles is not None:
            poles[""] = tasks.poles
            for name, control in tasks.controls.items():
                if len(control) == len(tasks.test):
                    poles[name] = (control[0].member, control[1].member)
        accuracy = tasks.score == "accuracy"
        return cls(
            measure="accuracy" if accuracy else "contrast" if poles else "log_odds",
            cluster="member" if accuracy and len(tasks.test) > 1 else "group",
            balance=tasks.balance,
            counted=dict(tasks.headline),
            poles=poles,
        )

    @classmethod
    def read(cls, folder: Path) -> Scoring:
        """The scoring of a finished run; InputError: no run.json that says how rows are scored."""
        path = folder / "run.json"
        try:
            return _ScoringRecord.model_validate_json(path.read_text(encoding="utf-8")).scoring
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise InputError(
                f"{path} does not say how rows are scored ({first_line(error)}); "
                f"`{command_line(['oocr', 'run', folder / 'config.yaml'])}` writes it again "
                "without training"
            ) from error

    @property
    def by_facet(self) -> Scoring:
        """The same with each facet by itself, those that do not count too."""
        return self.model_copy(update={"counted": {}})

    @property
    def unbalanced(self) -> Scoring:
        """The same with the same weight for each cluster."""
        return self.model_copy(update={"balance": None})

    @property
    def axis(self) -> str:
        """Title of the score's axis."""
        return {
            "accuracy": "share right",
            "contrast": "log-odds, one pole minus its twin (nats)",
            "log_odds": "log-odds minus the untouched model's (nats)",
        }[self.measure]

    @property
    def units(self) -> str:
        """The units of an interval, in words."""
        of_cluster = {"member": "members", "group": "probe groups", "item": "probes"}
        return of_cluster[self.cluster] if self.measure == "accuracy" else "probes"

    @property
    def bars(self) -> str:
        """A description of intervals for captions."""
        if self.measure == "accuracy":
            return f"95 % intervals over {self.units}"
        return f"95 % bootstrap intervals over {self.units} and seeds"

    def counts(self, facet: str) -> bool:
        """Whether a facet of the probes counts in the score."""
        return not self.counted or facet in self.counted

    def names(self, facets: Sequence[str]) -> list[str]:
        """The names under which these facets count, in order."""
        if not self.counted:
            return list(dict.fromkeys(facets))
        return list(dict.fromkeys(self.counted[name] for name in facets if name in self.counted))

    def rows(
        self,
        rows: pl.DataFrame,
        arm: str,
        control: str = "",
        part: str = "probes",
        seed: int | None = None,
    ) -> pl.DataFrame:
        """The rows of one arm (and seed) that count, at its chosen stopping point."""
        rows = select_rows(rows, arm, control, part)
        return self.kept(rows if seed is None else rows.filter(pl.col("seed") == seed))

    def kept(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that count: of planted controls those on the intended answer."""
        rows = intended(rows)
        if self.counted:
            counted = pl.col("facet").is_in(list(self.counted))
            rows = rows.filter(counted | (pl.col("part") != "probes"))
        return rows

    def cells(
        self,
        rows: pl.DataFrame,
        arm: str,
        control: str = "",
        part: str = "probes",
        seed: int | None = None,
    ) -> Cells | None:
        """The score of an arm as cells [cluster, seed, name]; None without such rows."""
        return self.score(
            self.rows(rows, arm, control, part, seed), self.rows(rows, "base", part=part)
        )

    def score(self, rows: pl.DataFrame, base: pl.DataFrame | None = None) -> Cells | None:
        """Cells of any rows of one arm and part, at one stopping point; None without a score.

        `base` are the untouched model's rows, which only "log_odds" needs.
        """
        rows = self.kept(rows)
        if rows.is_empty():
            return None
        if self.measure == "accuracy" or rows["part"][0] in FREE:
            return self._merged(rows, "right", self.cluster, self.balance)
        members = set(rows["member"].unique().to_list())
        twins = next((pair for pair in self.poles.values() if set(pair) <= members), None)
        if twins is not None:
            sides = [rows.filter(pl.col("member") == member) for member in twins]
        elif self.poles or base is None:
            return None
        else:
            sides = [rows, self.kept(base)]
        keys = ["facet", "group"]
        both = sides[0].select(keys).unique().join(sides[1].select(keys).unique(), on=keys)
        if both.is_empty():
            return None
        sides = [side.join(both, on=keys, how="semi", maintain_order="left") for side in sides]
        positive, negative = (self._merged(side, "log_odds", "group", None) for side in sides)
        return positive - negative

    def interval(self, rows: pl.DataFrame, base: pl.DataFrame | None = None) -> Interval | None:
        """The score of rows (see `score`) with its interval."""
        cells = self.score(rows, base)
        return None if cells is None else stats.estimate(cells)

    def _merged(self, rows: pl.DataFrame, value: str, cluster: str, balance: str | None) -> Cells:
        """Cells by the names under which facets count.

        Facets of one name: within a cluster its rows weigh the same, but for their weights by
        answer, which go by the facet; so one answer to a facet cannot win there either.
        """
        rows = rows.sort("facet", maintain_order=True)
        bounds = SHARE if value == "right" else None
        cells = stats.cells(rows, value, cluster=cluster, balance=balance, bounds=bounds)
        names = [
            self.counted.get(name, name) if rows["part"][0] == "probes" else name
            for name in cells.facets
        ]
        if len(set(names)) == len(names):
            return replace(cells, facets=tuple(names))
        counts = rows.group_by(cluster, "facet").len()
        items = np.zeros_like(cells.weights)
        for unit, facet, count in counts.iter_rows():
            items[cells.clusters.index(unit), cells.facets.index(facet)] = count
        merged = tuple(dict.fromkeys(names))
        values = np.full((*cells.values.shape[:2], len(merged)), np.nan)
        weights, sizes = (np.zeros((len(cells.clusters), len(merged))) for _ in range(2))
        for place, merged_name in enumerate(merged):
            columns = [index for index, name in enumerate(names) if name == merged_name]
            shares = cells.weights[:, columns] * items[:, columns]
            present = ~np.isnan(cells.values[:, :, columns])
            weighed = shares[:, None] * present
            total = weighed.sum(axis=2)
            sums = (weighed * np.where(present, cells.values[:, :, columns], 0.0)).sum(axis=2)
            values[:, :, place] = sums / np.where(total > 0, total, np.nan)
            size = items[:, columns].sum(axis=1)
            weights[:, place] = shares.sum(axis=1) / np.where(size > 0, size, 1)
            if cells.items is not None:
                sizes[:, place] = np.nansum(cells.items[:, columns], axis=1)
        counted = None if cells.items is None else np.where(sizes > 0, sizes, np.nan)
        return replace(cells, values=values, weights=weights, facets=merged, items=counted)

    def base(self, rows: pl.DataFrame, like: Cells, part: str = "probes") -> Cells | None:
        """The untouched model's score in the same clusters; 0 where the score is a difference."""
        if self.measure != "accuracy" and part not in FREE:
            return replace(like, values=np.zeros_like(like.values))
        base = self.rows(rows, "base", part=part)
        return self.score(base.filter(pl.col(self.cluster).is_in(like.clusters)))

    def effect(self, rows: pl.DataFrame, arm: str) -> Interval | None:
        """The score of an arm over the untouched model's, paired."""
        cells = self.cells(rows, arm)
        base = None if cells is None else self.base(rows, cells)
        return None if cells is None or base is None else stats.estimate(cells - base)

    def share_kept(self, rows: pl.DataFrame, arm: str, whole: str = "adapter") -> Interval | None:
        """The share of one arm's effect that another reaches, by Fieller's interval.

        None where the effect is not above 0 by Student's t (then that interval has no ends).
        """
        part, cells = self.cells(rows, arm), self.cells(rows, whole)
        base = None if cells is None else self.base(rows, cells)
        if part is None or cells is None or base is None or not stats.mean(cells - base) > 0:
            return None
        share = stats.ratio(part, cells, base)
        return None if np.isnan([share.low, share.high]).any() else share

    def random_scores(self, rows: pl.DataFrame, arm: str = "random direction") -> list[float]:
        """The score of each random direction; empty where twins share their directions."""
        seeds = select_rows(rows, arm)["seed"].unique().sort().to_list()
        cells = [self.cells(rows, arm, seed=seed) for seed in seeds]
        scores = [stats.mean(direction) for direction in cells if direction is not None]
        return scores if self.measure != "contrast" or any(scores) else []


class _ScoringRecord(BaseModel):
    """The part of run.json that holds the scoring."""

    scoring: Scoring


def intended(rows: pl.DataFrame) -> pl.DataFrame:
    """Of planted controls the rows on the intended answer; all others."""
    if "tag_against" not in rows.columns:
        return rows
    return rows.filter(pl.col("tag_against").fill_null("intended") == "intended")


def select_rows(
    rows: pl.DataFrame, arm: str, control: str = "", part: str = "probes"
) -> pl.DataFrame:
    """The rows of one arm and part at its chosen stopping point."""
    return rows.filter(
        pl.col("final"), pl.col("arm") == arm, pl.col("control") == control, pl.col("part") == part
    )


def selection_scores(rows: pl.DataFrame, scoring: Scoring) -> tuple[float, float]:
    """The score of a grid's point on validation tasks, and what breaks ties.

    Accuracy as it is reported, else the mean log-probability of the trained option; ties by that.
    The rows are those of all validation tasks' probes at one stopping point.
    """
    rows = scoring.kept(rows)
    likely = stats.mean(stats.cells(rows, "logp", balance=None))
    cells = scoring.score(rows) if scoring.measure == "accuracy" else None
    return (likely if cells is None else stats.mean(cells)), likely
