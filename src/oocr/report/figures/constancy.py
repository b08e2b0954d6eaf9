"""How constant each LoRA's effect is, beside LoRAs with random weights."""

from __future__ import annotations

import numpy as np
import polars as pl

from oocr.charts.figure import Figure, Json, Key, Panel, View, number, text
from oocr.charts.traces import axis, layout
from oocr.report.runs import Run, as_float, has

METRICS = {
    "cosine": "cosine to the mean",
    "energy": "energy of the mean",
    "rank1": "rank-1 share",
    "held_out": "cosine to the other half's mean",
    "to_span": "cosine of the mean to the span's mean",
    "norm_cv": "spread of norms",
}
GROUPS = ("span", "other prompt tokens", "unrelated text")
KINDS = {"adapter": ("trained LoRAs", "adapter", 0.17), "random adapter": ("", "random", -0.17)}


def constancy_figure(run: Run) -> Figure | None:
    """A small panel per metric: one dot per adapter and token group, medians as ticks."""
    if not has(run.constancy, "kind", "tokens", "member", "seed"):
        return None
    data = run.constancy
    assert data is not None
    groups = [name for name in GROUPS if name in data["tokens"]]
    metrics = [name for name in METRICS if name in data.columns]
    if not groups or not metrics:
        return None
    panels = tuple(_panel(data, metric, groups) for metric in metrics)
    counts = {kind: _count(data, kind) for kind in KINDS}
    keys = [Key("adapter", f"trained LoRAs ({counts['adapter']})", "adapter", "circle")]
    if counts["random adapter"]:
        label = f"LoRAs with random weights ({counts['random adapter']})"
        keys.append(Key("random adapter", label, "random", "circle"))
    caption = (
        "One dot per LoRA; ticks are medians. Measured on the difference that a LoRA makes to the "
        "residual stream at its block's output, by token group. Cosines are signed. Words are "
        "explained at the end of the page."
    )
    return Figure("constancy", caption, (View("", panels),), data, tuple(keys))


def _count(data: pl.DataFrame, kind: str) -> int:
    return data.filter(pl.col("kind") == kind).select("arm", "member", "seed").unique().height


def _panel(data: pl.DataFrame, metric: str, groups: list[str]) -> Panel:
    traces: list[Json] = []
    for kind, (_, colour, shift) in KINDS.items():
        some = data.filter(
            pl.col("kind") == kind, pl.col("tokens").is_in(groups), pl.col(metric).is_not_null()
        )
        if some.is_empty():
            continue
        traces.append(_cloud(some, metric, groups, kind, colour, shift))
        traces.append(_medians(some, metric, groups, kind, colour, shift))
    values = data[metric].drop_nulls().drop_nans()
    low = min(0.0, as_float(values.min()))
    high = max(1.0, as_float(values.max()))
    room = 0.04 * (high - low)
    x = axis(range=[low - room, high + room], nticks=5, zeroline=low < 0, zerolinecolor="@line")
    y = axis(
        margin="width",
        tickmode="array",
        tickvals=[-index for index in range(len(groups))],
        ticktext=[text(name.removesuffix(" tokens").removesuffix(" text")) for name in groups],
        range=[-len(groups) + 0.5, 0.5],
        showgrid=False,
    )
    return Panel(tuple(traces), layout(x, y), 60 + 46 * len(groups), METRICS[metric], 2)


def _cloud(
    some: pl.DataFrame, metric: str, groups: list[str], kind: str, colour: str, shift: float
) -> Json:
    jitter = np.random.default_rng(0).uniform(-0.1, 0.1, size=some.height)
    hover = [
        f"<b>{text(line['member'])}</b>, seed {line['seed']}<br>{text(line['tokens'])}"
        f" (n = {line.get('n', '?')})<br>{METRICS[metric]} {number(line[metric], 3)}"
        for line in some.iter_rows(named=True)
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "meta": kind,
        "x": some[metric].to_list(),
        "y": [
            -groups.index(name) + shift + float(move)
            for name, move in zip(some["tokens"], jitter, strict=True)
        ],
        "marker": {"color": f"@{colour}/0.5", "size": 5},
        "hovertext": hover,
        "hoverinfo": "text",
    }


def _medians(
    some: pl.DataFrame, metric: str, groups: list[str], kind: str, colour: str, shift: float
) -> Json:
    x: list[float | None] = []
    y: list[float | None] = []
    for (name,), rows in some.group_by("tokens", maintain_order=True):
        middle = as_float(rows[metric].median())
        at = -groups.index(str(name)) + shift
        x += [middle, middle, None]
        y += [at - 0.16, at + 0.16, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "meta": kind,
        "x": x,
        "y": y,
        "line": {"color": f"@{colour}", "width": 3},
        "hovertext": [None if one is None else f"median {number(one, 3)}" for one in x],
        "hoverinfo": "text",
    }
