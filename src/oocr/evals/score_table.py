"""Scores by part, facet and arm, with intervals and the null of random directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from oocr import html, stats
from oocr.charts.arms import Arm, arms_in, is_null, without_sweeps
from oocr.charts.pieces import interval_text
from oocr.engine.forward import Intervention, start_block
from oocr.errors import InputError
from oocr.evals.probes import Probes, arm_columns
from oocr.evals.probes import rows as score_rows
from oocr.evals.scores import FREE, Scoring, intended, select_rows
from oocr.intervals import Interval
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

ALL = "all probes"
COUNTED = "all probes that count"

PAPER = "paper"
PARTS = ("in_context", "free_in_context", "probes", "free", PAPER)
"""The parts that are shown: trained skill first."""


def whole_name(scoring: Scoring) -> str:
    """The name of the row with the score itself."""
    return COUNTED if scoring.counted else ALL


def shown_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of reported arms at their stopping points; of planted controls the intended answers."""
    return intended(without_sweeps(rows).filter("final"))


def facet_order(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """(part, facet): trained skill first, then probes as they come."""
    return [
        (part, facet)
        for part in PARTS
        for facet in rows.filter(pl.col("part") == part)["facet"].unique(maintain_order=True)
    ]


def score_table(
    scoring: Scoring, rows: pl.DataFrame, chance: Mapping[str, float], *, balanced: bool = True
) -> pl.DataFrame:
    """One row per part, facet and arm, and one for the score, which is the mean over names.

    Columns: part, arm, control, balanced, members, seeds, chance, facet, counted (whether the facet
    counts in the score), value, low, high, items. For random directions `value` is their median,
    `low` and `high` their 5th and 95th centile, `items` their number.
    """
    final = shown_rows(rows)
    scoring = scoring if balanced else scoring.unbalanced
    theirs = paper_chance(final) if scoring.measure == "accuracy" else {}
    chances = {"in_context": chance, "probes": chance, PAPER: theirs}
    lines: list[dict[str, object]] = []
    for arm in arms_in(final):
        for part in PARTS:
            rows_of_part = select_rows(final, arm.name, arm.control, part)
            if rows_of_part.is_empty() or (part in FREE and scoring.measure != "accuracy"):
                continue
            # The paper counts items: all have the same weight.
            used = scoring.unbalanced if part == PAPER else scoring
            base = select_rows(final, "base", part=part)
            lines += [
                {
                    "part": part,
                    "arm": arm.name,
                    "control": arm.control,
                    "balanced": balanced,
                    "members": rows_of_part["member"].n_unique(),
                    "seeds": max(1, rows_of_part["seed"].n_unique()),
                    "chance": chances.get(part, {}).get(str(line["facet"])),
                    **line,
                }
                for line in _lines(used, rows_of_part, base, arm, part)
            ]
    return pl.DataFrame(lines, infer_schema_length=None)


def _lines(
    scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, arm: Arm, part: str
) -> Iterator[dict[str, object]]:
    """One row for the score (of probes), then one per facet."""
    if is_null(arm):
        yield from _null_lines(scoring, rows, base, part)
        return
    if part == "probes" and (cells := scoring.score(rows, base)) is not None:
        interval = stats.estimate(cells)
        yield _line(whole_name(scoring), interval, scoring.kept(rows).height, counted=True)
    cells = scoring.by_facet.score(rows, base)
    if cells is None:
        return
    counts = dict(rows.group_by("facet").len().iter_rows())
    for facet in cells.facets:
        facet_cells = cells.only(facet)
        if facet_cells.clusters:
            counted = part != "probes" or scoring.counts(facet)
            interval = stats.estimate(facet_cells)
            yield _line(facet, interval, counts.get(facet, 0), counted=counted)


def _line(facet: str, interval: Interval, items: int, *, counted: bool) -> dict[str, object]:
    return {"facet": facet, "counted": counted, **interval.columns, "items": items}


def _null_lines(
    scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, part: str
) -> Iterator[dict[str, object]]:
    """Median and 5th and 95th centile over random directions."""
    scores = null_scores(scoring, rows, base).drop_nans("score")
    for whole in (True, False) if part == "probes" else (False,):
        chosen = scores.filter(pl.col("whole") == whole)
        summary = chosen.group_by("facet", maintain_order=True).agg(
            value=pl.col("score").median(),
            low=pl.col("score").quantile(0.05, "linear"),
            high=pl.col("score").quantile(0.95, "linear"),
            items=pl.len(),
        )
        for line in summary.iter_rows(named=True):
            facet = whole_name(scoring) if whole else line["facet"]
            counted = whole or part != "probes" or scoring.counts(facet)
            yield {"facet": facet, "counted": counted, **{k: line[k] for k in _NUMBERS}}


_NUMBERS = ("value", "low", "high", "items")


def null_scores(scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame | None) -> pl.DataFrame:
    """The score of each random direction: columns facet, whole, number, score.

    Rows with `whole` are the score itself, the others a facet's. Empty where twins share their
    directions: those make no null.
    """
    lines = []
    for (seed,), direction in rows.group_by("seed", maintain_order=True):
        cells = scoring.score(direction, base)
        if cells is not None:
            lines.append(("", True, seed, stats.mean(cells)))
        cells = scoring.by_facet.score(direction, base)
        if cells is not None:
            lines += [(name, False, seed, stats.mean(cells.only(name))) for name in cells.facets]
    schema = {"facet": pl.String, "whole": pl.Boolean, "number": pl.Int64, "score": pl.Float64}
    table = pl.DataFrame(lines, schema=schema, orient="row")
    if scoring.measure == "contrast" and not (table["score"] != 0).any():
        return table.clear()
    return table


def paper_chance(rows: pl.DataFrame) -> dict[str, float]:
    """Chance by facet of the paper's questions."""
    rows = rows.filter(pl.col("part") == PAPER)
    if rows.is_empty() or "options" not in rows.columns:
        return {}
    means = rows.group_by("facet", maintain_order=True).agg((1 / pl.col("options")).mean())
    return {str(facet): float(value) for facet, value in means.iter_rows()}


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows of arms (columns: `oocr.runs.records`), scored as in verdicts and reports."""

    rows: pl.DataFrame
    scoring: Scoring

    @classmethod
    def read(cls, folder: str | Path) -> Scores:
        """The scores of a finished run; InputError: not the folder of a finished run."""
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

    def accuracy(self, arm: str, part: str = "probes", control: str = "") -> Interval:
        """The score of an arm with its interval: for tasks that are scored so, the accuracy.

        InputError: no rows of this arm and part, or none that count.
        """
        cells = self.scoring.cells(self.rows, arm, control, part)
        if cells is None:
            names = ", ".join(repr(other.label) for other in self._arms())
            raise InputError(f"arm {arm!r} has no rows that count in part {part!r}; arms: {names}")
        return stats.estimate(cells)

    def share_kept(self, arm: str, whole: str = "adapter") -> Interval | None:
        """The share of one arm's effect that another reaches; None where there is no effect."""
        return self.scoring.share_kept(self.rows, arm, whole)

    @property
    def ties(self) -> dict[str, int]:
        """Arm -> its rows in which the answer shares the best score with others: none is right."""
        return ties(self.rows)

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
            return "\n".join(filter(None, (str(self.table()), about_ties(self.rows))))

    def _repr_html_(self) -> str:
        intervals = self.intervals()
        arms = self._arms()
        lines: dict[tuple[str, str], dict[Arm, str]] = {}
        for line in intervals.iter_rows(named=True):
            facet = line["facet"] if line["counted"] else f"{line['facet']} (does not count)"
            cell = interval_text(line["value"], line["low"], line["high"])
            lines.setdefault((line["part"], facet), {})[Arm(line["arm"], line["control"])] = cell
        return html.table(
            ["part", "facet", *(arm.label for arm in arms)],
            [[*key, *(cells.get(arm, "–") for arm in arms)] for key, cells in lines.items()],
            "; ".join(filter(None, (self.scoring.axis, about_ties(self.rows)))),
        )


def _label() -> pl.Expr:
    name = pl.format("{} · {}", "arm", "control")
    return pl.when(pl.col("control") == "").then(pl.col("arm")).otherwise(name).alias("arm")


def ties(rows: pl.DataFrame) -> dict[str, int]:
    """Arm -> its rows in which the answer shares the best score with other options."""
    if "tied" not in rows.columns:  # a run of before
        return {}
    return dict(rows.filter("tied").group_by(_label(), maintain_order=True).len().iter_rows())


def about_ties(rows: pl.DataFrame) -> str:
    """The same in words, as bfloat16's rounding causes them; empty without ties."""
    counts = ", ".join(f"{arm} {count}" for arm, count in ties(rows).items())
    return f"answers that tie with other options, counted as not right: {counts}" * bool(counts)


def evaluate(model: LanguageModel, task: Task, arms: Mapping[str, Intervention | None]) -> Scores:
    """Ask a task's choices (`scored`), in context and out of context, under each intervention.

    `arms`: name -> a vector, an adapter, or None for the untouched model.

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
            columns = arm_columns(name, task.member, 0, part=part)
            frames.append(score_rows(items, scores, columns))
    return Scores(pl.concat(frames, how="diagonal"), Scoring.of(task))
