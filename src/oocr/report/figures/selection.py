"""How hyperparameters were chosen: the validation score at every point of the grid."""

from __future__ import annotations

import polars as pl

from oocr.charts.arms import Arm
from oocr.charts.figure import Figure, Json, Key, Panel, View, number
from oocr.charts.traces import axis, layout
from oocr.report.figures.members import HEAT
from oocr.report.runs import Run, as_float


def selection_figure(run: Run) -> Figure | None:
    """A heat map per method: layers and learning rates down, steps across."""
    data = _scored(run)
    if run.selection is None or data.is_empty():
        return None
    low, high = as_float(data["score"].min()), as_float(data["score"].max())
    panels = tuple(
        _heat(Arm(method), data.filter(pl.col("method") == method), (low, high))
        for method in ("vector", "adapter")
        if method in data["method"]
    )
    caption = (
        f"Validation score ({run.selection.criterion}) on {', '.join(run.selection.tasks)}; "
        f"the square marks the choice. The items "
        "that are reported took no part in it."
    )
    scale = (number(low), number(high))
    keys = (Key("chosen", "chosen", "ink", "square-open"),) if data["chosen"].any() else ()
    return Figure("selection", caption, (View("", panels),), data, keys, scale)


def _scored(run: Run) -> pl.DataFrame:
    """The points of the grid that were tried; where there was one only, none was."""
    points = run.selection.grid if run.selection is not None else ()
    return pl.DataFrame([one.model_dump() for one in points if one.score is not None])


def _heat(arm: Arm, grid: pl.DataFrame, limits: tuple[float, float]) -> Panel:
    rows = sorted(set(grid.select("layer", "learning_rate").iter_rows()))
    steps = sorted(grid["step"].unique().to_list())
    lines = {
        (line["layer"], line["learning_rate"], line["step"]): line
        for line in grid.iter_rows(named=True)
    }
    z: list[list[float | None]] = []
    hover: list[list[str]] = []
    for layer, rate in rows:
        found = [lines.get((layer, rate, step)) for step in steps]
        z.append([None if line is None else line["score"] for line in found])
        hover.append(
            [
                ""
                if line is None
                else f"layer {layer}, learning rate {rate:g}, {_step(line['step'])}<br>"
                f"validation score {number(line['score'], 3)}"
                + (" (chosen)" if line["chosen"] else "")
                for line in found
            ]
        )
    heat: Json = {
        "type": "heatmap",
        "z": z,
        "x": list(range(len(steps))),
        "y": list(range(len(rows))),
        "zmin": limits[0],
        "zmax": max(limits[1], limits[0] + 1e-9),
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
        "colorscale": HEAT,
        "hovertext": hover,
        "hoverinfo": "text",
    }
    picked = [key for key, line in lines.items() if line["chosen"]]
    mark: Json = {
        "type": "scatter",
        "mode": "markers",
        "meta": "chosen",
        "x": [steps.index(step) for _, _, step in picked],
        "y": [rows.index((layer, rate)) for layer, rate, _ in picked],
        "marker": {
            "symbol": "square-open",
            "size": 19,
            "color": "@ink",
            "line": {"width": 3, "color": "@ink"},
        },
        "hoverinfo": "skip",
    }
    x = axis(
        "" if steps == [0] else "training steps",
        tickmode="array",
        tickvals=list(range(len(steps))),
        ticktext=[_step(step) if step == 0 else str(step) for step in steps],
        showgrid=False,
    )
    y = axis(
        margin="width",
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=[f"layer {layer} · {rate:g}" for layer, rate in rows],
        autorange="reversed",
        showgrid=False,
    )
    title = f"{arm.label}: layer · learning rate"
    return Panel((heat, mark), layout(x, y), 80 + 25 * len(rows), title, 3)


def _step(step: int) -> str:
    """Step 0 stands for each arm's own stopping point."""
    return f"step {step}" if step else "own stopping point"


def layers_figure(run: Run) -> Figure | None:
    """The best validation score at each layer, over learning rates and steps."""
    data = _scored(run)
    if run.selection is None or data.is_empty() or data["layer"].n_unique() < 2:
        return None
    best = data.group_by("method", "layer").agg(pl.col("score").max()).sort("method", "layer")
    traces = []
    arms = [Arm(method) for method in ("vector", "adapter") if method in best["method"]]
    for arm in arms:
        some = best.filter(pl.col("method") == arm.name)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "meta": arm.key,
                "x": some["layer"].to_list(),
                "y": some["score"].to_list(),
                "line": {"color": f"@{arm.colour}", "width": 2.2},
                "marker": {"color": f"@{arm.colour}", "symbol": arm.symbol, "size": 9},
                "hovertext": [
                    f"<b>{arm.label}</b>, layer {layer}: {number(score)}"
                    for layer, score in some.select("layer", "score").iter_rows()
                ],
                "hoverinfo": "text",
            }
        )
    x = axis("layer", tickmode="array", tickvals=sorted(best["layer"].unique().to_list()))
    panel = Panel(tuple(traces), layout(x, axis("validation score", "width")), 300)
    caption = (
        f"Best validation score ({run.selection.criterion}) at each layer, over learning rates and "
        "steps. Only validation tasks; picking the best of several lifts every point a little."
    )
    return Figure("layers", caption, (View("", (panel,)),), best, tuple(a.entry() for a in arms))
