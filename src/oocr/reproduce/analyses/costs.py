"""What the effect costs: side effects at several strengths, beside the effect there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl

from oocr.charts.figure import Figure, Key, Panel
from oocr.charts.panels import Tables, figure_of, line_of, lines_panel
from oocr.claims.records import Null
from oocr.engine.forward import start_block
from oocr.evals.probes import means
from oocr.explain.neutral import neutral_questions
from oocr.explain.side_effects import STRENGTHS, Cost, Neutral
from oocr.reproduce.analysis import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import effective, mean_of, measured, single_vectors
from oocr.stats import POSITIVE, SHARE
from oocr.steering.vectors import Vector, random_vector

TOKENS, QUESTIONS = 48, 24
"""Predictions compared on neutral text (each costs a row of the whole vocabulary), and questions
asked."""

MEMBERS = 3
RANDOM_STRENGTHS = (1.0, 3.0)
"""Each member's random direction of its norm is tried at these only."""

MEASURES = (
    ("agreement", "share of neutral questions whose best option stays", 1.0, SHARE),
    ("kl", "KL to the untouched model on neutral text, nats per token", 0.0, POSITIVE),
    ("perplexity", "perplexity of neutral text over the untouched model's", 1.0, POSITIVE),
)


def costs(finished: FinishedRuns) -> AnalysisResult:
    """KL, perplexity and agreement with the untouched model on neutral text, by strength."""
    vectors = dict(list(single_vectors(finished).items())[:MEMBERS])
    effective(finished, "vector")  # what does nothing costs nothing
    questions = neutral_questions(finished.model)[::2][:QUESTIONS]
    start = start_block(next(iter(vectors.values())))
    neutral = Neutral(finished.model, start, tokens=TOKENS, questions=questions)
    at_one: dict[Who, Cost] = {}
    random: dict[Who, Cost] = {}
    table: list[dict[str, Any]] = []
    for place, (who, vector) in enumerate(vectors.items()):
        by_strength = neutral.costs(vector, STRENGTHS)
        effects = _effects(finished, who[0], vector)
        drawn = random_vector(vector, vector.norm, 70_000 + place)
        by_chance = neutral.costs(drawn, RANDOM_STRENGTHS)
        table += [
            {"member": who[0], "arm": arm, **asdict(cost), "effect": score}
            for arm, costs_of, scores in (
                ("vector", by_strength, effects),
                ("random", by_chance, [None] * len(by_chance)),
            )
            for cost, score in zip(costs_of, scores, strict=True)
        ]
        at_one[who], random[who] = by_strength[STRENGTHS.index(1.0)], by_chance[0]
    name = "a random direction of each member's norm, mean"
    findings = [
        measured(
            f"{measure}-at-1",
            f"{words}, the vector of its trained length added at the last token before each",
            {who: getattr(cost, measure) for who, cost in at_one.items()},
            (
                Null(
                    name=name,
                    value=mean_of({who: getattr(cost, measure) for who, cost in random.items()}),
                ),
            ),
            bounds=bounds,
            items=len(questions) if measure == "agreement" else None,
            base=base,
            ceiling=1.0 if measure == "agreement" else None,
        )
        for measure, words, base, bounds in MEASURES
    ]
    ratios = {who: at_one[who].kl / cost.kl for who, cost in random.items() if cost.kl > 0}
    if ratios:
        what = "KL to the untouched model on neutral text, as a multiple of what a random "
        what += "direction of the same norm causes, both added at the last token"
        findings.append(measured("kl-to-random", what, ratios, bounds=POSITIVE, base=1.0))
    return AnalysisResult(tuple(findings), pl.DataFrame(table, infer_schema_length=None))


def _effects(finished: FinishedRuns, member: str, vector: Vector) -> list[float]:
    """The mean of what the task scores on its probes, at each strength, at its own positions."""
    probes = finished.task(member).probes
    column = "log_odds" if finished.tasks.score == "log_odds" else "right"
    scores = finished.context.scores(probes, [vector * strength for strength in STRENGTHS])
    return [means(probes, options, column)[0] for options in scores]


ARMS = (("vector", "vector", "vector"), ("random", "random direction of its norm", "random"))


def costs_figure(tables: Tables) -> Figure | None:
    """Side effects by strength, beside the effect."""
    panels: list[Panel] = []
    for name, table in tables.items():
        effects = table.filter(pl.col("arm") == "vector")["effect"].to_list()
        share = all(0 <= value <= 1 for value in effects)
        for column, words, level in (
            ("effect", "share right" if share else "log-odds, nats", None),
            ("agreement", "share of neutral answers kept", 1.0),
            ("kl", "KL on neutral text, nats", 0.0),
        ):
            lines = [
                line_of(table.filter(pl.col("arm") == arm), label, colour, "strength", column)
                for arm, label, colour in ARMS
                if column != "effect" or arm == "vector"
            ]
            panels.append(lines_panel(lines, "strength", words, title=name, span=2, level=level))
    caption = (
        "One vector (seed 0) per member at several strengths; 1 is the trained one. Its effect is "
        "read at its own positions; in neutral questions and text it is added at the last token "
        "before each answer or prediction. "
        "Grey line: the untouched model."
    )
    keys = [Key(label, label, colour, "line") for _, label, colour in ARMS]
    return figure_of("costs", caption, panels, tables, keys)
