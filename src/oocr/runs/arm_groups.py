"""Which arms are trained side by side: those whose training tokens and site are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oocr.data.batches import training_lines
from oocr.runs.arms import ArmPlan
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STACK = 4
"""Arms in a stack at most. More gain little, are lost together when a run is killed, and leave
cores idle where there are few arms."""


def stacks(
    plans: Sequence[ArmPlan],
    tokenizer: PreTrainedTokenizerBase,
    batch_lines: int,
    most_tokens: int,
) -> list[list[ArmPlan]]:
    """Plans in groups that `run_arms` takes, in the order in which they first occur.

    Depends on the plans only, not on cores or on what is already done, so that the same run has
    the same stacks.

    Args:
        plans: what is to be trained.
        tokenizer: the model's.
        batch_lines: sequences per batch.
        most_tokens: that one pass over a stack may have (`oocr.engine.training.stack_tokens`).
    """
    tokens: dict[int, tuple[tuple[int, ...], ...]] = {}
    groups: dict[object, list[ArmPlan]] = {}
    for plan in plans:
        if id(plan.task) not in tokens:
            tokens[id(plan.task)] = _tokens(plan.task, tokenizer)
        seen = tokens[id(plan.task)]
        # With several batches each seed has an order of its own.
        seed = plan.seed if len(seen) > batch_lines else None
        key = (plan.spec, plan.schedule, plan.fit.steps, seen, seed)
        groups.setdefault(key, []).append(plan)
    out: list[list[ArmPlan]] = []
    for group in groups.values():
        room = _room(group[0], tokens[id(group[0].task)], batch_lines, most_tokens)
        count = -(-len(group) // room)
        if len(groups) == 1:  # one stack would leave all cores but one idle
            count = min(len(group), max(count, 2))
        size, more = divmod(len(group), count)
        begin = 0
        for number in range(count):
            end = begin + size + (number < more)
            out.append(group[begin:end])
            begin = end
    return out


def _tokens(task: Task, tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], ...]:
    return tuple(line.ids for line in training_lines(tokenizer, task.train, task.loss))


def _room(plan: ArmPlan, seen: Sequence[Sequence[int]], batch_lines: int, most_tokens: int) -> int:
    if isinstance(plan.spec, SteeringVector) and plan.spec.positions == "last":
        return STACK  # each arm's pass runs one token per sequence
    most = max(len(ids) for ids in seen) * min(len(seen), batch_lines)
    return max(1, min(STACK, most_tokens // most))
