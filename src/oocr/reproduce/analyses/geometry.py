"""Sections 4.2 and 5.2: how alike are vectors, and what a LoRA adds at different tokens."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import torch

from oocr.charts.bars import histogram_panel
from oocr.charts.figure import Figure, Tables, figure_of, names_in
from oocr.charts.heat import heat_panel
from oocr.claims.judge import NAMES, estimate_of
from oocr.claims.records import Finding, Null
from oocr.explain.constancy import constancy_by_group
from oocr.explain.differences import random_like
from oocr.explain.geometry import likeness
from oocr.explain.lora_vectors import PairCosines, last_differences, pairs_of
from oocr.intervals import SHARE, SIGNED, mean_interval
from oocr.reproduce import scoring
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import (
    FinishedRuns,
    Unit,
    first_texts,
    naive_vectors,
    natural_by_kind,
    task_texts,
)
from oocr.steering.adapters import Adapter

PAIRS = (
    ("trained", "natural", "a trained vector and the LoRA's first direction"),
    ("trained", "naive", "a trained vector and the naive one"),
    ("natural", "naive", "the LoRA's first direction and the naive vector"),
)


def cosines(finished: FinishedRuns) -> AnalysisResult:
    """Signed cosines between kinds of vectors of a member, and between seeds, beside both nulls."""
    result, trained = AnalysisResult(), finished.vectors
    if not trained:
        raise scoring.NotMeasuredError(
            "no run of this subject trained a vector at a block's output"
        )
    first = next(iter(trained.values()))
    if first.site != "block" or first.direction.ndim != 1:
        where = f"{first.site} {first.positions}"
        raise scoring.NotMeasuredError(f"its vectors are at {where}, not one direction")
    kinds = {"trained": trained, "naive": naive_vectors(finished, first.layer)}
    if finished.adapters:
        layer = next(iter(finished.adapters.values())).layers[-1]
        if layer == first.layer:
            kinds["natural"] = natural_by_kind(finished)["first direction"]
        else:
            blocks = f"LoRAs are at block {layer}, vectors at {first.layer}"
            result.reasons.append(f"{blocks}: not comparable")
    named = {
        _name(kind, unit): vector
        for kind, vectors in kinds.items()
        for unit, vector in vectors.items()
    }
    if len(named) < 2:
        raise scoring.NotMeasuredError("only one vector: nothing to compare")
    alike = likeness(finished.model, named)
    covariance = "|cos| of directions with the stream's covariance, 95th centile"
    nulls = (
        Null(name=covariance, value=alike.covariance),
        Null(name="|cos| of uniform directions, 95th centile", value=alike.uniform),
    )
    # Vectors that learned nothing are similar to nothing. A direction can be compared once the
    # rows themselves are learned; two seeds that each only learned their rows are no two ways to
    # the same effect, so that those need the effect out of context.
    for kind, arm in (("trained", "vector"), ("natural", "adapter")):
        if kind in kinds and not scoring.has_learned(finished, arm):
            kinds[kind] = {}
            result.reasons.append(f"{NAMES[arm]} did not learn its own rows here")
    for a, b, words in PAIRS:
        others = kinds.get(b, {})
        # The same seed of the other kind, else its first.
        twins = {unit: unit if unit in others else (unit[0], 0) for unit in kinds.get(a, {})}
        values = {
            unit: alike.of(_name(a, unit), _name(b, twin))
            for unit, twin in twins.items()
            if twin in others
        }
        if values:
            what = f"signed cosine of {words}, same member"
            result.findings.append(scoring.measured(f"{a}-{b}", what, values, nulls, bounds=SIGNED))
    by_member: dict[Unit, list[float]] = {}
    members: list[float] = []
    for (member, seed), (other, other_seed) in combinations(sorted(trained), 2):
        cosine = alike.of(_name("trained", (member, seed)), _name("trained", (other, other_seed)))
        if member == other:
            by_member.setdefault((member, 0), []).append(cosine)
        elif seed == other_seed == 0:
            members.append(cosine)
    if by_member:
        seeds = {unit: float(np.mean(pairs)) for unit, pairs in by_member.items()}
        with result.attempt():
            scoring.effective(finished, "vector")
            what = "signed cosine of two seeds' vectors"
            result.findings.append(scoring.measured("seeds", what, seeds, nulls, bounds=SIGNED))
    if members:
        n = f"{len(members)} pairs of members"
        what = "signed cosine of vectors trained for different members, seed 0"
        mean = estimate_of(mean_interval(members, bounds=SIGNED), n)
        result.findings.append(Finding(id="members", measure=what, found=mean, nulls=nulls))
    result.rows += [
        {"a": a, "b": b, "cosine": cosine}
        for a, row in zip(alike.names, alike.cosines, strict=True)
        for b, cosine in zip(alike.names, row, strict=True)
    ]
    return result


def _name(kind: str, unit: Unit) -> str:
    return f"{kind} | {unit[0]} | {unit[1]}"


def cosines_figure(tables: Tables) -> Figure | None:
    """The matrix of signed cosines, a view for each task."""
    views = {}
    for name, table in tables.items():
        names = sorted(names_in(table, "a"), key=lambda name: (name.split(" | ")[1], name))
        values = {(a, b): cosine for a, b, cosine in table.select("a", "b", "cosine").iter_rows()}
        grid = [[values[a, b] for b in names] for a in names]
        labels = [_label(vector) for vector in names]
        views[name] = [heat_panel(labels, labels, grid, most=1.0)]
    caption = "Signed cosines between trained, natural (first direction) and naive vectors."
    return figure_of("cosines", caption, views, tables)


def _label(name: str) -> str:
    kind, member, seed = name.split(" | ")
    return f"{member}, {kind}" + ("" if kind == "naive" else f" {seed}")


BINS = 40


def pairs(finished: FinishedRuns) -> AnalysisResult:
    """Cosines of all pairs of the LoRA's differences at the last tokens of two texts."""
    adapters = _adapters(finished)

    def read(unit: Unit, adapter: Adapter) -> PairCosines:
        return pairs_of(last_differences(adapter, *first_texts(finished, unit[0], adapter)))

    by_lora = {unit: read(unit, adapter) for unit, adapter in adapters.items()}
    first = scoring.of_first_seed(adapters)
    noise = {unit: read(unit, random_like(lora, 0)).absolute for unit, lora in first.items()}
    result = AnalysisResult()
    for (member, seed), lora in by_lora.items():
        counts = torch.histc(torch.tensor(lora.values, dtype=torch.float64), BINS, -1, 1)
        result.rows += [
            {"kind": "LoRA", "member": member, "seed": seed, "cosine": -0.975 + 0.05 * place}
            | {"pairs": int(count)}
            for place, count in enumerate(counts.tolist())
        ]
    nulls = scoring.null_of_mean("LoRAs of Gaussian noise", noise)
    where = "over all pairs of the last 20 tokens of a training prompt and of unrelated text"
    absolute = {unit: lora.absolute for unit, lora in by_lora.items()}
    signed = {unit: lora.signed for unit, lora in by_lora.items()}
    what = f"mean signed cosine {where}"
    result.findings += (
        scoring.measured(
            "pairs", f"mean |cos| {where}", absolute, nulls, bounds=SHARE, ceiling=1.0
        ),
        scoring.measured("pairs-signed", what, signed, nulls, bounds=SIGNED, ceiling=1.0),
    )
    return result


