"""Figure 2, sections 4.1, 4.3, 5.2: scores of methods, of natural and naive vectors, by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.arms import ADAPTER, VECTOR, Arm, dot_keys
from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, Panel, Tables, figure_of, joined_tables, names_in
from oocr.charts.lines import line_keys, lines_by, lines_panel
from oocr.claims.judge import NAMES
from oocr.claims.records import Finding
from oocr.reproduce import scoring
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import (
    NO_NAMES,
    FinishedRuns,
    Unit,
    naive_vectors,
    natural_by_kind,
)
from oocr.stats import Cells
from oocr.steering.vectors import Vector


def judged(finished: FinishedRuns) -> AnalysisResult:
    """The claims of the runs themselves as findings, verdicts and rules included."""
    findings = {}
    for claim in (claim for run in finished.runs for claim in run.claims):
        shared = claim.model_dump(include=set(Finding.model_fields))
        findings[claim.id] = Finding(**shared, units=units_in(claim.found.n))
    return AnalysisResult(list(findings.values()))


def units_in(n: str) -> int | None:
    """The units of an interval, parsed from its words ("8 members × 3 seeds")."""
    match = re.fullmatch(r"(\d+) .+ × (\d+) seeds?", n)
    if match is None:
        return None
    units, seeds = int(match[1]), int(match[2])
    return units if units > 1 else seeds


def methods(finished: FinishedRuns) -> AnalysisResult:
    """Scores of base, LoRAs and vector, and shares such as the vector's of the LoRA's effect."""
    result = AnalysisResult()
    for arm in ("vector", "adapter", "swap at span", "swap everywhere", "ceiling"):
        result.rows += _scores(finished, arm, arm)
    other = finished.compare_with.get("all layers")
    if other is not None:
        result.rows += _scores(other, "adapter", "adapter, all layers")
    with result.attempt():
        lora = scoring.effective(finished, "adapter")
        vector = scoring.cells_of(finished, finished.rows, "vector")
        if vector is None or vector.clusters != lora.clusters:
            raise scoring.NotMeasuredError("no vector was trained on the same data as the LoRA")
        what = "share of the one-layer LoRA's out-of-context effect that a trained vector has"
        result.findings += scoring.share(
            finished, "vector-share", what, vector, lora, finished.rows
        )
    if other is not None:
        what = "share of an all-block LoRA's out-of-context effect that a one-layer LoRA reaches"
        one_layer, id = scoring.cells_of(finished, finished.rows, "adapter"), "one-layer-share"
        with result.attempt("in all blocks: "):
            all_blocks = scoring.effective(other, "adapter")
            if one_layer is not None and one_layer.clusters == all_blocks.clusters:
                result.findings += scoring.share(finished, id, what, one_layer, all_blocks)
    return result


def _scores(finished: FinishedRuns, arm: str, name: str) -> list[dict[str, Any]]:
    """Rows of the figure's table, with those of the base and of random directions."""
    cells = scoring.cells_of(finished, finished.rows, arm)
    if cells is None:
        return []
    rows: list[dict[str, Any]] = [{"arm": name, **stats.estimate(cells).columns}]
    base = scoring.base_of(finished, cells)
    if name == "vector" and base is not None:
        start = stats.mean(base)
        rows.append({"arm": "base", "value": start, "low": start, "high": start})
        random = finished.scoring.random_scores(finished.rows)
        if random:
            low, middle, high = (float(np.quantile(random, q)) for q in (0.05, 0.5, 0.95))
            rows.append({"arm": "random direction", "value": middle, "low": low, "high": high})
    return rows


NATURAL = {"natural-first": "first direction", "natural-mean": "mean", "natural-unit": "unit mean"}
ARM_NAMES = {id: f"natural: {kind}" for id, kind in NATURAL.items()} | {
    "adapter, all layers": "LoRA in all blocks",
    "naive": "naive: real name minus codename",
}


