"""Sections 5.1 and 5.2: how alike kinds of vectors and seeds are, and the lines between seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from oocr import stats
from oocr.claims.records import Finding, Null
from oocr.claims.results import NAMES, estimate_of
from oocr.explain.geometry import Likeness, likeness
from oocr.explain.lines import Point, barrier, line, points_of
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.lora_texts import natural
from oocr.reproduce.naive import naive_vectors
from oocr.reproduce.scoring import (
    has_effect,
    has_learned,
    measured,
    why_no_effect,
)
from oocr.steering.vectors import Vector

SCALES = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
POINTS = 7


def cosines(subject: FinishedRuns) -> AnalysisResult:
    """Signed cosines between kinds of vectors of a member, and between seeds, beside both nulls."""
    trained = subject.vectors
    if not trained:
        return AnalysisResult(missing="no run of this subject trained a vector at a block's output")
    first = next(iter(trained.values()))
    if first.site != "block" or first.direction.ndim != 1:
        return AnalysisResult(
            missing=f"its vectors are at {first.site} {first.positions}, not one direction"
        )
    missing: list[str] = []
    kinds: dict[str, dict[Who, Vector]] = {"trained": trained}
    kinds["naive"] = naive_vectors(subject, first.layer)
    if subject.adapters:
        layer = next(iter(subject.adapters.values())).layers[-1]
        if layer == first.layer:
            kinds["natural"] = natural(subject)["first direction"]
        else:
            missing.append(f"LoRAs are at block {layer}, vectors at {first.layer}: not comparable")
    named = {
        f"{kind} | {member} | {seed}": one
        for kind, some in kinds.items()
        for (member, seed), one in some.items()
    }
    if len(named) < 2:
        return AnalysisResult(missing="only one vector: nothing to compare")
    found = likeness(subject.model, named)
    nulls = (
        Null(
            name="|cos| of directions with the stream's covariance, 95th centile",
            value=found.covariance,
        ),
        Null(name="|cos| of uniform directions, 95th centile", value=found.uniform),
    )
    findings: list[Finding] = []
    # Vectors that learned nothing are unlike everything. A direction is there to compare once the
    # rows themselves are learned; two seeds that each only learned their rows are no two ways to
    # the same effect, so that those need the effect out of context.
    for kind, arm in (("trained", "vector"), ("natural", "adapter")):
        if kind in kinds and not has_learned(subject, arm):
            kinds[kind] = {}
            missing.append(f"{NAMES[arm]} did not learn its own rows here")
    for id, a, b, words in (
        (
            "trained-natural",
            "trained",
            "natural",
            "a trained vector and the LoRA's first direction",
        ),
        ("trained-naive", "trained", "naive", "a trained vector and the naive one"),
        ("natural-naive", "natural", "naive", "the LoRA's first direction and the naive vector"),
    ):
        values = _across(found, kinds.get(a, {}), kinds.get(b, {}), a, b)
        if values:
            findings.append(measured(id, f"signed cosine of {words}, same member", values, nulls))
    seeds = _between_seeds(found, trained)
    if seeds and not has_effect(subject, "vector"):
        missing.append(why_no_effect(subject, "vector"))
    elif seeds:
        findings.append(measured("seeds", "signed cosine of two seeds' vectors", seeds, nulls))
    others = _between_members(found, trained)
    if others:
        interval = stats.mean_interval(others)
        findings.append(
            Finding(
                id="members",
                measure="signed cosine of vectors trained for different members, seed 0",
                found=estimate_of(interval, f"{len(others)} pairs of members"),
                nulls=nulls,
            )
        )
    return AnalysisResult(tuple(findings), _matrix(found), "; ".join(missing))


def _across(
    found: Likeness, a: Mapping[Who, Vector], b: Mapping[Who, Vector], one: str, other: str
) -> dict[Who, float]:
    """Per member and seed of the first kind; the second kind's same seed, else its seed 0."""
    values: dict[Who, float] = {}
    for member, seed in a:
        twin = seed if (member, seed) in b else 0
        if (member, twin) in b:
            values[member, seed] = found.of(
                f"{one} | {member} | {seed}", f"{other} | {member} | {twin}"
            )
    return values


def _between_seeds(found: Likeness, trained: Mapping[Who, Vector]) -> dict[Who, float]:
    values: dict[Who, float] = {}
    for member in {who[0] for who in trained}:
        own = sorted(seed for one, seed in trained if one == member)
        some = [
            found.of(f"trained | {member} | {a}", f"trained | {member} | {b}")
            for a, b in combinations(own, 2)
        ]
        if some:
            values[member, 0] = float(np.mean(some))
    return values


def _between_members(found: Likeness, trained: Mapping[Who, Vector]) -> list[float]:
    members = sorted({member for member, seed in trained if seed == 0})
    return [
        found.of(f"trained | {a} | 0", f"trained | {b} | 0") for a, b in combinations(members, 2)
    ]


def _matrix(found: Likeness) -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {"a": a, "b": b, "cosine": found.cosines[i][j]}
        for i, a in enumerate(found.names)
        for j, b in enumerate(found.names)
    ]
    return pl.DataFrame(rows)


def seed_lines(subject: FinishedRuns) -> AnalysisResult:
    """Whether the training loss rises between two seeds' vectors, and effect by strength."""
    trained = subject.vectors
    whole = {who[0]: one for who, one in trained.items() if who[1] == 0}
    if not whole:
        return AnalysisResult(missing="no run of this subject trained a vector")
    members = list(whole)[: 3 if subject.quick else 4]
    rises: dict[Who, float] = {}
    table: list[dict[str, Any]] = []
    for member in members:
        task, a, b = subject.task(member), whole[member], trained.get((member, 1))
        # In one call, so that the task is recorded once.
        placed = [(one, a * one) for one in SCALES] + ([] if b is None else line(a, b, POINTS))
        every = points_of(subject.model, task, placed)
        strengths, between = every[: len(SCALES)], every[len(SCALES) :]
        table += [_row("strength", member, point) for point in strengths]
        table += [_row("line", member, point) for point in between]
        start = next(point.loss for point in strengths if point.at == 0)
        fall = start - (between[0].loss + between[-1].loss) / 2 if between else 0.0
        if fall > 0:
            rises[member, 0] = barrier(between) / fall
    if not rises:
        why = (
            "one seed a member, so no line between seeds"
            if (members[0], 1) not in trained
            else ("training did not lower the loss, so a rise has no scale")
        )
        return AnalysisResult((), pl.DataFrame(table), why)
    measure = (
        "rise of the training loss above the straight line between two seeds' vectors, as a share "
        "of how far training lowers it"
    )
    return AnalysisResult((measured("barrier", measure, rises),), pl.DataFrame(table))


def _row(kind: str, member: str, point: Point) -> dict[str, Any]:
    return {"kind": kind, "member": member, **asdict(point)}