def pairs_figure(tables: Tables) -> Figure | None:
    """Histogram of the pairs' signed cosines."""
    panels = []
    for name, table in tables.items():
        counts = table.group_by("cosine").agg(pl.col("pairs").sum()).sort("cosine")
        shares = counts["pairs"].to_numpy() / max(1, int(counts["pairs"].sum()))
        groups, x = [("LoRA", "adapter", shares.tolist())], "cosine of two tokens' differences"
        bins = counts["cosine"].to_list()
        panels.append(histogram_panel(bins, groups, x, "share of pairs", title=name))
    caption = (
        "What the LoRA adds at its block's output, at the last 20 tokens of a training prompt and "
        "of an unrelated passage: signed cosines of all 780 pairs, all members and seeds. The "
        "paper shows their absolute value."
    )
    return figure_of("pairs", caption, panels, tables)


def grouped(finished: FinishedRuns) -> AnalysisResult:
    """The energy that one vector per group of tokens carries beyond that of one vector for all."""
    common: dict[Unit, float] = {}
    more: dict[Unit, float] = {}
    result = AnalysisResult()
    for unit, adapter in _adapters(finished).items():
        texts = task_texts(finished, unit[0], adapter)
        shares = constancy_by_group(texts, adapter, finished.positions).shares
        common[unit], more[unit] = shares.common, shares.grouped - shares.common
        result.rows.append(
            {"member": unit[0], "seed": unit[1], "one": shares.common, "grouped": shares.grouped}
            | {f"by {name}": share for name, share in shares.by_group.items()}
        )
    what = "share of the energy of what the LoRA adds that "
    groups = (
        "a mean vector for each group of tokens (span, other prompt tokens, unrelated text) "
        "carries beyond one mean vector"
    )
    mean = "one mean vector for all groups carries"
    result.findings += (
        scoring.measured("grouped", what + groups, more, bounds=SHARE),
        scoring.measured("one", what + mean, common, bounds=SHARE, ceiling=1.0),
    )
    return result


def _adapters(finished: FinishedRuns) -> dict[Unit, Adapter]:
    if not finished.adapters:
        raise scoring.NotMeasuredError(f"no run of this subject trained {NAMES['adapter']}")
    return finished.adapters
