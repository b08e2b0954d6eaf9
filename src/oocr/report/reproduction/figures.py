"""The figures of the page of the paper's claims: one function for each analysis's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from oocr.charts.arms import ADAPTER, VECTOR
from oocr.charts.figure import Figure, Key, Panel, View
from oocr.charts.panels import (
    COLOURS,
    Line,
    Tables,
    bar_chart,
    bars_panel,
    figure_of,
    heat_panel,
    joined,
    lines_panel,
)
from oocr.report.reproduction.reading import attention_figure, costs_figure
from oocr.report.reproduction.scores import scores_figure
from oocr.report.reproduction.training import (
    mixing_figure,
    narrow_figure,
    ranks_figure,
    relearned_figure,
)


def layers_figure(tables: Tables) -> Figure | None:
    """In and out of context by layer."""
    panels = []
    for subject, table in tables.items():
        for part, words in (("probes", "out of context"), ("in_context", "in context")):
            some = table.filter(pl.col("part") == part)
            lines = [
                _with_intervals(
                    arm.label, arm.colour, some.filter(pl.col("arm") == arm.name), "layer"
                )
                for arm in (VECTOR, ADAPTER)
                if arm.name in some["arm"]
            ]
            if lines:
                level = float(some["base"].to_list()[0])
                ticks = sorted(some["layer"].unique().to_list())
                title = f"{subject}: {words}"
                panels.append(
                    lines_panel(lines, "layer", "score", title=title, level=level, ticks=ticks)
                )
    caption = (
        "Test scores with the arm at each layer, each at its best rate and number of steps on "
        "validation tasks. Bars: 95 % intervals over members, then seeds. Grey: untouched model."
    )
    keys = [Key(arm.label, arm.label, arm.colour, "line") for arm in (VECTOR, ADAPTER)]
    return figure_of("layers", caption, panels, tables, keys)


def _with_intervals(name: str, colour: str, table: pl.DataFrame, x: str) -> Line:
    table = table.sort(x)
    at, value, low, high = (table[one].to_list() for one in (x, "value", "low", "high"))
    return Line(name, colour, at, value, low, high)


def pairs_figure(tables: Tables) -> Figure | None:
    """Histogram of the pairs' signed cosines."""
    panels = []
    for subject, table in tables.items():
        counts = table.group_by("cosine").agg(pl.col("pairs").sum()).sort("cosine")
        shares = counts["pairs"].to_numpy() / max(1, int(counts["pairs"].sum()))
        panels.append(
            bar_chart(
                counts["cosine"].to_list(),
                [("LoRA", "adapter", shares.tolist())],
                "cosine of two tokens' differences",
                "share of pairs",
                title=subject,
            )
        )
    caption = (
        "What the LoRA adds at its block's output, at the last 20 tokens of a training prompt and "
        "of an unrelated passage: signed cosines of all 780 pairs, all members and seeds. The "
        "paper shows their absolute value."
    )
    return figure_of("pairs", caption, panels, tables)


def cosines_figure(tables: Tables) -> Figure | None:
    """The matrix of signed cosines, a view for each task."""
    views = []
    for subject, table in tables.items():
        names = list(dict.fromkeys(table["a"].to_list()))
        names.sort(key=lambda one: (one.split(" | ")[1], one))
        values = {(a, b): cosine for a, b, cosine in table.select("a", "b", "cosine").iter_rows()}
        grid = [[values[a, b] for b in names] for a in names]
        labels = [_label(one) for one in names]
        views.append(View(subject, (heat_panel(labels, labels, grid, most=1.0),)))
    if not views:
        return None
    caption = "Signed cosines between trained, natural (first direction) and naive vectors."
    return Figure("cosines", caption, tuple(views), joined(tables), scale=None)


def _label(name: str) -> str:
    kind, member, seed = name.split(" | ")
    return f"{member}, {kind}" + ("" if kind == "naive" else f" {seed}")


def lines_figure(tables: Tables) -> Figure | None:
    """Loss along the line between two seeds, and the effect by strength."""
    panels = []
    keys: dict[str, Key] = {}
    for subject, table in tables.items():
        members = list(dict.fromkeys(table["member"].to_list()))
        for kind, y, x, words in (
            ("line", "loss", "from one seed (0) to another (1)", "training loss, nats"),
            ("strength", "log_odds", "strength", "log-odds on probes, nats"),
        ):
            some = table.filter(pl.col("kind") == kind)
            lines = []
            for place, member in enumerate(members):
                own = some.filter(pl.col("member") == member).sort("at")
                if len(own):
                    colour = COLOURS[place % len(COLOURS)]
                    lines.append(Line(member, colour, own["at"].to_list(), own[y].to_list()))
                    keys[member] = Key(member, member, colour, "line")
            if lines:
                panels.append(lines_panel(lines, x, words, title=subject))
    caption = (
        "Left: training loss along the straight line between two seeds' vectors. Right: mean "
        "log-odds of the answer (or the trained pole) with one vector at several strengths; 1 is "
        "the trained one."
    )
    return figure_of("lines", caption, panels, tables, list(keys.values()))


