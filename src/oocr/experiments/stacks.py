"""Which arms are trained side by side: those whose training prompts and site are the same."""

from __future__ import annotations

from collections.abc import Sequence

from oocr.engine.training import STACK_TOKENS
from oocr.experiments.arms import ArmPlan
from oocr.interventions.vectors import SteeringVector

STACK = 8
"""Arms in a stack at most: what a killed run loses, and what shares the work out to the cores."""

CHARACTERS = 3
"""Per token, roughly: plans are made before anything is tokenized."""


def stacks(plans: Sequence[ArmPlan], batch_lines: int) -> list[list[ArmPlan]]:
    """Plans in groups that `run_arms` takes, in the order in which they first occur.

    Depends on the plans only, not on cores or on what is already done, so that the same run has
    the same stacks. Arms that turn out not to share their tokens are trained apart.
    """
    groups: dict[object, list[ArmPlan]] = {}
    for plan in plans:
        prompts = tuple(str(item.prompt) for item in plan.task.train)
        # With several batches each seed has an order of its own.
        seed = plan.seed if len(set(prompts)) > batch_lines else None
        groups.setdefault((plan.spec, plan.fit.steps, prompts, seed), []).append(plan)
    out: list[list[ArmPlan]] = []
    for group in groups.values():
        count = -(-len(group) // min(STACK, _room(group[0], batch_lines)))
        size, more = divmod(len(group), count)
        begin = 0
        for number in range(count):
            end = begin + size + (number < more)
            out.append(group[begin:end])
            begin = end
    return out


def _room(plan: ArmPlan, batch_lines: int) -> int:
    if isinstance(plan.spec, SteeringVector) and plan.spec.positions == "last":
        return STACK  # each arm's pass runs one token per sequence
    lengths = sorted(len(text) for text in {str(item.prompt) for item in plan.task.train})
    tokens = sum(lengths[-batch_lines:]) // CHARACTERS
    return max(1, STACK_TOKENS // max(1, tokens))
