"""Sections 4.4 and 5.3 and beyond: does the model itself say what a direction means?"""

from __future__ import annotations

from typing import Any

import polars as pl

from oocr.errors import InputError
from oocr.explain.description import PROMPTS, describe, tell_by_model
from oocr.reproduce.analyses.concepts import (
    KINDS,
    RANDOMS,
    by_chance,
    directions_of,
    place_of,
)
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.concept_words import NO_WORDS, concepts_of
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import measured

SHOWN = 8
"""Tokens of a continuation that are shown."""


def described(subject: FinishedRuns) -> AnalysisResult:
    """The trained concept's place when the model completes "the meaning of x is", v put at x."""
    concepts = concepts_of(subject.runs[0].config)
    if not set(subject.members) & set(concepts):
        return AnalysisResult(missing=NO_WORDS)
    table: list[dict[str, Any]] = []
    places: dict[str, dict[Who, float]] = {}
    chance: dict[str, dict[Who, float]] = {}
    for kind, some in directions_of(subject).items():
        for who, vector in some.items():
            if who[0] not in concepts or who[1]:
                continue
            try:
                told = tell_by_model(subject.model, vector, who[0], concepts, randoms=RANDOMS)
            except InputError as error:
                return AnalysisResult(missing=str(error))
            places.setdefault(kind, {})[who] = place_of(told.rank, told)
            chance.setdefault(kind, {})[who] = place_of(told.random_rank, told)
            table.append(
                {"kind": kind, "member": who[0], "seed": who[1], "named": told.named}
                | {"rank": told.rank, "concepts": told.concepts, "score": told.score}
                | {"says": ""}
            )
            if not subject.quick:
                text = describe(
                    subject.model, vector, prompts=PROMPTS[:1], scales=(1.0,), max_new_tokens=SHOWN
                )[0]
                table[-1] |= {"says": text.text, "untouched": text.untouched}
    if not places:
        return AnalysisResult(missing="no run of this subject trained a single direction")
    found = [
        measured(
            f"{kind}-described",
            "place of the trained concept among all, from 0 (last) to 1 (first), by how much "
            f"likelier the model's next word becomes after {PROMPTS[0]!r} and {len(PROMPTS) - 1} "
            f"more with {KINDS[kind]} put at x",
            values,
            (by_chance(chance[kind]),),
            ceiling=1.0,
        )
        for kind, values in places.items()
    ]
    return AnalysisResult(tuple(found), pl.DataFrame(table, infer_schema_length=None))