def reads_figure(tables: Tables) -> Figure | None:
    """What is lost when a part is held, in all blocks and block by block."""
    panels: list[Panel] = []
    for subject, table in tables.items():
        whole = table.filter(pl.col("layer").is_null())
        names = list(dict.fromkeys(whole["part"].to_list()))
        members = list(dict.fromkeys(whole["member"].to_list()))
        groups = [
            (member, COLOURS[place % len(COLOURS)], _values(whole, member, names))
            for place, member in enumerate(members)
        ]
        panels.append(
            bars_panel(
                names, groups, "share of the effect lost", title=f"{subject}: held in all blocks"
            )
        )
        each = table.filter(pl.col("layer").is_not_null())
        if len(each):
            layers = sorted(each["layer"].unique().to_list())
            mean = each.group_by("part", "layer").agg(pl.col("lost").mean())
            found = {(part, layer): lost for part, layer, lost in mean.iter_rows()}
            parts = list(dict.fromkeys(each["part"].to_list()))
            grid = [[found.get((part, layer)) for layer in layers] for part in parts]
            panels.append(
                heat_panel(
                    parts,
                    [str(one) for one in layers],
                    grid,
                    most=1.0,
                    title=f"{subject}: held in one block",
                    span=3,
                    printed=False,
                )
            )
    caption = (
        "Share of the vector's effect (with the trigger minus without, where there is one) that is "
        "lost when a part of attention or MLP is held at what it does without the vector."
    )
    return figure_of("reads", caption, panels, tables)


def _values(table: pl.DataFrame, member: str, names: Sequence[str]) -> list[float | None]:
    own = dict(table.filter(pl.col("member") == member).select("part", "lost").iter_rows())
    return [own.get(name) for name in names]


def directions_figure(tables: Tables) -> Figure | None:
    """The effect that k directions keep."""
    lines = []
    for place, (subject, table) in enumerate(tables.items()):
        lines.append(_with_intervals(subject, COLOURS[place % len(COLOURS)], table, "k"))
    if not lines:
        return None
    ticks = sorted({float(x) for one in lines for x in one.x})
    title, y = "", "share of the LoRA's effect"
    panel = lines_panel(
        lines, "directions", y, title=title, span=6, height=300, level=1.0, ticks=ticks
    )
    caption = (
        "What is left of the LoRA's out-of-context effect when its additions are projected on the "
        "first k directions of what it adds to other text. Bars: 95 % intervals over members."
    )
    keys = [Key(one.name, one.name, one.colour, "line") for one in lines]
    return figure_of("directions", caption, [panel], tables, keys)


def transfer_figure(tables: Tables) -> Figure | None:
    """Every vector on every task."""
    panels = []
    for subject, table in tables.items():
        rows = list(dict.fromkeys(table["vector"].to_list()))
        columns = list(dict.fromkeys(table["task"].to_list()))
        found = {
            (v, t): change for v, t, change in table.select("vector", "task", "change").iter_rows()
        }
        grid = [[found[v, t] for t in columns] for v in rows]
        most = float(np.abs(np.array(grid)).max()) or 1.0
        panels.append(heat_panel(rows, columns, grid, most=most, title=subject, span=3))
    caption = (
        "Nats of log-odds that a vector (row) adds on a task's probes (column), over the untouched "
        "model; blue: towards that task's answer."
    )
    return figure_of("transfer", caption, panels, tables)


def dynamics_figure(tables: Tables) -> Figure | None:
    """Loss and score along training."""
    panels = []
    keys: dict[str, Key] = {}
    for subject, table in tables.items():
        members = list(dict.fromkeys(table["member"].to_list()))
        for y, words in (("loss", "training loss, nats"), ("right", "share of probes right")):
            lines = []
            for place, member in enumerate(members):
                own = table.filter(pl.col("member") == member).sort("step")
                colour = COLOURS[place % len(COLOURS)]
                lines.append(Line(member, colour, own["step"].to_list(), own[y].to_list()))
                keys[member] = Key(member, member, colour, "line")
            ticks = [1, 2, 4, 8, 15, 30]
            panels.append(
                lines_panel(lines, "training steps", words, title=subject, log=True, ticks=ticks)
            )
    caption = "One vector per member, seed 0, looked at after each number of steps."
    return figure_of("dynamics", caption, panels, tables, list(keys.values()))


FIGURES: Mapping[str, Callable[[Tables], Figure | None]] = {
    "methods": scores_figure,
    "layers": layers_figure,
    "pairs": pairs_figure,
    "cosines": cosines_figure,
    "lines": lines_figure,
    "reads": reads_figure,
    "attention": attention_figure,
    "directions": directions_figure,
    "ranks": ranks_figure,
    "relearned": relearned_figure,
    "specificity": transfer_figure,
    "narrow": narrow_figure,
    "mixing": mixing_figure,
    "dynamics": dynamics_figure,
    "costs": costs_figure,
}
"""Analysis -> the figure of its tables."""
