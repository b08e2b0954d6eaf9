"""How much a run computes: floating-point operations, counted before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oocr.data.batches import Batch
from oocr.engine.forward import start_block
from oocr.engine.memory import Shape
from oocr.engine.trainable import tail_tokens
from oocr.runs.arms import ArmPlan
from oocr.steering.vectors import SteeringVector


@dataclass(frozen=True, slots=True)
class FlopCount:
    """One pass over a batch.

    Attributes:
        flops: operations.
        read: bytes of weights that it reads.
        blocks: how many blocks' kernels it launches.
    """

    flops: float
    read: float
    blocks: float

    def times(self, count: float) -> FlopCount:
        """So many of them."""
        return FlopCount(count * self.flops, count * self.read, count * self.blocks)


@dataclass(frozen=True, slots=True)
class Work:
    """Arms of one kind.

    Attributes:
        what: which.
        arms: how many.
        steps: of each.
        tokens: that one pass of one arm runs, on average.
        training: operations to train one.
        scoring: operations to score one.
        memory: bytes that a training step of one takes, with what is trained.
        seconds: that one takes on a GPU that is not here; None: not asked.
    """

    what: str
    arms: int
    steps: int
    tokens: float
    training: float
    scoring: float
    memory: int = 0
    seconds: float | None = None


def start_of_plan(plan: ArmPlan) -> int:
    """The first block that an arm's passes run."""
    return start_block(plan.spec) if isinstance(plan.spec, SteeringVector) else plan.layer


def pass_flops(shape: Shape, tokens: int, width: int, start: int) -> float:
    """A pass over blocks from `start` on, for tokens that attend to `width` others each."""
    per_token = 2 * shape.block + 2 * shape.attended * width
    return float((shape.n_blocks - start) * tokens * per_token)


def training_passes(shape: Shape, plan: ArmPlan, batches: Sequence[Batch]) -> list[FlopCount]:
    """Each batch forward, and once more for the gradient of frozen maps' inputs."""
    return [_pass(shape, plan, batch, 2) for batch in batches]


def scoring_passes(shape: Shape, plan: ArmPlan, batches: Sequence[Batch]) -> list[FlopCount]:
    """One intervention's answers to all questions."""
    return [_pass(shape, plan, batch, 1) for batch in batches]


def recording_pass(shape: Shape, batch: Batch) -> FlopCount:
    """The untouched model, without its head."""
    flops = pass_flops(shape, int(batch.ids.numel()), int(batch.ids.shape[1]), 0)
    return FlopCount(flops, shape.n_blocks * shape.block * shape.item, shape.n_blocks)


def batches_trained(plan: ArmPlan) -> int:
    """How many batches an arm's training takes, one after the other."""
    return plan.fit.steps * plan.schedule.accumulate


def _pass(shape: Shape, plan: ArmPlan, batch: Batch, times: int) -> FlopCount:
    """Forward, so many times; all that a pass reads is read as often."""
    start, tokens = start_of_plan(plan), tail_tokens(batch, plan.spec)
    flops = times * pass_flops(shape, tokens, int(batch.ids.shape[1]), start)
    read = times * (shape.n_blocks - start) * shape.block * shape.item
    if len(batch.target_ids):
        flops += times * 2 * len(batch.rows) * shape.vocab * shape.d_model
        read += times * shape.vocab * shape.d_model * shape.item
    return FlopCount(flops, read, times * (shape.n_blocks - start))
