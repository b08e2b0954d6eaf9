"""Figure 2 and section 4.1, from a run's own rows: scores of all methods, and by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.arms import ADAPTER, VECTOR, Arm, dot_keys
from oocr.charts.figure import Figure, Key, Panel
from oocr.charts.panels import Tables, figure_of, line_of, lines_panel
from oocr.charts.rows import dot_panel
from oocr.claims.judge import NAMES, estimate_of, n_of
from oocr.claims.records import Finding
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.reproduce.scoring import (
    SPLITS,
    NotMeasuredError,
    base_of,
    cells_of,
    effective,
    interval_columns,
    share,
    stacked,
)
from oocr.runs.folder_reader import RunFolder


def judged(finished: FinishedRuns) -> AnalysisResult:
    """The claims of the runs themselves as findings, verdicts and rules included."""
    findings = {
        claim.id: Finding(
            id=claim.id,
            measure=claim.measure,
            found=claim.found,
            base=claim.base,
            nulls=claim.nulls,
            ceiling=claim.ceiling,
            units=units_of(claim.found.n),
            verdict=claim.verdict,
            rule=claim.rule,
        )
        for run in finished.runs
        for claim in RunFolder(run.folder).claims
    }
    return AnalysisResult(tuple(findings.values()))


def units_of(n: str) -> int | None:
    """What an interval draws from, by its words: "8 members × 3 seeds"; of one member its seeds.

    None: the words do not tell.
    """
    match = re.fullmatch(r"(\d+) .+ × (\d+) seeds?", n)
    if match is None:
        return None
    units, seeds = int(match[1]), int(match[2])
    return units if units > 1 else seeds


def methods(finished: FinishedRuns) -> AnalysisResult:
    """Scores of base, LoRAs and vector; the vector's share of the LoRA's effect, and so on."""
    table: list[dict[str, Any]] = []
    findings: list[Finding] = []
    missing: list[str] = []
    for arm in ("vector", "adapter", "swap at span", "swap everywhere", "ceiling"):
        table += _scores(finished, arm, arm)
    other = finished.compare_with.get("all layers")
    if other is not None:
        table += _scores(other, "adapter", "adapter, all layers")
    whole = cells_of(finished, finished.rows, "adapter")
    try:
        lora = effective(finished, "adapter")
        vector = cells_of(finished, finished.rows, "vector")
        if vector is None or vector.clusters != lora.clusters:
            raise NotMeasuredError("no vector was trained on the same data as the LoRA")
        null = finished.rows.filter(pl.col("arm").is_in(["random direction", "base"]))
        what = "share of the one-layer LoRA's out-of-context effect that a trained vector has"
        findings += share(finished, "vector-share", what, vector, lora, null, "random direction")
    except NotMeasuredError as reason:
        missing.append(str(reason))
    if other is not None:
        what = "share of an all-block LoRA's out-of-context effect that a one-layer LoRA reaches"
        try:
            every_block = effective(other, "adapter")
            if whole is not None and whole.clusters == every_block.clusters:
                findings += share(finished, "one-layer-share", what, whole, every_block)
        except NotMeasuredError as reason:
            missing.append(f"in all blocks: {reason}")
    return AnalysisResult(
        tuple(findings), pl.DataFrame(table) if table else None, "; ".join(missing)
    )


def _scores(finished: FinishedRuns, arm: str, name: str) -> list[dict[str, Any]]:
    cells = cells_of(finished, finished.rows, arm)
    if cells is None:
        return []
    rows: list[dict[str, Any]] = [{"arm": name, **interval_columns(cells)}]
    base = base_of(finished, cells)
    if name == "vector" and base is not None:
        start = stats.mean(base)
        rows.append({"arm": "base", "value": start, "low": start, "high": start})
        random = finished.scoring.random_scores(finished.rows)
        if random:
            low, middle, high = (float(np.quantile(random, q)) for q in (0.05, 0.5, 0.95))
            rows.append({"arm": "random direction", "value": middle, "low": low, "high": high})
    return rows


ARM_NAMES: Mapping[str, str] = {
    "adapter, all layers": "LoRA in all blocks",
    "natural-first": "natural: first direction",
    "natural-mean": "natural: mean",
    "natural-unit": "natural: unit mean",
    "naive": "naive: real name minus codename",
}


def scores_figure(tables: Tables) -> Figure | None:
    """All methods by task."""
    shares = [name for name, table in tables.items() if is_share(table)]
    rows = stacked(
        *[
            table.with_columns(
                pl.col("arm").replace(dict(ARM_NAMES)), row=pl.lit(name), control=pl.lit("")
            )
            for name, table in tables.items()
        ]
    )
    panels = [
        dot_panel(
            rows,
            names,
            "share right" if names is shares else "log-odds, nats",
            limits=(-0.02, 1.02) if names is shares else None,
            zero=names is not shares,
        )
        for names in (shares, [name for name in tables if name not in shares])
        if names
    ]
    caption = (
        "Out-of-context scores of each method, as the runs count them. Bars: 95 % intervals "
        "over members (or probes). Grey: 5th to 95th centile of random directions of the trained "
        "vectors' norm."
    )
    arms = sorted((Arm(name) for name in rows["arm"].unique()), key=lambda arm: arm.order)
    return figure_of("scores", caption, panels, tables, dot_keys(arms))


def is_share(table: pl.DataFrame) -> bool:
    """Whether all scores of a table are shares."""
    return all(0 <= value <= 1 for value in table["value"].to_list())


def layers(finished: FinishedRuns) -> AnalysisResult:
    """How an arm's effect falls from the layer chosen on validation to the last layer tried."""
    table: list[dict[str, Any]] = []
    findings: list[Finding] = []
    missing: list[str] = []
    for arm in ("vector", "adapter"):
        by_layer = _by_layer(finished, arm)
        if len(by_layer) < 3:
            missing.append(f"{NAMES[arm]} was trained at {len(by_layer)} layers; 3 are needed")
            continue
        for split in SPLITS:
            for layer, (chosen, cells, start) in _by_layer(finished, arm, split).items():
                table.append(
                    {"arm": arm, "layer": layer, "chosen": chosen, "part": split, "base": start}
                    | interval_columns(cells)
                )
        at = next(layer for layer, (chosen, *_) in by_layer.items() if chosen)
        last = max(by_layer)
        best, late = by_layer[at][1], by_layer[last][1]
        base = base_of(finished, best)
        try:
            effective(finished, arm)
        except NotMeasuredError as reason:
            missing.append(str(reason))
            continue
        assert base is not None
        findings.append(
            Finding(
                id=f"{arm}-late-share",
                measure=f"share of the effect at the chosen layer ({at}) that is left at the last "
                f"layer tried ({last})",
                found=estimate_of(
                    stats.ratio(late, best, base), n_of(late, finished.scoring.units)
                ),
                ceiling=1.0,
                units=len(late.clusters),
            )
        )
    return AnalysisResult(
        tuple(findings), pl.DataFrame(table) if table else None, "; ".join(missing)
    )


