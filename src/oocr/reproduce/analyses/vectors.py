"""Sections 4.3 and 5.2: natural and naive vectors scored beside the LoRA and the trained vector."""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr import stats
from oocr.claims.records import Finding
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.lora_texts import natural
from oocr.reproduce.naive import NO_NAMES, naive_vectors
from oocr.reproduce.scoring import (
    cells_of,
    has_effect,
    random_rows,
    scored,
    share,
    why_no_effect,
)
from oocr.steering.vectors import Vector

KINDS = {
    "natural-first": ("first direction", "the first direction of what the LoRA adds"),
    "natural-mean": ("mean", "the mean of what the LoRA adds"),
    "natural-unit": ("unit mean", "the unit mean of what the LoRA adds"),
}


def natural_scores(subject: FinishedRuns) -> AnalysisResult:
    """Each natural vector, added at every token, as a share of the LoRA's effect."""
    whole = cells_of(subject, subject.rows, "adapter")
    if whole is None or not subject.adapters or not has_effect(subject, "adapter"):
        return AnalysisResult(missing=why_no_effect(subject, "adapter"))
    vectors = natural(subject)
    found: list[Finding] = []
    table: list[dict[str, Any]] = []
    for id, (kind, words) in KINDS.items():
        cells = _cells(subject, vectors[kind], id, table)
        if cells is None:
            continue
        null = random_rows(subject, vectors[kind], "random")  # of this kind's norm
        one = share(
            subject,
            id,
            f"share of the LoRA's out-of-context effect that {words} reaches, added at every token",
            cells,
            whole,
            null,
            "random",
        )
        found += [one] if one is not None else []
    return AnalysisResult(tuple(found), pl.DataFrame(table))


def naive_scores(subject: FinishedRuns) -> AnalysisResult:
    """Mean activation at the real name minus at the codename, in place of a trained vector."""
    whole = cells_of(subject, subject.rows, "vector")
    if whole is None or not has_effect(subject, "vector"):
        return AnalysisResult(missing=why_no_effect(subject, "vector"))
    layer = next(iter(subject.vectors.values())).layer
    table: list[dict[str, Any]] = []
    found: list[Finding] = []
    for at in _layers(subject, layer):
        vectors = naive_vectors(subject, at)
        if not vectors:
            return AnalysisResult(missing=NO_NAMES)
        cells = _cells(subject, vectors, "naive", table, at)
        if at != layer or cells is None:
            continue
        one = share(
            subject,
            "naive",
            f"share of the trained vector's out-of-context effect that the naive vector reaches at "
            f"the same layer ({layer})",
            cells,
            whole,
            random_rows(subject, vectors, "random"),
            "random",
        )
        found += [one] if one is not None else []
    return AnalysisResult(tuple(found), pl.DataFrame(table))


def _layers(subject: FinishedRuns, chosen: int) -> list[int]:
    last = subject.model.n_blocks - 1
    some = [0, last // 4, last // 2, 3 * last // 4, last - 1]
    return sorted({chosen} if subject.quick else {chosen, *some})


def _cells(
    subject: FinishedRuns,
    vectors: dict[Who, Vector],
    name: str,
    table: list[dict[str, Any]],
    layer: int | None = None,
) -> stats.Cells | None:
    cells = cells_of(subject, scored(subject, vectors, name), name)
    if cells is not None:
        one = stats.estimate(cells)
        at = next(iter(vectors.values())).layer if layer is None else layer
        table.append(
            {"arm": name, "layer": at, "value": one.value, "low": one.low, "high": one.high}
        )
    return cells
