"""Scores of a run's probes against strength, point by point, with random directions.

Events:
    about   label and unit of the score, n: questions asked, of: how many there are, question: the
            preset is among them, bounded: the score is a share, untouched: score without steering
    point   strength, score, question: of the preset alone (share of its right option, or its
            log-odds minus the untouched model's)
    band    strength, scores: of each random direction of the same norm, site and positions
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl
from jaxtyping import Float
from torch import Tensor

from oocr import stats
from oocr.data.examples import Example, prompt_text, spread
from oocr.evals.probes import Probes, arm_columns, rows
from oocr.evals.scores import Scoring
from oocr.play.probe_set import ProbeSet, named_span
from oocr.play.settings import SteeringUse
from oocr.play.sources import Playground
from oocr.play.steering import SPAN, applied, source_of
from oocr.play.turns import Event
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector, random_vector

STRENGTHS = (1.0, 0.0, 2.0, -1.0, 0.5, 3.0, 1.5, -0.5, 2.5, 0.25, 0.75)
"""In the order in which they are drawn."""

BAND = (1.0, 2.0, -1.0, 3.0, 0.5)
DIRECTIONS = 8
FIRST_SEED = 20_000
"""Of the random directions; a run's own begin at 10000."""

POINTS = ("about", "point", "band")
"""Events after which other work may come in between."""

QUESTIONS, FEW_QUESTIONS, SMALL = 96, 24, 20_000_000
"""Asked of a model of at most SMALL parameters, and of a larger one."""


def curve_events(play: Playground, use: SteeringUse, preset: str) -> Iterator[Event]:
    """Score a member's probes at each strength of one vector or LoRA; the order is fixed.

    Nothing is attached to the model between two events. InputError: no such preset or source.
    """
    probe_set = play.probe_set_of(preset)
    source = source_of(play.sources, use.id)
    most = QUESTIONS if play.model.parameters <= SMALL else FEW_QUESTIONS
    examples = asked_examples(probe_set, preset, most, use)
    scale = _Scale(probe_set, examples)
    probes = Probes.of(play.model, examples)
    base = scale.frame(probes.scores(None)[0])
    yield {
        "type": "about",
        "label": scale.scoring.axis,
        "member": probe_set.task.member,
        "n": scale.counted(examples),
        "of": scale.counted(probe_set.task.probes),
        "bounded": scale.scoring.measure == "accuracy",
        "untouched": scale.score(base, base),
        "steering": use.id,
    }
    whole = isinstance(source.steering, Adapter) and source.steering.config.get("use_dora")
    for strength in (1.0, 0.0) if whole else STRENGTHS:
        at = use.model_copy(update={"strength": strength})
        scored = base
        if strength != 0:
            scored = scale.frame(_scores(probes, [applied(source, at)])[0])
        yield {
            "type": "point",
            "strength": strength,
            "score": scale.score(scored, base),
            "question": scale.question(scored, base),
        }
    at = use.model_copy(update={"strength": 1.0})
    like = applied(source, at)
    if not isinstance(like, Vector):
        return
    randoms = [random_vector(like, like.norm, FIRST_SEED + n) for n in range(DIRECTIONS)]
    for strength in BAND:
        frames = map(scale.frame, _scores(probes, [strength * vector for vector in randoms]))
        scores = [scale.score(frame, base) for frame in frames]
        yield {"type": "band", "strength": strength, "scores": scores}


def asked_examples(
    probe_set: ProbeSet, preset: str, most: int, use: SteeringUse
) -> tuple[Example, ...]:
    """The preset, and at most `most` of the member's probes that the score counts.

    The span that the page names is marked in those that have it.
    """
    first = probe_set.by_id[preset]
    counted = [x for x in probe_set.task.probes if probe_set.scoring.counts(x.facet)]
    others = [example for example in spread(counted, most) if example.id != first.id]
    text = named_span(use)
    return tuple(
        replace(example, spans={**example.spans, SPAN: text})
        if text and text in prompt_text(example.prompt)
        else example
        for example in (first, *others)
    )


def _scores(probes: Probes, arms: list[Vector | Adapter]) -> Float[Tensor, "stack item option"]:
    if len(arms) == 1 and isinstance(arms[0], Adapter):
        return probes.scores(arms[0], everywhere=False)
    vectors = [arm for arm in arms if isinstance(arm, Vector)]
    return probes.scores(vectors, everywhere=False)


class _Scale:
    """The run's score of one member, and the same of its first example alone."""

    def __init__(self, probe_set: ProbeSet, examples: tuple[Example, ...]) -> None:
        self.scoring: Scoring = probe_set.scoring
        self.examples, self.member = examples, probe_set.task.member

    def counted(self, examples: Sequence[Example]) -> int:
        """How many of the examples the score counts."""
        return sum(self.scoring.counts(example.facet) for example in examples)

    def frame(self, scores: Float[Tensor, "item option"]) -> pl.DataFrame:
        """One row per example."""
        return rows(self.examples, scores, arm_columns("play", self.member, part="probes"))

    def score(self, frame: pl.DataFrame, base: pl.DataFrame) -> float | None:
        """As the run scores it; None: nothing counts."""
        cells = self.scoring.score(frame, base)
        if cells is None:
            return None
        mean = stats.mean(cells)
        return mean if math.isfinite(mean) else None

    def question(self, frame: pl.DataFrame, base: pl.DataFrame) -> float:
        """Of the preset: the share of its right option, or its log-odds over the untouched."""
        if self.scoring.measure == "accuracy":
            return math.exp(float(frame["logp"][0]))
        return float(frame["log_odds"][0]) - float(base["log_odds"][0])
