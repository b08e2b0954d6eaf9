"""Section 5.2: how alike vectors are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np

from oocr import stats
from oocr.charts.figure import Figure
from oocr.charts.panels import Tables, figure_of, heat_panel
from oocr.claims.judge import NAMES, estimate_of
from oocr.claims.records import Finding, Null
from oocr.explain.geometry import Likeness, likeness
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.directions import naive_vectors, natural
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import NotMeasuredError, effective, has_learned, measured
from oocr.stats import SIGNED
from oocr.steering.vectors import Vector

PAIRS = (
    ("trained", "natural", "a trained vector and the LoRA's first direction"),
    ("trained", "naive", "a trained vector and the naive one"),
    ("natural", "naive", "the LoRA's first direction and the naive vector"),
)


def cosines(finished: FinishedRuns) -> AnalysisResult:
    """Signed cosines between kinds of vectors of a member, and between seeds, beside both nulls."""
    trained = finished.vectors
    if not trained:
        raise NotMeasuredError("no run of this subject trained a vector at a block's output")
    first = next(iter(trained.values()))
    if first.site != "block" or first.direction.ndim != 1:
        raise NotMeasuredError(
            f"its vectors are at {first.site} {first.positions}, not one direction"
        )
    missing: list[str] = []
    kinds: dict[str, dict[Who, Vector]] = {"trained": trained}
    kinds["naive"] = naive_vectors(finished, first.layer)
    if finished.adapters:
        layer = next(iter(finished.adapters.values())).layers[-1]
        if layer == first.layer:
            kinds["natural"] = natural(finished)["first direction"]
        else:
            missing.append(f"LoRAs are at block {layer}, vectors at {first.layer}: not comparable")
    named = {
        _name(kind, who): vector
        for kind, vectors in kinds.items()
        for who, vector in vectors.items()
    }
    if len(named) < 2:
        raise NotMeasuredError("only one vector: nothing to compare")
    alike = likeness(finished.model, named)
    covariance = "|cos| of directions with the stream's covariance, 95th centile"
    nulls = (
        Null(name=covariance, value=alike.covariance),
        Null(name="|cos| of uniform directions, 95th centile", value=alike.uniform),
    )
    findings: list[Finding] = []
    # Vectors that learned nothing are unlike everything. A direction is there to compare once the
    # rows themselves are learned; two seeds that each only learned their rows are no two ways to
    # the same effect, so that those need the effect out of context.
    for kind, arm in (("trained", "vector"), ("natural", "adapter")):
        if kind in kinds and not has_learned(finished, arm):
            kinds[kind] = {}
            missing.append(f"{NAMES[arm]} did not learn its own rows here")
    for a, b, words in PAIRS:
        values = _across(alike, kinds.get(a, {}), kinds.get(b, {}), a, b)
        if values:
            what = f"signed cosine of {words}, same member"
            findings.append(measured(f"{a}-{b}", what, values, nulls, bounds=SIGNED))
    by_member: dict[str, list[Who]] = {}
    for who in sorted(trained):
        by_member.setdefault(who[0], []).append(who)
    of_seeds = {(member, 0): _between(alike, seeds) for member, seeds in by_member.items()}
    seeds = {who: float(np.mean(pairs)) for who, pairs in of_seeds.items() if pairs}
    if seeds:
        try:
            effective(finished, "vector")
            what = "signed cosine of two seeds' vectors"
            findings.append(measured("seeds", what, seeds, nulls, bounds=SIGNED))
        except NotMeasuredError as reason:
            missing.append(str(reason))
    members = _between(alike, sorted(who for who in trained if who[1] == 0))
    if members:
        n = f"{len(members)} pairs of members"
        what = "signed cosine of vectors trained for different members, seed 0"
        mean = estimate_of(stats.mean_interval(members, bounds=SIGNED), n)
        findings.append(Finding(id="members", measure=what, found=mean, nulls=nulls))
    matrix = [
        {"a": a, "b": b, "cosine": cosine}
        for a, row in zip(alike.names, alike.cosines, strict=True)
        for b, cosine in zip(alike.names, row, strict=True)
    ]
    return AnalysisResult.of(findings, matrix, missing)


def _name(kind: str, who: Who) -> str:
    return f"{kind} | {who[0]} | {who[1]}"


def _across(
    alike: Likeness, a: Mapping[Who, Vector], b: Mapping[Who, Vector], kind: str, other: str
) -> dict[Who, float]:
    """Per member and seed of the first kind; the second kind's same seed, else its seed 0."""
    twins = {who: who if who in b else (who[0], 0) for who in a}
    return {
        who: alike.of(_name(kind, who), _name(other, twin))
        for who, twin in twins.items()
        if twin in b
    }


def _between(alike: Likeness, trained: Iterable[Who]) -> list[float]:
    """Cosines of all pairs of these trained vectors."""
    names = [_name("trained", who) for who in trained]
    return [alike.of(a, b) for a, b in combinations(names, 2)]


def cosines_figure(tables: Tables) -> Figure | None:
    """The matrix of signed cosines, a view for each task."""
    views = {}
    for name, table in tables.items():
        names = list(dict.fromkeys(table["a"].to_list()))
        names.sort(key=lambda vector: (vector.split(" | ")[1], vector))
        values = {(a, b): cosine for a, b, cosine in table.select("a", "b", "cosine").iter_rows()}
        grid = [[values[a, b] for b in names] for a in names]
        labels = [_label(vector) for vector in names]
        views[name] = [heat_panel(labels, labels, grid, most=1.0)]
    caption = "Signed cosines between trained, natural (first direction) and naive vectors."
    return figure_of("cosines", caption, views, tables)


def _label(name: str) -> str:
    kind, member, seed = name.split(" | ")
    return f"{member}, {kind}" + ("" if kind == "naive" else f" {seed}")
