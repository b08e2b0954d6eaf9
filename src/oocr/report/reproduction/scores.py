"""Scores of all methods, natural and naive vectors: dot plots of the page of the paper's claims."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from oocr.charts.arms import BASE, CEILING, RANDOM, VECTOR, Arm, dot_keys
from oocr.charts.dots import Dot, Rows, dot_panel
from oocr.charts.figure import Figure
from oocr.charts.panels import Tables, figure_of

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
    return figure_of("scores", caption, panels, tables, dot_keys(arms))


def _is_share(table: pl.DataFrame) -> bool:
    return all(0 <= value <= 1 for value in table["value"].to_list())


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
    return figure_of("natural", caption, panels, {**methods, **natural, **naive})


def _one_lane(dots: Sequence[Dot]) -> list[Dot]:
    """Every arm has its row, so all are drawn in the middle of it."""
    return [
        dot if dot.arm in (BASE, RANDOM) else Dot(dot.row, VECTOR, dot.value, dot.low, dot.high)
        for dot in dots
    ]
