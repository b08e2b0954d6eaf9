"""Sections 5.1 and 5.2: how alike vectors are, and what lies between two seeds' vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.charts.figure import Figure, View
from oocr.charts.panels import Line, Tables, figure_of, heat_panel, joined, lines_panel
from oocr.claims.judge import NAMES, estimate_of
from oocr.claims.records import Finding, Null
from oocr.explain.geometry import Likeness, likeness
from oocr.explain.paths import Point, barrier, line, points_of
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.directions import naive_vectors, natural
from oocr.reproduce.drawing import line_keys, member_lines, names_in
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import (
    NotMeasuredError,
    effective,
    has_learned,
    measured,
)
from oocr.stats import POSITIVE, SIGNED
from oocr.steering.vectors import Vector

SCALES = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
POINTS = 7

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
        _name(kind, *who): vector
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
    seeds = _between_seeds(alike, trained)
    if seeds:
        try:
            effective(finished, "vector")
            findings.append(
                measured(
                    "seeds", "signed cosine of two seeds' vectors", seeds, nulls, bounds=SIGNED
                )
            )
        except NotMeasuredError as reason:
            missing.append(str(reason))
    members = sorted({member for member, seed in trained if seed == 0})
    between = [
        alike.of(_name("trained", a, 0), _name("trained", b, 0))
        for a, b in combinations(members, 2)
    ]
    if between:
        n = f"{len(between)} pairs of members"
        findings.append(
            Finding(
                id="members",
                measure="signed cosine of vectors trained for different members, seed 0",
                found=estimate_of(stats.mean_interval(between, bounds=SIGNED), n),
                nulls=nulls,
            )
        )
    matrix = [
        {"a": a, "b": b, "cosine": alike.cosines[i][j]}
        for i, a in enumerate(alike.names)
        for j, b in enumerate(alike.names)
    ]
    return AnalysisResult(tuple(findings), pl.DataFrame(matrix), "; ".join(missing))


def _name(kind: str, member: str, seed: int) -> str:
    return f"{kind} | {member} | {seed}"


def _across(
    alike: Likeness, a: Mapping[Who, Vector], b: Mapping[Who, Vector], kind: str, other: str
) -> dict[Who, float]:
    """Per member and seed of the first kind; the second kind's same seed, else its seed 0."""
    values: dict[Who, float] = {}
    for member, seed in a:
        twin = seed if (member, seed) in b else 0
        if (member, twin) in b:
            names = _name(kind, member, seed), _name(other, member, twin)
            values[member, seed] = alike.of(*names)
    return values


def _between_seeds(alike: Likeness, trained: Mapping[Who, Vector]) -> dict[Who, float]:
    values: dict[Who, float] = {}
    for member in {who[0] for who in trained}:
        seeds = sorted(seed for name, seed in trained if name == member)
        pairs = [
            alike.of(_name("trained", member, a), _name("trained", member, b))
            for a, b in combinations(seeds, 2)
        ]
        if pairs:
            values[member, 0] = float(np.mean(pairs))
    return values


def cosines_figure(tables: Tables) -> Figure | None:
    """The matrix of signed cosines, a view for each task."""
    views = []
    for name, table in tables.items():
        names = list(dict.fromkeys(table["a"].to_list()))
        names.sort(key=lambda vector: (vector.split(" | ")[1], vector))
        values = {(a, b): cosine for a, b, cosine in table.select("a", "b", "cosine").iter_rows()}
        grid = [[values[a, b] for b in names] for a in names]
        labels = [_label(vector) for vector in names]
        views.append(View(name, (heat_panel(labels, labels, grid, most=1.0),)))
    if not views:
        return None
    caption = "Signed cosines between trained, natural (first direction) and naive vectors."
    return Figure("cosines", caption, tuple(views), joined(tables), scale=None)


def _label(name: str) -> str:
    kind, member, seed = name.split(" | ")
    return f"{member}, {kind}" + ("" if kind == "naive" else f" {seed}")


def seed_lines(finished: FinishedRuns) -> AnalysisResult:
    """Whether the training loss rises between two seeds' vectors, and effect by strength."""
    trained = finished.vectors
    first = {member: vector for (member, seed), vector in trained.items() if seed == 0}
    if not first:
        raise NotMeasuredError("no run of this subject trained a vector")
    members = list(first)[: 3 if finished.quick else 4]
    rises: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    for member in members:
        a, b = first[member], trained.get((member, 1))
        # In one call, so that the task is recorded once.
        placed = [(scale, a * scale) for scale in SCALES] + (
            [] if b is None else line(a, b, POINTS)
        )
        points = points_of(finished.model, finished.task(member), placed)
        strengths, between = points[: len(SCALES)], points[len(SCALES) :]
        table += [_row("strength", member, point) for point in strengths]
        table += [_row("line", member, point) for point in between]
        start = next(point.loss for point in strengths if point.at == 0)
        fall = start - (between[0].loss + between[-1].loss) / 2 if between else 0.0
        if fall > 0:
            rises[member, 0] = barrier(between) / fall
    if not rises:
        one_seed = (members[0], 1) not in trained
        why = "training did not lower the loss, so a rise has no scale"
        why = "one seed a member, so no line between seeds" if one_seed else why
        return AnalysisResult((), pl.DataFrame(table), why)
    measure = (
        "rise of the training loss above the straight line between two seeds' vectors, as a share "
        "of how far training lowers it"
    )
    return AnalysisResult(
        (measured("barrier", measure, rises, bounds=POSITIVE),), pl.DataFrame(table)
    )


def _row(kind: str, member: str, point: Point) -> dict[str, Any]:
    return {"kind": kind, "member": member, **asdict(point)}


def lines_figure(tables: Tables) -> Figure | None:
    """Loss along the line between two seeds, and the effect by strength."""
    panels = []
    drawn: list[Line] = []
    for name, table in tables.items():
        members = names_in(table, "member")
        for kind, y, x, words in (
            ("line", "loss", "from one seed (0) to another (1)", "training loss, nats"),
            ("strength", "log_odds", "strength", "log-odds on probes, nats"),
        ):
            lines = member_lines(table.filter(pl.col("kind") == kind), members, "at", y)
            if lines:
                panels.append(lines_panel(lines, x, words, title=name))
                drawn += lines
    caption = (
        "Left: training loss along the straight line between two seeds' vectors. Right: mean "
        "log-odds of the answer (or the trained pole) with one vector at several strengths; 1 is "
        "the trained one."
    )
    return figure_of("lines", caption, panels, tables, line_keys(drawn))