def scores_figure(tables: Tables) -> Figure | None:
    """All methods by task."""
    rows = joined_tables(tables).rename({"about": "row"})
    rows = rows.with_columns(pl.col("arm").replace(ARM_NAMES), control=pl.lit(""))
    by_axis: dict[tuple[str, tuple[float, float] | None], list[str]] = {}
    for name, table in tables.items():
        by_axis.setdefault(_axis(table), []).append(name)
    drawn = [
        dot_panel(rows, names, words, limits=limits, zero=limits is None)
        for (words, limits), names in sorted(by_axis.items(), key=lambda axis: axis[0][1] is None)
    ]
    caption = (
        "Out-of-context scores of each method, as the runs count them. Bars: 95 % intervals "
        "over members (or probes). Grey: 5th to 95th centile of random directions of the trained "
        "vectors' norm."
    )
    arms = sorted((Arm(name) for name in rows["arm"].unique()), key=lambda arm: arm.order)
    return figure_of("scores", caption, drawn, tables, dot_keys(arms))


def _axis(table: pl.DataFrame) -> tuple[str, tuple[float, float] | None]:
    """Title and limits of the score's axis; limits of shares if all scores can be shares."""
    if all(0 <= value <= 1 for value in table["value"].to_list()):
        return "share right", (-0.02, 1.02)
    return "log-odds, nats", None


def natural(finished: FinishedRuns) -> AnalysisResult:
    """Each natural vector, added at every token, as a share of the LoRA's effect."""
    whole = scoring.effective(finished, "adapter")
    vectors = natural_by_kind(finished)
    result = AnalysisResult()
    for id, kind in NATURAL.items():
        what = f"share of the LoRA's out-of-context effect that the {kind} of what the LoRA adds "
        what += "reaches, added at every token"
        with result.attempt():
            _in_place_of(finished, vectors[kind], id, what, whole, result)
    return result


