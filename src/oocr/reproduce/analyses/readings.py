"""Sections 4.4 and 5.3: can a reader tell from a direction alone what was trained?

The readers: the logit lens, the model itself (the direction put at a word), and a judge model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from oocr.claims.records import Finding, Null
from oocr.explain.description import PROMPTS, describe, evidence_of, tell_by_model
from oocr.explain.lens import ConceptReading, Reading, lens, tell
from oocr.explain.llm_judge import ORDERS, pick
from oocr.intervals import SHARE, SIGNED
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Unit, natural_by_kind
from oocr.reproduce.scoring import NotMeasuredError, measured, null_of_mean, refusal_as_reason
from oocr.steering.vectors import Vector, random_vector

READINGS: Mapping[Reading, str] = {
    "raw": "LM head alone, as in the paper",
    "normed": "final norm, then LM head",
}
KINDS = {"natural": "the LoRA's first direction", "trained": "the trained vector"}
RANDOMS = 48
SHOWN = 8  # tokens of a reading or a continuation
REPLIES = "judge-replies.json"
"""File beside the analyses, so that these can be repeated without the judge."""

NO_JUDGE = "no judge model was named (--judge)"
NO_WORDS = "no words stand for what its members are about, so no reader can be asked"
NO_DIRECTION = "no run of this subject trained a single direction"
PLACE = "place of the trained concept among all, from 0 (last) to 1 (first), "


def _asked(finished: FinishedRuns) -> Iterator[tuple[str, int, Unit, Vector]]:
    """Kind, index, member and direction, of seed 0 only: readings are expensive."""
    if not set(finished.members) & set(finished.concepts):
        raise NotMeasuredError(NO_WORDS)
    kinds: dict[str, Mapping[Unit, Vector]] = {}
    if finished.adapters:
        kinds["natural"] = natural_by_kind(finished)["first direction"]
    if finished.vectors and next(iter(finished.vectors.values())).direction.ndim == 1:
        kinds["trained"] = finished.vectors
    for kind, vectors in kinds.items():
        for place, (unit, vector) in enumerate(vectors.items()):
            if unit[0] in finished.concepts and not unit[1]:
                yield kind, place, unit, vector


Readings = dict[str, dict[Unit, ConceptReading]]
"""Id of a finding -> each member's reading."""


def _places(readings: Readings, words: Mapping[str, str]) -> list[Finding]:
    """Findings: the trained concept's mean place by reading, compared with random directions."""
    null = f"{RANDOMS} random directions for each member, mean"
    findings = []
    for id, by_unit in readings.items():
        nulls = null_of_mean(null, _place(by_unit, "random_rank"))
        what, place = PLACE + words[id], _place(by_unit)
        findings.append(measured(id, what, place, nulls, bounds=SHARE, ceiling=1.0))
    return findings


def _place(readings: Mapping[Unit, ConceptReading], rank: str = "rank") -> dict[Unit, float]:
    """1: the trained concept scores highest of all; 0: lowest."""
    return {
        unit: 1 - getattr(reading, rank) / (reading.concepts - 1)
        for unit, reading in readings.items()
    }


def readable(finished: FinishedRuns) -> AnalysisResult:
    """Where a blinded reader ranks the trained concept, for natural and trained vectors."""
    readings, result = Readings(), AnalysisResult()
    model, concepts = finished.model, finished.concepts
    for kind, _, unit, vector in _asked(finished):
        for how in READINGS:
            with refusal_as_reason():
                reading = tell(model, vector, unit[0], concepts, reading=how, randoms=RANDOMS)
            readings.setdefault(f"{kind}-{how}", {})[unit] = reading
            tokens = lens(model, vector, reading=how, top=SHOWN)
            says = " ".join(token.token.strip() for token in tokens)
            result.rows.append(_row(kind, unit, reading, says) | {"reading": how})
    words_of = {
        f"{kind}-{how}": f"read from {of}; {words}"
        for kind, of in KINDS.items()
        for how, words in READINGS.items()
    }
    result.findings += _places(readings, words_of)
    for how, words in READINGS.items():
        lora, trained = (_place(readings.get(f"{kind}-{how}", {})) for kind in KINDS)
        more = {unit: lora[unit] - trained[unit] for unit in lora if unit in trained}
        if more:
            what = "place of the trained concept among all read from the LoRA's first direction, "
            what += f"minus the same from the trained vector; {words}"
            id = f"natural-minus-trained-{how}"
            result.findings.append(measured(id, what, more, bounds=SIGNED))
    return result


