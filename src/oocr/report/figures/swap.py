"""What is kept of a LoRA's effect by its mean difference."""

from __future__ import annotations

import math

import polars as pl

from oocr import stats
from oocr.charts import arms, pieces
from oocr.charts.arms import ADAPTER, BASE, NULLS, rows_of_arm
from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, figure_of
from oocr.evals.score_table import null_scores, shown_rows, whole_name
from oocr.evals.scores import Scoring
from oocr.report.figures.scores import SHARE
from oocr.runs.folder import RunFolder, as_float

_SWAP_ARMS = (BASE, arms.RANDOM_SPAN, arms.RANDOM_EVERYWHERE, *arms.SWAPS, ADAPTER)


def swap_figure(run: RunFolder) -> Figure | None:
    """Scores per member (or facet, for log-odds) of LoRA and swaps, and the effect kept."""
    scoring = run.scoring
    if scoring is None or run.rows is None:
        return None
    final = shown_rows(run.rows).filter(pl.col("part") == "probes", pl.col("control") == "")
    whole = whole_name(scoring)
    final = scoring.kept(final)
    swaps = [arm for arm in arms.SWAPS if not rows_of_arm(final, arm).is_empty()]
    if not swaps or rows_of_arm(final, ADAPTER).is_empty():
        return None
    unit = "member" if scoring.cluster == "member" else "facet"
    table = _swap_table(scoring, final, unit, whole)
    shares = {arm: scoring.share_kept(final, arm.name) for arm in swaps}
    kept = {arm: share for arm, share in shares.items() if share is not None}
    lora = dict(table.filter(pl.col("arm") == ADAPTER.name).select("row", "score").iter_rows())
    accuracy = scoring.measure == "accuracy"
    panel = dot_panel(
        table.with_columns(value="score", control=pl.lit("")),
        [whole, *sorted((name for name in lora if name != whole), key=lambda name: -lora[name])],
        scoring.axis,
        strong=(whole,),
        limits=SHARE if accuracy else None,
        one_lane=True,
        link=(BASE, ADAPTER),
    )
    caption = (
        f"Out-of-context score ({scoring.axis}) per {unit}, mean over seeds: the LoRA, and its "
        "mean difference as a constant vector in its place"
        + (
            " (x and +: median over random directions of the same norm)"
            if any(arm.name in table["arm"] for arm in NULLS)
            else ""
        )
        + ". The line runs from the untouched model to the LoRA."
        + (
            f" For “{whole}”, each distinct answer weighs the same."
            if accuracy and scoring.balance
            else ""
        )
        + (f" Shares of effect: Fieller's 95 % intervals over {scoring.units}." if kept else "")
    )
    recovery = pl.DataFrame(
        {"row": "recovery", "arm": arm.name, "score": i.value, "low": i.low, "high": i.high}
        for arm, i in kept.items()
    )
    data = pl.concat([table, recovery], how="diagonal") if kept else table
    keys = [
        arm.entry(symbol="tick" if arm == BASE else "")
        for arm in _SWAP_ARMS
        if arm.name in table["arm"]
    ]
    stats_shown = [
        (
            f"of the LoRA’s effect kept, {arm.label}",
            f"{pieces.percent(i.value)} % [{pieces.percent(i.low)}, {pieces.percent(i.high)}]",
        )
        for arm, i in kept.items()
    ]
    return figure_of("swap", caption, [panel], data, keys, stats=stats_shown)


def _swap_table(scoring: Scoring, final: pl.DataFrame, unit: str, whole: str) -> pl.DataFrame:
    names = rows_of_arm(final, ADAPTER)[unit].unique(maintain_order=True).to_list()
    lines = []
    for arm in _SWAP_ARMS:
        of_arm = rows_of_arm(final, arm)
        for name in (whole, *names):
            rows = of_arm if name == whole else of_arm.filter(pl.col(unit) == name)
            value = _score(scoring, rows, rows_of_arm(final, BASE), null=arm in NULLS)
            if value is not None and math.isfinite(value):
                lines.append({"row": name, "arm": arm.name, "score": value})
    return pl.DataFrame(lines)


def _score(scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, *, null: bool) -> float | None:
    if rows.is_empty():
        return None
    if null:
        scores = null_scores(scoring, rows, base).filter("whole")
        return None if scores.is_empty() else as_float(scores["score"].median())
    cells = scoring.score(rows, base)
    return None if cells is None else stats.mean(cells)
