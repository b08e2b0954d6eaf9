"""Score interventions on a task, for a notebook; read a run's scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from oocr import html, stats
from oocr.charts.arms import Arm, without_sweeps
from oocr.charts.figure import number
from oocr.engine.forward import Intervention, start_block
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.score_table import score_table, whole_name
from oocr.evals.scores import Scoring
from oocr.evals.table import rows as rows_of
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows of some arms, and how they are scored: as in verdicts and reports.

    Attributes:
        rows: one row per arm and item (columns: `oocr.runs.records`).
        scoring: how rows become a score.
    """

    rows: pl.DataFrame
    scoring: Scoring

    @classmethod
    def read(cls, folder: str | Path) -> Scores:
        """The scores of a finished run.

        Raises:
            InputError: not the folder of a finished run.
        """
        path = Path(folder) / "rows.parquet"
        if not path.is_file():
            raise InputError(f"{folder}: not the folder of a finished run (no rows.parquet)")
        scoring = Scoring.read(Path(folder))
        return cls(without_sweeps(pl.read_parquet(path)).filter("final"), scoring)

    def intervals(self, *, balanced: bool = True) -> pl.DataFrame:
        """One row per part, facet and arm with its interval: see `score_table`."""
        return score_table(self.scoring, self.rows, {}, balanced=balanced)

    def table(self) -> pl.DataFrame:
        """The score by facet, one column per arm; first of each part the score over all facets."""
        intervals = self.intervals().with_columns(arm=_label())
        table = intervals.pivot(on="arm", index=["part", "facet", "counted"], values="value")
        asked = self.rows.select("part", "facet", "item").unique()
        probes = self.scoring.kept(asked.filter(pl.col("part") == "probes"))
        asked = pl.concat([asked, probes.with_columns(facet=pl.lit(whole_name(self.scoring)))])
        counts = asked.group_by("part", "facet").agg(pl.len().alias("items"))
        table = table.join(counts, on=["part", "facet"], how="left", maintain_order="left")
        arms = self.rows.select(_label())["arm"].unique(maintain_order=True)
        shown = [arm for arm in arms if arm in table.columns]
        return table.select("part", "facet", "counted", "items", *shown)

    def accuracy(self, arm: str, part: str = "probes", control: str = "") -> stats.Interval:
        """The score of an arm with its interval: for tasks that are scored so, the accuracy.

        Raises:
            InputError: no rows of this arm and part, or none that count.
        """
        cells = self.scoring.cells(self.rows, arm, control, part)
        if cells is None:
            names = ", ".join(repr(known.label) for known in self._arms())
            raise InputError(f"arm {arm!r} has no rows that count in part {part!r}; arms: {names}")
        return stats.estimate(cells)

    def share_kept(self, arm: str, whole: str = "adapter") -> stats.Interval | None:
        """The share of one arm's effect that another reaches; None where there is no effect."""
        return self.scoring.share_kept(self.rows, arm, whole)

    def _arms(self) -> list[Arm]:
        """In the order of the rows."""
        pairs = self.rows.select("arm", "control").unique(maintain_order=True).iter_rows()
        return [Arm(name, control) for name, control in pairs]

    def plot(self) -> Any:
        """A plotly figure: the score by facet and arm, with intervals."""
        import plotly.graph_objects as go

        intervals = self.intervals()
        figure = go.Figure()
        for arm in self._arms():
            lines = intervals.filter(pl.col("arm") == arm.name, pl.col("control") == arm.control)
            figure.add_bar(
                name=f"{arm.name} · {arm.control}" if arm.control else arm.name,
                x=lines["facet"].to_list(),
                y=lines["value"].to_list(),
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": (lines["high"] - lines["value"]).to_list(),
                    "arrayminus": (lines["value"] - lines["low"]).to_list(),
                },
            )
        limits = [0, 1] if self.scoring.measure == "accuracy" else None
        figure.update_layout(
            barmode="group",
            yaxis={"title": self.scoring.axis, "range": limits},
            template="simple_white",
        )
        return figure

    def __repr__(self) -> str:
        with pl.Config(tbl_rows=50, tbl_hide_dataframe_shape=True, float_precision=2):
            return str(self.table())

    def _repr_html_(self) -> str:
        intervals = self.intervals()
        arms = self._arms()
        lines: dict[tuple[str, str], dict[Arm, str]] = {}
        for line in intervals.iter_rows(named=True):
            facet = line["facet"] if line["counted"] else f"{line['facet']} (does not count)"
            ends = f"[{number(line['low'])}, {number(line['high'])}]"
            cell = f"{number(line['value'])} {ends}"
            lines.setdefault((line["part"], facet), {})[Arm(line["arm"], line["control"])] = cell
        return html.table(
            ["part", "facet", *(arm.label for arm in arms)],
            [[*key, *(cells.get(arm, "–") for arm in arms)] for key, cells in lines.items()],
            self.scoring.axis,
        )


def _label() -> pl.Expr:
    name = pl.format("{} · {}", "arm", "control")
    return pl.when(pl.col("control") == "").then(pl.col("arm")).otherwise(name).alias("arm")


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
            scores = probes.scores([arm] if isinstance(arm, Vector) else arm)[0]
            columns: dict[str, str | int | float | None] = {
                **{"arm": name, "control": "", "member": task.member, "seed": 0, "part": part}
            }
            frames.append(rows_of(items, scores, columns))
    rows = pl.concat(frames, how="diagonal").with_columns(final=pl.lit(value=True))
    return Scores(rows, Scoring.of(task))
