"""How much a run computes: floating-point operations, counted before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oocr.data.batches import Batch
from oocr.engine.forward import start_block
from oocr.engine.memory import Shape
from oocr.engine.trainable import tail_tokens
from oocr.experiments.arms import ArmPlan
from oocr.interventions.vectors import SteeringVector


@dataclass(frozen=True, slots=True)
class Work:
    """Arms of one kind.

    Attributes:
        what: which.
        arms: how many.
        steps: of each.
        tokens: that one step of one arm runs, on average.
        training: operations to train one.
        scoring: operations to score one.
    """

    what: str
    arms: int
    steps: int
    tokens: float
    training: float
    scoring: float


def start_of_plan(plan: ArmPlan) -> int:
    """The first block that an arm's passes run."""
    return start_block(plan.spec) if isinstance(plan.spec, SteeringVector) else plan.layer


def pass_flops(shape: Shape, tokens: int, width: int, start: int) -> float:
    """A pass over blocks from `start` on, for tokens that attend to `width` others each."""
    per_token = 2 * shape.block + 2 * shape.attended * width
    return float((shape.n_blocks - start) * tokens * per_token)


def training_flops(shape: Shape, plan: ArmPlan, batches: Sequence[Batch]) -> float:
    """One arm's training: forward, and once more for the gradient of frozen maps' inputs."""
    start, total = start_of_plan(plan), 0.0
    for batch in batches:
        tokens, width = tail_tokens(batch, plan.spec), int(batch.ids.shape[1])
        total += 2 * pass_flops(shape, tokens, width, start)
        if len(batch.target_ids):
            total += 4 * len(batch.rows) * shape.vocab * shape.d_model
    return total / len(batches) * plan.fit.steps * plan.schedule.accumulate


def scoring_flops(shape: Shape, plan: ArmPlan, batches: Sequence[Batch]) -> float:
    """One intervention's answers to all questions."""
    start = start_of_plan(plan)
    total = 0.0
    for batch in batches:
        tokens = tail_tokens(batch, plan.spec)
        total += pass_flops(shape, tokens, int(batch.ids.shape[1]), start)
        if len(batch.target_ids):
            total += 2 * len(batch.rows) * shape.vocab * shape.d_model
    return total
