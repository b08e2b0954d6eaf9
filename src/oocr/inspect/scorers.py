"""Scorers and metrics: right as in a run, and the run's own score with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from inspect_ai.scorer import (
    CORRECT,
    INCORRECT,
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    metric,
    scorer,
    value_to_float,
)
from inspect_ai.solver import TaskState

from oocr.inspect.question import KEY, Question

OPTIONS = "option_logprobs"
"""Key of the options' log-probabilities (among the options, nats) in an output and in a score."""


@scorer(metrics=[])
def chosen() -> Scorer:
    """Right where the answer is the option of the highest score, alone (a tie is not right)."""

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        import torch

        from oocr.evals.probes import rows

        question = Question.model_validate(state.metadata[KEY])
        logits = _logits(state, question.options)
        best = max(logits, key=logits.__getitem__)
        if math.isinf(logits[best]):
            return Score(value=INCORRECT, explanation="none of the options was scored")
        values = torch.tensor([list(logits.values())], dtype=torch.float64)
        logps = dict(zip(logits, values.log_softmax(-1)[0].tolist(), strict=True))
        row = rows([question.choice()], values).row(0, named=True)
        about = {name: row[name] for name in ("tied", "rank", "log_odds", "value")}
        return Score(
            value=CORRECT if row["right"] else INCORRECT,
            answer=row["chosen"],
            metadata={OPTIONS: _finite(logps), **_finite(about)},
        )

    return score


def _logits(state: TaskState, options: tuple[str, ...]) -> dict[str, float]:
    """Each option's log-score; of another provider's model that of its first token, if listed."""
    known = (state.output.metadata or {}).get(OPTIONS)
    if known is not None:
        return {option: known[option] for option in options}
    logprobs = state.output.choices[0].logprobs if state.output.choices else None
    top = (logprobs.content[0].top_logprobs or []) if logprobs and logprobs.content else []
    words = {entry.token.strip(" \u0120\u2581"): entry.logprob for entry in top}
    return {
        option: max(
            (value for word, value in words.items() if word and option.strip().startswith(word)),
            default=-math.inf,
        )
        for option in options
    }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an option that was not scored is left out."""
    return {
        name: value
        for name, value in values.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


@scorer(metrics=[])
def judged() -> Scorer:
    """An answer in the model's own words, judged as in a run; the explanation says why not."""

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        from oocr.evals.free_text import judge_answer

        text = state.output.completion
        question = Question.model_validate(state.metadata[KEY])
        right, why = judge_answer(question.free_text(), text)
        return Score(value=CORRECT if right else INCORRECT, answer=text, explanation=why or None)

    return score


@metric
def counted(scoring: dict[str, Any], part: str) -> Metric:
    """The score of a run (which facets count, how answers weigh) and its 95 % interval."""

    def compute(scores: list[SampleScore]) -> dict[str, float]:
        import polars as pl

        from oocr.evals.scores import Scoring

        to_float = value_to_float()
        lines = [
            {
                **{name: about[name] for name in ("member", "facet", "group", "answer")},
                **{"item": str(each.sample_id), "arm": "model", "control": "", "seed": 0},
                **{"part": part, "final": True, "right": to_float(each.score.value) == 1.0},
            }
            for each in scores
            if (about := each.sample_metadata) is not None
        ]
        table, how = pl.DataFrame(lines), Scoring.model_validate(scoring)
        if not table.is_empty() and table[how.cluster].n_unique() < 2:  # a few samples, --limit
            how = how.model_copy(update={"cluster": "item"})
        interval = None if table.is_empty() else how.interval(table)
        if interval is None:
            return {"score": math.nan, "score_low": math.nan, "score_high": math.nan}
        return {
            "score": interval.value,
            "score_low": interval.low,
            "score_high": interval.high,
        }

    return compute


@metric
def log_odds() -> Metric:
    """Mean log-odds of the options with positive over those with negative value, in nats."""

    def compute(scores: list[SampleScore]) -> float:
        values = [
            value
            for each in scores
            if isinstance(value := (each.score.metadata or {}).get("log_odds"), float)
        ]
        return sum(values) / len(values) if values else math.nan

    return compute
