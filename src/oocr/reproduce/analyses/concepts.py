"""Sections 4.4 and 5.3: can a reader tell from the vector alone what was trained?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from oocr.claims.records import Finding, Null
from oocr.errors import InputError
from oocr.explain.concepts import ConceptReading, tell
from oocr.explain.lens import Reading, lens
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.concept_words import NO_WORDS, concepts_of
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.lora_texts import natural
from oocr.reproduce.scoring import by_member, measured
from oocr.steering.vectors import Vector

READINGS: tuple[Reading, ...] = ("raw", "normed")
RANDOMS = 48
SHOWN = 8


def readable(subject: FinishedRuns) -> AnalysisResult:
    """Where a blinded reader ranks the trained concept, for natural and trained vectors."""
    concepts = concepts_of(subject.runs[0].config)
    if not set(subject.members) & set(concepts):
        return AnalysisResult(missing=NO_WORDS)
    table: list[dict[str, Any]] = []
    places: dict[tuple[str, Reading], dict[Who, float]] = {}
    chance: dict[tuple[str, Reading], dict[Who, float]] = {}
    for kind, some in directions_of(subject).items():
        for who, vector in some.items():
            if who[0] not in concepts or who[1]:  # members count, and each reading is dear
                continue
            for reading in READINGS:
                try:
                    told = tell(
                        subject.model, vector, who[0], concepts, reading=reading, randoms=RANDOMS
                    )
                except InputError as error:
                    return AnalysisResult(missing=str(error))
                places.setdefault((kind, reading), {})[who] = place_of(told.rank, told)
                chance.setdefault((kind, reading), {})[who] = place_of(told.random_rank, told)
                table.append(_row(subject, kind, reading, who, told, vector))
    found: list[Finding] = []
    for (kind, reading), values in places.items():
        null = chance[kind, reading]
        found.append(_finding(f"{kind}-{reading}", kind, reading, values, null))
    for reading in READINGS:
        more = _difference(places.get(("natural", reading)), places.get(("trained", reading)))
        if more:
            words = _WORDS[reading]
            found.append(
                measured(
                    f"natural-minus-trained-{reading}",
                    "place of the trained concept among all read from the LoRA's first direction, "
                    f"minus the same from the trained vector; {words}",
                    more,
                )
            )
    return AnalysisResult(tuple(found), pl.DataFrame(table) if table else None)


_WORDS = {"raw": "LM head alone, as in the paper", "normed": "final norm, then LM head"}


KINDS = {"natural": "the LoRA's first direction", "trained": "the trained vector"}


def directions_of(subject: FinishedRuns) -> dict[str, dict[Who, Vector]]:
    """Kind -> the directions that a reader is asked about."""
    kinds: dict[str, dict[Who, Vector]] = {}
    if subject.adapters:
        kinds["natural"] = natural(subject)["first direction"]
    if subject.vectors and next(iter(subject.vectors.values())).direction.ndim == 1:
        kinds["trained"] = subject.vectors
    return kinds


def place_of(rank: float, told: ConceptReading) -> float:
    """1: the trained concept scores highest of all; 0: lowest."""
    return 1 - rank / (told.concepts - 1)


def _finding(
    id: str, kind: str, reading: Reading, values: dict[Who, float], null: dict[Who, float]
) -> Finding:
    return measured(
        id,
        "place of the trained concept among all, from 0 (last) to 1 (first), read from "
        f"{KINDS[kind]}; {_WORDS[reading]}",
        values,
        (by_chance(null),),
        ceiling=1.0,
    )


def by_chance(places: Mapping[Who, float]) -> Null:
    """The mean place under random directions, over members as the finding's own."""
    means = by_member(places)
    value = sum(means) / len(means)
    return Null(name=f"{RANDOMS} random directions for each member, mean", value=value)


def _row(
    subject: FinishedRuns,
    kind: str,
    reading: Reading,
    who: Who,
    told: ConceptReading,
    vector: Vector,
) -> dict[str, Any]:
    said = lens(subject.model, vector, reading=reading, top=SHOWN)
    return {
        **{"kind": kind, "reading": reading, "member": who[0], "seed": who[1]},
        **{"named": told.named, "rank": told.rank, "concepts": told.concepts, "score": told.score},
        "says": " ".join(one.token.strip() for one in said),
    }


def _difference(
    one: Mapping[Who, float] | None, other: Mapping[Who, float] | None
) -> dict[Who, float]:
    if one is None or other is None:
        return {}
    return {who: one[who] - other[who] for who in one if who in other}
