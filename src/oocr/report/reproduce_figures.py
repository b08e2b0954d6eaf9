"""The figures of the page of the paper's claims: one function for each analysis's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from oocr.report.arms import ADAPTER, BASE, CEILING, RANDOM, VECTOR, Arm, dot_keys
from oocr.report.dots import Dot, Rows, dot_panel
from oocr.report.figure import Figure, Key, Panel, View
from oocr.report.reproduce_parts import (
    COLOURS,
    Line,
    bar_chart,
    bars_panel,
    heat_panel,
    lines_panel,
)

Tables = Mapping[str, pl.DataFrame]
"""An analysis's tables, by what they are about."""

_NAMES = {
    "adapter, all layers": "LoRA in all blocks",
    "natural-first": "natural: first direction",
    "natural-mean": "natural: mean",
    "natural-unit": "natural: unit mean",
    "naive": "naive: real name minus codename",
}


def scores_figure(tables: Tables) -> Figure | None:
    """All methods by task."""
    dots: list[Dot] = []
    for subject, table in tables.items():
        for row in table.iter_rows(named=True):
            arm = Arm(_NAMES.get(row["arm"], row["arm"]))
            dots.append(Dot(subject, arm, row["value"], row["low"], row["high"]))
    if not dots:
        return None
    shares = [one for one in tables if _is_share(tables[one])]
    groups = [(shares, "share right"), ([t for t in tables if t not in shares], "log-odds, nats")]
    panels = [
        dot_panel(
            Rows(
                names,
                title=title,
                limits=(-0.02, 1.02) if title == "share right" else None,
                zero=title != "share right",
            ),
            [dot for dot in dots if dot.row in names],
        )
        for names, title in groups
        if names
    ]
    arms = sorted({dot.arm for dot in dots}, key=lambda arm: arm.order)
    caption = (
        "Out-of-context scores of each method, as the runs count them. Bars: 95 % bootstrap "
        "intervals over members (or probes), then seeds. Grey: 5th to 95th centile of random "
        "directions of the trained vectors' norm."
    )
    return _figure("scores", caption, panels, tables, dot_keys(arms))


def _is_share(table: pl.DataFrame) -> bool:
    return all(0 <= value <= 1 for value in table["value"].to_list())


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
    return _figure("layers", caption, panels, tables, keys)


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
    return _figure("pairs", caption, panels, tables)


def naive_figure(natural: Tables, naive: Tables, methods: Tables) -> Figure | None:
    """Natural and naive vectors beside the trained vector, the LoRA and the untouched model."""
    dots: list[Dot] = []
    subjects = [one for one in methods if one in natural or one in naive]
    shown = {"vector", "adapter", "base", "random direction"}
    for subject in subjects:
        chosen: list[tuple[pl.DataFrame, bool]] = [(methods[subject], True)]
        chosen += [(table[subject], False) for table in (natural, naive) if subject in table]
        for table, filtered in chosen:
            for row in table.iter_rows(named=True):
                if filtered and row["arm"] not in shown:
                    continue
                name = _NAMES.get(row["arm"], row["arm"])
                if row["arm"] == "naive":
                    name = f"naive, layer {row['layer']}"
                dots.append(Dot(subject, Arm(name), row["value"], row["low"], row["high"]))
    if not dots:
        return None
    panels = []
    for subject in subjects:
        own = [dot for dot in dots if dot.row == subject]
        names = list(dict.fromkeys(dot.arm.label for dot in own if dot.arm not in (BASE, CEILING)))
        names = [one for one in names if one != RANDOM.label]
        placed = [Dot(dot.arm.label, dot.arm, dot.value, dot.low, dot.high) for dot in own]
        level = [dot for dot in placed if dot.arm in (BASE, RANDOM)]
        placed = [dot for dot in placed if dot.arm not in (BASE, RANDOM)]
        placed += [
            Dot(name, one.arm, one.value, one.low, one.high) for one in level for name in names
        ]
        share = all(0 <= dot.value <= 1 for dot in placed)
        rows = Rows(
            names,
            title="share right" if share else "log-odds, nats",
            limits=(-0.02, 1.02) if share else None,
        )
        panels.append(dot_panel(rows, _one_lane(placed), title=subject, span=3))
    caption = (
        "Natural vectors are added at every token, naive and trained ones at the codename. Bars: "
        "95 % intervals over members, then seeds. Black tick: untouched model. Grey: random "
        "directions of the trained vectors' norm."
    )
    return _figure("natural", caption, panels, {**methods, **natural, **naive})


def _one_lane(dots: Sequence[Dot]) -> list[Dot]:
    """Every arm has its row, so all are drawn in the middle of it."""
    return [
        dot if dot.arm in (BASE, RANDOM) else Dot(dot.row, VECTOR, dot.value, dot.low, dot.high)
        for dot in dots
    ]


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
    return Figure("cosines", caption, tuple(views), _joined(tables), scale=None)


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
    return _figure("lines", caption, panels, tables, list(keys.values()))


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
            grid = [[found.get((part, layer)) for layer in layers] for part in names]
            panels.append(
                heat_panel(
                    names,
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
    return _figure("reads", caption, panels, tables)


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
    return _figure("directions", caption, [panel], tables, keys)


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
    return _figure("transfer", caption, panels, tables)


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
    return _figure("dynamics", caption, panels, tables, list(keys.values()))


def _joined(tables: Tables) -> pl.DataFrame:
    some = [table.with_columns(about=pl.lit(name)) for name, table in tables.items()]
    return pl.concat(some, how="diagonal_relaxed")


def _figure(
    name: str,
    caption: str,
    panels: Sequence[Panel],
    tables: Tables,
    keys: Sequence[Key] = (),
) -> Figure | None:
    if not panels:
        return None
    return Figure(name, caption, (View("", tuple(panels)),), _joined(tables), tuple(keys))


FIGURES: Mapping[str, Callable[[Tables], Figure | None]] = {
    "methods": scores_figure,
    "layers": layers_figure,
    "pairs": pairs_figure,
    "cosines": cosines_figure,
    "lines": lines_figure,
    "reads": reads_figure,
    "directions": directions_figure,
    "specificity": transfer_figure,
    "dynamics": dynamics_figure,
}
"""Analysis -> the figure of its tables."""