def naive(finished: FinishedRuns) -> AnalysisResult:
    """Naive vectors (activation at the name minus at the codename) in place of trained ones."""
    whole = scoring.effective(finished, "vector")
    chosen = next(iter(finished.vectors.values())).layer
    last = finished.model.n_blocks - 1
    spread = [] if finished.quick else [0, last // 4, last // 2, 3 * last // 4, last - 1]
    result = AnalysisResult()
    for layer in sorted({chosen, *spread}):
        vectors = naive_vectors(finished, layer)
        if not vectors:
            raise scoring.NotMeasuredError(NO_NAMES)
        what = "share of the trained vector's out-of-context effect that the naive vector "
        what += f"reaches at the same layer ({layer})"
        of = whole if layer == chosen else None
        _in_place_of(finished, vectors, "naive", what, of, result)
    return result


def _in_place_of(
    finished: FinishedRuns,
    vectors: Mapping[Unit, Vector],
    id: str,
    what: str,
    whole: Cells | None,
    result: AnalysisResult,
) -> None:
    """Add the score of vectors, and the share of the effect of `whole` that they reach."""
    cells = scoring.cells_of(finished, scoring.scored(finished, vectors, id), id)
    if cells is None:
        return
    layer = next(iter(vectors.values())).layer
    result.rows.append({"arm": id, "layer": layer, **stats.estimate(cells).columns})
    if whole is not None:
        random = scoring.random_rows(finished, vectors)
        result.findings += scoring.share(finished, id, what, cells, whole, random)


def natural_figure(natural: Tables, naive: Tables, methods: Tables) -> Figure | None:
    """Natural and naive vectors beside the trained vector, the LoRA and the untouched model."""
    labels = {**ARM_NAMES, "vector": "steering vector", "adapter": "LoRA"}
    naive_at = pl.format("naive, layer {}", "layer")
    drawn = []
    for name in [name for name in methods if name in natural or name in naive]:
        plain = methods[name].filter(pl.col("arm").is_in(["vector", "adapter"]))
        read = [
            tables[name].with_columns(
                arm=pl.when(pl.col("arm") == "naive").then(naive_at).otherwise(pl.col("arm"))
            )
            for tables in (natural, naive)
            if name in tables
        ]
        dots = scoring.stacked(plain, *read).with_columns(
            row=pl.col("arm").replace(labels), arm=pl.lit("vector"), control=pl.lit("")
        )
        rows = names_in(dots, "row")
        level = methods[name].filter(pl.col("arm").is_in(["base", "random direction"]))
        levels = level.join(pl.DataFrame({"row": rows}), how="cross")
        marks = scoring.stacked(dots, levels.with_columns(control=pl.lit("")))
        words, limits = _axis(marks)
        drawn.append(
            dot_panel(marks, rows, words, limits=limits, one_lane=True, title=name, span=3)
        )
    caption = (
        "Natural vectors are added at every token, naive and trained ones at the codename. Bars: "
        "95 % intervals over members (or probes). Black tick: untouched model. Grey: random "
        "directions of the trained vectors' norm."
    )
    return figure_of("natural", caption, drawn, {**methods, **natural, **naive})


def layers(finished: FinishedRuns) -> AnalysisResult:
    """How an arm's effect falls from the chosen layer to the last layer of the sweep."""
    result = AnalysisResult()
    for arm in ("vector", "adapter"):
        by_layer = _by_layer(finished, arm)
        if len(by_layer) < 3:
            result.reasons.append(
                f"{NAMES[arm]} was trained at {len(by_layer)} layers; 3 are needed"
            )
            continue
        for split in scoring.SPLITS:
            for layer, (chosen, cells, start) in _by_layer(finished, arm, split).items():
                row = {"arm": arm, "layer": layer, "chosen": chosen, "part": split, "base": start}
                result.rows.append(row | stats.estimate(cells).columns)
        at = next(layer for layer, (chosen, *_) in by_layer.items() if chosen)
        last = max(by_layer)
        best, late = by_layer[at][1], by_layer[last][1]
        what = f"share of the effect at the chosen layer ({at}) that is left at the last "
        what += f"layer tried ({last})"
        with result.attempt():
            scoring.effective(finished, arm)
            shares = scoring.share(finished, f"{arm}-late-share", what, late, best)
            result.findings += [finding.model_copy(update={"base": None}) for finding in shares]
    return result


def _by_layer(
    finished: FinishedRuns, arm: str, split: str = "probes"
) -> dict[int, tuple[bool, Cells, float]]:
    """Layer -> whether it is the chosen one, cells, and the untouched model's score."""
    by_layer: dict[int, tuple[bool, Cells, float]] = {}
    rows = finished.rows.filter(pl.col("part") == split, pl.col("final"))
    base_rows = rows.filter(pl.col("arm") == "base")
    for name in (f"{arm} sweep", arm):
        arm_rows = rows.filter(pl.col("arm") == name, pl.col("control") == "")
        for layer in arm_rows["layer"].drop_nulls().unique().sort().to_list():
            at_layer = arm_rows.filter(pl.col("layer") == layer).with_columns(arm=pl.lit(arm))
            with_base = scoring.stacked(at_layer, base_rows)
            cells = scoring.cells_of(finished, with_base, arm, split=split)
            base = None if cells is None else scoring.base_of(finished, cells, split)
            if cells is not None and base is not None:
                by_layer[layer] = (name == arm, cells, stats.mean(base))
    return dict(sorted(by_layer.items()))


def layers_figure(tables: Tables) -> Figure | None:
    """In and out of context by layer."""
    drawn: list[Panel] = []
    looks = [(arm.name, arm.label, arm.colour) for arm in (VECTOR, ADAPTER)]
    for name, table in tables.items():
        for split, words in scoring.SPLITS.items():
            rows = table.filter(pl.col("part") == split)
            if lines := lines_by(rows, "arm", looks, "layer", intervals=True):
                level, ticks = float(rows["base"][0]), sorted(rows["layer"].unique().to_list())
                title = f"{name}: {words}"
                drawn.append(
                    lines_panel(lines, "layer", "score", title=title, level=level, ticks=ticks)
                )
    caption = (
        "Test scores with the arm at each layer, each at its best rate and number of steps on "
        "validation tasks. Bars: 95 % intervals over members (or probes). Grey: untouched model."
    )
    return figure_of("layers", caption, drawn, tables, line_keys(looks))
