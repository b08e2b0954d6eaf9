"""How hyperparameters were chosen, and scores by layer."""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr import stats
from oocr.charts.arms import BASE, Arm, rows_of_arm
from oocr.charts.figure import Figure, LegendEntry, Panel, figure_of
from oocr.charts.heat import heat_panel
from oocr.charts.lines import lines_panel
from oocr.charts.pieces import Json, number
from oocr.evals.score_table import whole_name
from oocr.evals.scores import Scoring
from oocr.report.figures.training import METHODS, facet_panels, method_lines
from oocr.runs.folder import RunFolder, as_float, has

_MOST = 9  # panels


def selection_figure(run: RunFolder) -> Figure | None:
    """The validation score at every point of the grid: a heat map per method."""
    data = _grid(run)
    if run.selection is None or data.is_empty():
        return None
    limits = as_float(data["score"].min()), as_float(data["score"].max())
    panels = [
        _grid_heat(arm, data.filter(pl.col("method") == arm.name), limits)
        for arm in METHODS
        if arm.name in data["method"]
    ]
    caption = (
        f"Validation score ({run.selection.criterion}) on {', '.join(run.selection.tasks)}; "
        "the square marks the choice. The items that are reported took no part in it."
    )
    keys = [LegendEntry("chosen", "chosen", "ink", "square-open")] if data["chosen"].any() else []
    scale = (number(limits[0]), number(limits[1]))
    return figure_of("selection", caption, panels, data, keys, scale=scale)


def _grid(run: RunFolder) -> pl.DataFrame:
    """The points of the grid that were tried; where there was one only, none was."""
    points = run.selection.grid if run.selection is not None else ()
    return pl.DataFrame([point.model_dump() for point in points if point.score is not None])


def _grid_heat(arm: Arm, grid: pl.DataFrame, limits: tuple[float, float]) -> Panel:
    rows = sorted(set(grid.select("layer", "learning_rate").iter_rows()))
    steps = sorted(grid["step"].unique().to_list())
    cells = {
        (rows.index((point["layer"], point["learning_rate"])), steps.index(point["step"])): point
        for point in grid.iter_rows(named=True)
    }
    places = [[(row, column) for column in range(len(steps))] for row in range(len(rows))]
    return heat_panel(
        [f"layer {layer} · {rate:g}" for layer, rate in rows],
        [str(step) if step else _step(0) for step in steps],
        [[cells[at]["score"] if at in cells else None for at in row] for row in places],
        limits=limits,
        hover=[[_grid_hover(cells[at]) if at in cells else "" for at in row] for row in places],
        chosen=[at for at, point in cells.items() if point["chosen"]],
        x="" if steps == [0] else "training steps",
        title=f"{arm.label}: layer · learning rate",
        span=3,
    )


def _grid_hover(point: Json) -> str:
    return (
        f"layer {point['layer']}, learning rate {point['learning_rate']:g}, "
        f"{_step(point['step'])}<br>validation score {number(point['score'], 3)}"
        + (" (chosen)" if point["chosen"] else "")
    )


def _step(step: int) -> str:
    """Step 0 stands for each arm's own stopping point."""
    return f"step {step}" if step else "own stopping point"


def layers_figure(run: RunFolder) -> Figure | None:
    """The best validation score at each layer, over learning rates and steps."""
    data = _grid(run)
    if run.selection is None or data.is_empty() or data["layer"].n_unique() < 2:
        return None
    best = data.group_by("method", "layer").agg(pl.col("score").max()).sort("method", "layer")
    arms = [arm for arm in METHODS if arm.name in best["method"]]
    lines = method_lines(best.rename({"method": "arm"}), arms, "layer", "score", intervals=False)
    ticks = sorted(best["layer"].unique().to_list())
    panel = lines_panel(lines, "layer", "validation score", ticks=ticks, span=6, height=300)
    caption = (
        f"Best validation score ({run.selection.criterion}) at each layer, over learning rates and "
        "steps. Only validation tasks. The best of several trials is a little too high everywhere."
    )
    return figure_of("layers", caption, [panel], best, [arm.entry() for arm in arms])


def tested_layers_figure(run: RunFolder) -> Figure | None:
    """Test scores by layer, where the reported arms were trained at several layers.

    A panel for the headline score and one per facet of it; a point per layer and method.
    """
    scoring = run.scoring
    if scoring is None or not has(run.rows, "layer"):
        return None
    rows = run.rows.filter(pl.col("final"), pl.col("part") == "probes", pl.col("control") == "")
    whole, base_rows = whole_name(scoring), rows_of_arm(rows, BASE)
    points = []
    for arm in METHODS:
        of_arm = rows.filter(pl.col("arm").is_in([arm.name, f"{arm.name} sweep"]))
        if of_arm["layer"].drop_nulls().n_unique() > 1:
            points += _layer_points(scoring, of_arm, base_rows, arm, whole)
    if not points:
        return None
    data = pl.DataFrame(points).sort("arm", "facet", "layer")
    facets = [whole, *scoring.names(rows["facet"].unique(maintain_order=True).to_list())]
    base = _base_scores(scoring, base_rows, whole)
    arms = [arm for arm in METHODS if arm.name in data["arm"]]
    accuracy = scoring.measure == "accuracy"
    panels = facet_panels(data, facets[:_MOST], arms, "layer", base, shares=accuracy)
    caption = (
        "Test scores with the arm at each layer, every layer with its own best learning rate and "
        f"stopping point on the validation tasks. Bars: {scoring.bars}. Filled: the layer chosen "
        "on the validation tasks, which the rest of the page reports."
        + (" Level line: the untouched model." if base else "")
        + f" n = {rows_of_arm(rows, arms[0])['member'].n_unique()} members."
    )
    keys = [arm.entry() for arm in arms] + ([BASE.entry(symbol="line")] if base else [])
    return figure_of("layers-test", caption, panels, data, keys)


def _layer_points(
    scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, arm: Arm, whole: str
) -> list[dict[str, Any]]:
    points = []
    for (layer, name), at_layer in rows.group_by("layer", "arm", maintain_order=True):
        cells = scoring.score(at_layer, base)
        if layer is None or cells is None:
            continue
        for facet in (whole, *cells.facets):
            interval = stats.estimate(cells if facet == whole else cells.only(facet))
            points.append(
                {"arm": arm.name, "layer": layer, "chosen": name == arm.name, "facet": facet}
                | interval.columns
            )
    return points


def _base_scores(scoring: Scoring, rows: pl.DataFrame, whole: str) -> dict[str, float]:
    cells = scoring.score(rows) if scoring.measure == "accuracy" else None
    if cells is None:
        return {}
    facets = {name: stats.mean(cells.only(name)) for name in cells.facets}
    return {whole: stats.mean(cells), **facets}
