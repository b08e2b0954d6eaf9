"""Score interventions on a task, for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from oocr import stats
from oocr.engine.forward import Intervention, start_block
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows of some arms on one task.

    Attributes:
        rows: one row per arm and item (columns: `oocr.evals.table`, after `arm` and `part`).
    """

    rows: pl.DataFrame

    def table(self) -> pl.DataFrame:
        """Share of right answers: one row per facet, one column per arm."""
        means = self.rows.group_by("part", "facet", "arm", maintain_order=True).agg(
            pl.col("right").mean(), pl.len().alias("items")
        )
        return means.pivot(on="arm", index=["part", "facet", "items"], values="right")

    def accuracy(self, arm: str, part: str = "probes") -> stats.Interval:
        """Mean over facets of the share right, with an interval over wordings."""
        some = self.rows.filter(pl.col("arm") == arm, pl.col("part") == part)
        return stats.estimate(
            stats.cells(some.with_columns(seed=pl.lit(0)), "right", cluster="item", balance=None)
        )

    def plot(self) -> Any:
        """A plotly figure: share right by facet and arm."""
        import plotly.graph_objects as go

        table = self.table()
        figure = go.Figure()
        for arm in self.rows["arm"].unique(maintain_order=True).to_list():
            figure.add_bar(name=arm, x=table["facet"].to_list(), y=table[arm].to_list())
        figure.update_layout(
            barmode="group",
            yaxis={"title": "share right", "range": [0, 1]},
            template="simple_white",
        )
        return figure

    def __repr__(self) -> str:
        with pl.Config(tbl_rows=50, tbl_hide_dataframe_shape=True, float_precision=2):
            return str(self.table())


def evaluate(model: LanguageModel, task: Task, arms: Mapping[str, Intervention | None]) -> Scores:
    """Ask a task's choices, in context and out of context, under each intervention.

    Args:
        model: the model.
        task: whose choices are asked: `scored`.
        arms: name -> a vector, an adapter, or None for the untouched model.

    Raises:
        InputError: nothing to ask, no arm, or a vector whose span a question lacks.
    """
    if not arms or not task.scored:
        raise InputError(f"{task.name}: {len(arms)} arms and {len(task.scored)} parts to score")
    starts = {start_block(arm) if arm is not None else model.n_blocks for arm in arms.values()}
    frames = []
    for part, items in task.scored.items():
        probes = Probes.of(model, items, starts=starts)
        for name, arm in arms.items():
            scored = probes.scores([arm] if isinstance(arm, Vector) else arm)[0]
            frames.append(rows(items, scored, {"arm": name, "part": part}))
    return Scores(pl.concat(frames, how="diagonal"))
