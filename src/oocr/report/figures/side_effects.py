"""What each arm does to neutral text."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.arms import Arm
from oocr.charts.figure import Figure, Json, Panel, View, number, text
from oocr.charts.traces import axis, layout
from oocr.report.runs import Run, as_float, has

_TITLES = {"kl": "KL from the untouched model (nats per token)", "perplexity": "perplexity"}


def side_effects_figure(run: Run) -> Figure | None:
    """A dot per arm trained, means with intervals; the untouched model's perplexity as a line."""
    if not has(run.side_effects, "arm", "member", "seed", "kl", "perplexity", "perplexity_base"):
        return None
    data = run.side_effects
    assert data is not None
    arms = sorted((Arm(name) for name in data["arm"].unique()), key=lambda arm: arm.order)
    panels = tuple(_panel(data, metric, arms) for metric in _TITLES)
    tokens = as_float(data["tokens"].max()) if "tokens" in data.columns else 0.0
    caption = (
        "On neutral text"
        + (f" of {tokens:,.0f} tokens" if tokens else "")
        + ". Small dots: single arms. Large: means over members and seeds with 95 % "
        "intervals over members. Upright line: the untouched model."
    )
    return Figure("side-effects", caption, (View("", panels),), data)


def _panel(data: pl.DataFrame, metric: str, arms: list[Arm]) -> Panel:
    traces: list[Json] = []
    for index, arm in enumerate(arms):
        some = data.filter(
            pl.col("arm") == arm.name, pl.col(metric).is_finite(), pl.col(metric) > 0
        )
        if not some.is_empty():
            traces += [_cloud(some, metric, arm, -index), _mean(some, metric, arm, -index)]
    shapes = []
    if metric == "perplexity":
        base = as_float(data["perplexity_base"].mean())
        shapes = [
            {"type": "line", "x0": base, "x1": base, "yref": "paper", "y0": 0, "y1": 1}
            | {"line": {"color": "@base", "width": 2}, "layer": "below"}
        ]
    y = axis(
        margin="width",
        tickmode="array",
        tickvals=[-index for index in range(len(arms))],
        ticktext=[text(arm.label) for arm in arms],
        range=[-len(arms) + 0.4, 0.6],
        showgrid=False,
    )
    y["tickfont"] = {"color": "@ink", "size": 13}
    x = axis(nticks=6) if metric == "perplexity" else _log_axis(data[metric])
    return Panel(
        tuple(traces), layout(x, y, shapes=shapes), 60 + 46 * len(arms), _TITLES[metric], 3
    )


def _cloud(some: pl.DataFrame, metric: str, arm: Arm, at: int) -> Json:
    jitter = np.random.default_rng(0).uniform(-0.28, 0.28, size=some.height)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": some[metric].to_list(),
        "y": [at + float(move) for move in jitter],
        "marker": {"color": f"@{arm.colour}/0.4", "size": 5},
        "hovertext": [
            f"{text(line['member'])}, seed {line['seed']}: {number(line[metric], 3)}"
            for line in some.iter_rows(named=True)
        ],
        "hoverinfo": "text",
    }


def _mean(some: pl.DataFrame, metric: str, arm: Arm, at: int) -> Json:
    means = some.group_by("member", maintain_order=True).agg(pl.col(metric).mean())[metric]
    one = stats.mean_interval(means.to_list())
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [one.value],
        "y": [at],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, one.high - one.value)],
            "arrayminus": [max(0.0, one.value - one.low)],
            "color": f"@{arm.colour}",
            "thickness": 2.5,
            "width": 0,
        },
        "marker": {"color": f"@{arm.colour}", "symbol": arm.symbol, "size": 11},
        "hovertext": f"<b>{text(arm.label)}</b><br>{number(one.value, 3)} "
        f"[{number(one.low, 3)}, {number(one.high, 3)}]",
        "hoverinfo": "text",
    }


def _log_axis(values: pl.Series) -> Json:
    """Logarithmic over a decade or more, with ticks at 1, 2 and 5 or at powers of ten."""
    kept = [value for value in values.to_list() if value and math.isfinite(value) and value > 0]
    if not kept:
        return axis(type="log")
    if max(kept) < 10 * min(kept):
        return axis(nticks=6)
    low, high = math.floor(math.log10(min(kept))), math.ceil(math.log10(max(kept)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    return axis(type="log", tickmode="array", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
