"""Section 4.4 by another reader: a judge model picks the trained concept, blinded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from oocr.claims.records import Null
from oocr.errors import InputError
from oocr.explain.evidence import evidence_of
from oocr.explain.judge import ORDERS, pick
from oocr.reproduce.analyses.concepts import KINDS, directions_of
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.concept_words import NO_WORDS, concepts_of
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import by_member, measured
from oocr.steering.vectors import random_vector

REPLIES = "judge-replies.json"
"""Kept beside the analyses, so that they can be redone without the judge."""

NO_JUDGE = "no judge model was named (--judge)"


def asked(subject: FinishedRuns) -> AnalysisResult:
    """How often a judge model names the trained concept from what a direction says."""
    if subject.judge is None:
        return AnalysisResult(missing=NO_JUDGE)
    concepts = concepts_of(subject.runs[0].config)
    if not set(subject.members) & set(concepts):
        return AnalysisResult(missing=NO_WORDS)
    judge = replace(subject.judge, kept=subject.runs[0].folder / "analyses" / REPLIES)
    right: dict[str, dict[Who, float]] = {}
    chance: dict[str, dict[Who, float]] = {}
    table: list[dict[str, Any]] = []
    unread, options = 0, 2
    for kind, some in directions_of(subject).items():
        for place, (who, vector) in enumerate(some.items()):
            if who[0] not in concepts or who[1]:
                continue
            drawn = random_vector(vector, vector.norm, 80_000 + place)
            for arm, one in ((kind, vector), (f"{kind}, random", drawn)):
                try:
                    text = evidence_of(subject.model, one)
                except InputError as error:
                    return AnalysisResult(missing=str(error))
                found = pick(judge, text, who[0], list(concepts))
                (right if arm == kind else chance).setdefault(kind, {})[who] = found.share
                unread, options = unread + found.unread, found.options
                table.append(
                    {"kind": arm, "member": who[0], "seed": who[1], "right": found.right}
                    | {"asked": found.asked, "unread": found.unread, "options": found.options}
                    | {"named": next(iter(found.named), ""), "evidence": text}
                )
    if not right:
        return AnalysisResult(missing="no run of this subject trained a single direction")
    findings = [
        measured(
            f"{kind}-asked",
            f"share of {ORDERS} orders in which the judge {judge.model} names the trained concept "
            f"among {options}, from what {KINDS[kind]} says; {unread} replies could not be read",
            values,
            (_null(chance[kind]), Null(name="chance", value=1 / options)),
            ceiling=1.0,
        )
        for kind, values in right.items()
    ]
    return AnalysisResult(tuple(findings), pl.DataFrame(table, infer_schema_length=None))


def _null(values: dict[Who, float]) -> Null:
    means = by_member(values)
    return Null(name="a random direction of each member's norm", value=sum(means) / len(means))
