"""What the effect costs: side effects at several strengths, beside the effect there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from oocr.claims.records import Null
from oocr.engine.forward import start_block
from oocr.evals.table import rows as score_rows
from oocr.explain.neutral import neutral_questions
from oocr.explain.strength import STRENGTHS, Cost, Neutral
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import (
    by_member,
    has_effect,
    measured,
    why_no_effect,
)
from oocr.steering.vectors import Vector, random_vector

TOKENS, QUESTIONS = 48, 24
"""Predictions compared on neutral text (each costs a row of the whole vocabulary), and questions
asked."""

MEMBERS = 3
RANDOM_STRENGTHS = (1.0, 3.0)
"""Each member's random direction of its norm is tried at these only."""

NULL = "a random direction of each member's norm, mean"


def costs(subject: FinishedRuns) -> AnalysisResult:
    """KL, perplexity and agreement with the untouched model on neutral text, by strength."""
    trained = {who: one for who, one in subject.vectors.items() if who[1] == 0}
    if not trained or next(iter(trained.values())).direction.ndim != 1:
        return AnalysisResult(missing="no run of this subject trained a single direction")
    if not has_effect(subject, "vector"):  # what does nothing costs nothing
        return AnalysisResult(missing=why_no_effect(subject, "vector"))
    chosen = dict(list(trained.items())[:MEMBERS])
    start = start_block(next(iter(chosen.values())))
    asked = neutral_questions(subject.model)[::2][:QUESTIONS]
    neutral = Neutral(subject.model, start, tokens=TOKENS, questions=asked)
    found: dict[str, dict[Who, float]] = {}
    random: dict[str, dict[Who, float]] = {}
    table: list[dict[str, Any]] = []
    for place, (who, vector) in enumerate(chosen.items()):
        own = neutral.costs(vector, STRENGTHS)
        effects = _effects(subject, who[0], vector)
        table += [
            {"member": who[0], "arm": "vector", **asdict(one), "effect": effect}
            for one, effect in zip(own, effects, strict=True)
        ]
        drawn = random_vector(vector, vector.norm, 70_000 + place)
        by_chance = neutral.costs(drawn, RANDOM_STRENGTHS)
        table += [
            {"member": who[0], "arm": "random", **asdict(one), "effect": None} for one in by_chance
        ]
        for name, value in _numbers(own[STRENGTHS.index(1.0)]).items():
            found.setdefault(name, {})[who] = value
            random.setdefault(name, {})[who] = _numbers(by_chance[0])[name]
        if random["kl"][who] > 0:
            ratio = found["kl"][who] / random["kl"][who]
            found.setdefault("kl-to-random", {})[who] = ratio
    findings = [
        measured(
            f"{name}-at-1",
            f"{words}, the vector of its trained length added at the last token before each",
            found[name],
            (Null(name=NULL, value=_mean(by_member(random[name]))),),
            base=base,
            ceiling=1.0 if name == "agreement" else None,
        )
        for name, words, base in _MEASURES
    ]
    if "kl-to-random" in found:
        findings.append(
            measured(
                "kl-to-random",
                "KL to the untouched model on neutral text, as a multiple of what a random "
                "direction of the same norm causes, both added at the last token",
                found["kl-to-random"],
                base=1.0,
            )
        )
    return AnalysisResult(tuple(findings), pl.DataFrame(table, infer_schema_length=None))


_MEASURES = (
    ("agreement", "share of neutral questions whose best option stays", 1.0),
    ("kl", "KL to the untouched model on neutral text, nats per token", 0.0),
    ("perplexity", "perplexity of neutral text over the untouched model's", 1.0),
)


def _numbers(one: Cost) -> dict[str, float]:
    return {"agreement": one.agreement, "kl": one.kl, "perplexity": one.perplexity}


def _effects(subject: FinishedRuns, member: str, vector: Vector) -> list[float]:
    """The mean of what the task scores on its probes, at each strength, at its own positions."""
    probes = subject.task(member).probes
    column = "log_odds" if subject.tasks.score == "log_odds" else "right"
    scored = subject.lab.scores(probes, [vector * one for one in STRENGTHS])
    return [float(score_rows(probes, one)[column].cast(float).to_numpy().mean()) for one in scored]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
