"""Figure 2 and section 4.1, from a run's own rows: scores of all methods, and by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.claims.records import Finding
from oocr.claims.results import NAMES, estimate_of, n_of
from oocr.evals.scores import Scoring
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.reproduce.scoring import (
    base_of,
    cells_of,
    clusters,
    has_effect,
    share,
    why_no_effect,
)


def methods(subject: FinishedRuns) -> AnalysisResult:
    """Scores of base, LoRAs and vector; the vector's share of the LoRA's effect, and so on."""
    table: list[dict[str, Any]] = []
    found: list[Finding] = []
    missing: list[str] = []
    for arm in ("vector", "adapter", "swap at span", "swap everywhere", "ceiling"):
        table += _score(subject, arm, arm)
    other = subject.beside.get("all layers")
    if other is not None:
        table += _score(other, "adapter", "adapter, all layers")
    whole = cells_of(subject, subject.rows, "adapter")
    if whole is None or not has_effect(subject, "adapter"):
        missing.append(why_no_effect(subject, "adapter"))
    else:
        vector = cells_of(subject, subject.rows, "vector")
        if vector is not None and vector.clusters == whole.clusters:
            null = subject.rows.filter(pl.col("arm").is_in(["random direction", "base"]))
            what = "share of the one-layer LoRA's out-of-context effect that a trained vector has"
            one = share(subject, "vector-share", what, vector, whole, null, "random direction")
            found += [one] if one is not None else []
        else:
            missing.append("no vector was trained on the same data as the LoRA")
    if other is not None:
        every = cells_of(other, other.rows, "adapter")
        if every is None or not has_effect(other, "adapter"):
            missing.append("in all blocks: " + why_no_effect(other, "adapter"))
        elif whole is not None and whole.clusters == every.clusters:
            one = share(
                subject,
                "one-layer-share",
                "share of an all-block LoRA's out-of-context effect that a one-layer LoRA reaches",
                whole,
                every,
            )
            found += [one] if one is not None else []
    return AnalysisResult(tuple(found), pl.DataFrame(table) if table else None, "; ".join(missing))


def _score(at: FinishedRuns, arm: str, name: str) -> list[dict[str, Any]]:
    cells = cells_of(at, at.rows, arm)
    if cells is None:
        return []
    one = stats.estimate(cells)
    rows: list[dict[str, Any]] = [
        {"arm": name, "value": one.value, "low": one.low, "high": one.high}
    ]
    base = base_of(at, cells)
    if name == "vector" and base is not None:
        start = stats.mean(base)
        rows.append({"arm": "base", "value": start, "low": start, "high": start})
        random = Scoring.of(at.tasks).random_scores(at.rows)
        if random:
            low, middle, high = (float(np.quantile(random, q)) for q in (0.05, 0.5, 0.95))
            rows.append({"arm": "random direction", "value": middle, "low": low, "high": high})
    return rows


def layers(subject: FinishedRuns) -> AnalysisResult:
    """How an arm's effect falls from the layer chosen on validation to the last layer tried."""
    table: list[dict[str, Any]] = []
    found: list[Finding] = []
    missing: list[str] = []
    for arm in ("vector", "adapter"):
        by_layer = _by_layer(subject, arm)
        if len(by_layer) < 3:
            missing.append(f"{NAMES[arm]} was trained at {len(by_layer)} layers; 3 are needed")
            continue
        for part in ("probes", "in_context"):
            for layer, (chosen, cells, start) in _by_layer(subject, arm, part).items():
                one = stats.estimate(cells)
                table.append(
                    {"arm": arm, "layer": layer, "chosen": chosen, "part": part, "base": start}
                    | {"value": one.value, "low": one.low, "high": one.high}
                )
        at = next(layer for layer, one in by_layer.items() if one[0])
        last = max(by_layer)
        best, late = by_layer[at][1], by_layer[last][1]
        base = base_of(subject, best)
        if base is None or not has_effect(subject, arm):
            missing.append(why_no_effect(subject, arm))
            continue
        kept = stats.ratio(late, best, base)
        found.append(
            Finding(
                id=f"{arm}-late-share",
                measure=f"share of the effect at the chosen layer ({at}) that is left at the last "
                f"layer tried ({last})",
                found=estimate_of(kept, n_of(late, clusters(subject))),
                ceiling=1.0,
                units=len(late.clusters),
            )
        )
    return AnalysisResult(tuple(found), pl.DataFrame(table) if table else None, "; ".join(missing))


_Layer = tuple[bool, stats.Cells, float]


def _by_layer(subject: FinishedRuns, arm: str, part: str = "probes") -> dict[int, _Layer]:
    """Layer -> whether it is the chosen one, cells, and the untouched model's score."""
    found: dict[int, _Layer] = {}
    rows = subject.rows.filter(pl.col("part") == part, pl.col("final"))
    base = rows.filter(pl.col("arm") == "base")
    for name in (f"{arm} sweep", arm):
        own = rows.filter(pl.col("arm") == name, pl.col("control") == "")
        for layer in own["layer"].drop_nulls().unique().sort().to_list():
            some = own.filter(pl.col("layer") == layer).with_columns(arm=pl.lit(arm))
            both = pl.concat([some, base], how="diagonal_relaxed")
            cells = cells_of(subject, both, arm, part=part)
            start = None if cells is None else base_of(subject, cells, part)
            if cells is not None and start is not None:
                found[layer] = (name == arm, cells, stats.mean(start))
    return dict(sorted(found.items()))