_Layer = tuple[bool, stats.Cells, float]


def _by_layer(finished: FinishedRuns, arm: str, split: str = "probes") -> dict[int, _Layer]:
    """Layer -> whether it is the chosen one, cells, and the untouched model's score."""
    by_layer: dict[int, _Layer] = {}
    rows = finished.rows.filter(pl.col("part") == split, pl.col("final"))
    base_rows = rows.filter(pl.col("arm") == "base")
    for name in (f"{arm} sweep", arm):
        arm_rows = rows.filter(pl.col("arm") == name, pl.col("control") == "")
        for layer in arm_rows["layer"].drop_nulls().unique().sort().to_list():
            at_layer = arm_rows.filter(pl.col("layer") == layer).with_columns(arm=pl.lit(arm))
            cells = cells_of(finished, stacked(at_layer, base_rows), arm, split=split)
            base = None if cells is None else base_of(finished, cells, split)
            if cells is not None and base is not None:
                by_layer[layer] = (name == arm, cells, stats.mean(base))
    return dict(sorted(by_layer.items()))


def layers_figure(tables: Tables) -> Figure | None:
    """In and out of context by layer."""
    panels: list[Panel] = []
    for name, table in tables.items():
        for split, words in SPLITS.items():
            rows = table.filter(pl.col("part") == split)
            lines = [
                line_of(
                    rows.filter(pl.col("arm") == arm.name),
                    arm.label,
                    arm.colour,
                    "layer",
                    intervals=True,
                )
                for arm in (VECTOR, ADAPTER)
                if arm.name in rows["arm"]
            ]
            if lines:
                level = float(rows["base"].to_list()[0])
                ticks = sorted(rows["layer"].unique().to_list())
                title = f"{name}: {words}"
                panels.append(
                    lines_panel(lines, "layer", "score", title=title, level=level, ticks=ticks)
                )
    caption = (
        "Test scores with the arm at each layer, each at its best rate and number of steps on "
        "validation tasks. Bars: 95 % intervals over members (or probes). Grey: untouched model."
    )
    keys = [Key(arm.label, arm.label, arm.colour, "line") for arm in (VECTOR, ADAPTER)]
    return figure_of("layers", caption, panels, tables, keys)