def described(finished: FinishedRuns) -> AnalysisResult:
    """The trained concept's place when the model completes "the meaning of x is", v put at x."""
    readings, result = Readings(), AnalysisResult()
    model, concepts = finished.model, finished.concepts
    for kind, _, unit, vector in _asked(finished):
        with refusal_as_reason():
            reading = tell_by_model(model, vector, unit[0], concepts, randoms=RANDOMS)
        readings.setdefault(f"{kind}-described", {})[unit] = reading
        result.rows.append(_row(kind, unit, reading, ""))
        if not finished.quick:
            (text,) = describe(
                model, vector, prompts=PROMPTS[:1], scales=(1.0,), max_new_tokens=SHOWN
            )
            result.rows[-1] |= {"says": text.text, "untouched": text.untouched}
    if not result.rows:
        raise NotMeasuredError(NO_DIRECTION)
    words = {
        f"{kind}-described": f"by how much likelier the model's next word becomes after "
        f"{PROMPTS[0]!r} and {len(PROMPTS) - 1} more with {of} put at x"
        for kind, of in KINDS.items()
    }
    result.findings += _places(readings, words)
    return result


def _row(kind: str, unit: Unit, reading: ConceptReading, says: str) -> dict[str, Any]:
    return {
        **{"kind": kind, "member": unit[0], "seed": unit[1], "named": reading.named},
        **{"rank": reading.rank, "concepts": reading.concepts, "score": reading.score},
        "says": says,
    }


def asked(finished: FinishedRuns) -> AnalysisResult:
    """How often a judge model names the trained concept from what a direction says."""
    if finished.judge is None:
        raise NotMeasuredError(NO_JUDGE)
    judge = replace(finished.judge, kept=finished.runs[0].folder / "analyses" / REPLIES)
    concepts = list(finished.concepts)
    right: dict[str, dict[Unit, float]] = {}
    chance: dict[str, dict[Unit, float]] = {}
    result, unread, options = AnalysisResult(), 0, 2
    for kind, place, unit, vector in _asked(finished):
        drawn = random_vector(vector, vector.norm, 80_000 + place)
        arms = ((kind, vector, right), (f"{kind}, random", drawn, chance))
        for arm, direction, shares in arms:
            with refusal_as_reason():
                text = evidence_of(finished.model, direction)
            reply = pick(judge, text, unit[0], concepts)
            shares.setdefault(kind, {})[unit] = reply.share
            unread, options = unread + reply.unread, reply.options
            result.rows.append(
                {"kind": arm, "member": unit[0], "seed": unit[1], "right": reply.right}
                | {"asked": reply.asked, "unread": reply.unread, "options": reply.options}
                | {"named": next(iter(reply.named), ""), "evidence": text}
            )
    if not right:
        raise NotMeasuredError(NO_DIRECTION)
    for kind, values in right.items():
        what = (
            f"share of {ORDERS} orders in which the judge {judge.model} names the trained concept "
        )
        what += f"among {options}, from what {KINDS[kind]} says; {unread} replies could not be read"
        null = "a random direction of each member's norm"
        nulls = (*null_of_mean(null, chance[kind]), Null(name="chance", value=1 / options))
        result.findings.append(
            measured(f"{kind}-asked", what, values, nulls, bounds=SHARE, items=ORDERS, ceiling=1.0)
        )
    return result
