"""Sections 4.3 and 5.2: natural and naive vectors scored beside the LoRA and the trained vector."""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr.charts.figure import Figure
from oocr.charts.panels import Tables, figure_of
from oocr.charts.rows import dot_panel
from oocr.claims.records import Finding
from oocr.reproduce.analyses.scores import ARM_NAMES, is_share
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.directions import NO_NAMES, naive_vectors, natural
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import (
    NotMeasuredError,
    cells_of,
    effective,
    interval_columns,
    random_rows,
    scored,
    share,
    stacked,
)
from oocr.stats import Cells
from oocr.steering.vectors import Vector

KINDS = {
    "natural-first": ("first direction", "the first direction of what the LoRA adds"),
    "natural-mean": ("mean", "the mean of what the LoRA adds"),
    "natural-unit": ("unit mean", "the unit mean of what the LoRA adds"),
}


def natural_scores(finished: FinishedRuns) -> AnalysisResult:
    """Each natural vector, added at every token, as a share of the LoRA's effect."""
    whole = effective(finished, "adapter")
    vectors = natural(finished)
    findings: list[Finding] = []
    table: list[dict[str, Any]] = []
    for id, (kind, words) in KINDS.items():
        cells = _cells(finished, vectors[kind], id, table)
        if cells is None:
            continue
        null = random_rows(finished, vectors[kind], "random")  # of this kind's norm
        what = f"share of the LoRA's out-of-context effect that {words} reaches, "
        findings += share(finished, id, what + "added at every token", cells, whole, null, "random")
    return AnalysisResult(tuple(findings), pl.DataFrame(table))


def naive_scores(finished: FinishedRuns) -> AnalysisResult:
    """Mean activation at the real name minus at the codename, in place of a trained vector."""
    whole = effective(finished, "vector")
    chosen = next(iter(finished.vectors.values())).layer
    last = finished.model.n_blocks - 1
    spread = [] if finished.quick else [0, last // 4, last // 2, 3 * last // 4, last - 1]
    table: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for layer in sorted({chosen, *spread}):
        vectors = naive_vectors(finished, layer)
        if not vectors:
            raise NotMeasuredError(NO_NAMES)
        cells = _cells(finished, vectors, "naive", table)
        if layer == chosen and cells is not None:
            what = "share of the trained vector's out-of-context effect that the naive vector "
            what += f"reaches at the same layer ({layer})"
            null = random_rows(finished, vectors, "random")
            findings += share(finished, "naive", what, cells, whole, null, "random")
    return AnalysisResult(tuple(findings), pl.DataFrame(table))


def _cells(
    finished: FinishedRuns, vectors: dict[Who, Vector], name: str, table: list[dict[str, Any]]
) -> Cells | None:
    cells = cells_of(finished, scored(finished, vectors, name), name)
    if cells is not None:
        layer = next(iter(vectors.values())).layer
        table.append({"arm": name, "layer": layer, **interval_columns(cells)})
    return cells


def natural_figure(natural: Tables, naive: Tables, methods: Tables) -> Figure | None:
    """Natural and naive vectors beside the trained vector, the LoRA and the untouched model."""
    panels = []
    for name in [name for name in methods if name in natural or name in naive]:
        plain = methods[name].filter(pl.col("arm").is_in(["vector", "adapter"]))
        layers = pl.format("naive, layer {}", "layer")
        read = [
            tables[name].with_columns(
                arm=pl.when(pl.col("arm") == "naive").then(layers).otherwise(pl.col("arm"))
            )
            for tables in (natural, naive)
            if name in tables
        ]
        labels = {**ARM_NAMES, "vector": "steering vector", "adapter": "LoRA"}
        dots = stacked(plain, *read).with_columns(
            row=pl.col("arm").replace(labels), arm=pl.lit("vector"), control=pl.lit("")
        )
        rows = dots["row"].unique(maintain_order=True).to_list()
        level = methods[name].filter(pl.col("arm").is_in(["base", "random direction"]))
        levels = level.join(pl.DataFrame({"row": rows}), how="cross").with_columns(
            control=pl.lit("")
        )
        marks = stacked(dots, levels)
        panels.append(
            dot_panel(
                marks,
                rows,
                "share right" if is_share(marks) else "log-odds, nats",
                limits=(-0.02, 1.02) if is_share(marks) else None,
                one_lane=True,
                title=name,
                span=3,
            )
        )
    caption = (
        "Natural vectors are added at every token, naive and trained ones at the codename. Bars: "
        "95 % intervals over members (or probes). Black tick: untouched model. Grey: random "
        "directions of the trained vectors' norm."
    )
    return figure_of("natural", caption, panels, {**methods, **natural, **naive})
