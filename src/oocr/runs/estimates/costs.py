"""What arms cost beside each other, so that the longest begin first."""

from __future__ import annotations

from statistics import fmean as mean

from oocr.data.examples import prompt_text
from oocr.runs.arms import ArmPlan
from oocr.runs.context import TrainingTokens
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task

CHARACTERS = 4
"""Of a token, about."""


class ArmCosts:
    """Tokens times blocks that the passes of an arm run: proportional to its time, roughly.

    `oocr.runs.estimates.time_estimate` predicts seconds; this needs no samples of batches.
    """

    def __init__(self, tokens: TrainingTokens, batch_lines: int, n_blocks: int) -> None:
        self.tokens, self.batch_lines, self.n_blocks = tokens, batch_lines, n_blocks
        self._lengths: dict[str, float] = {}
        self._asked: dict[str, float] = {}

    def __call__(self, plan: ArmPlan) -> float:
        """Of an arm: a step's passes forward and back, and its scoring."""
        at_last = isinstance(plan.spec, SteeringVector) and plan.spec.positions == "last"
        length = 1.0 if at_last else self._length(plan.task)
        trained = 2 * plan.batches_trained * self.batch_lines * length
        asked = plan.scored_steps * self._tokens_asked(plan.task)
        return (self.n_blocks - plan.start + 1) * (trained + asked)

    def _length(self, task: Task) -> float:
        """Tokens of a training sequence."""
        if task.train_hash not in self._lengths:
            sequences, _ = self.tokens.of(task)
            self._lengths[task.train_hash] = mean(len(sequence.ids) for sequence in sequences)
        return self._lengths[task.train_hash]

    def _tokens_asked(self, task: Task) -> float:
        if task.asked_hash not in self._asked:
            items = [example for part in task.scored.values() for example in part]
            letters = sum(len(prompt_text(example.prompt)) for example in items)
            self._asked[task.asked_hash] = letters / CHARACTERS
        return self._asked[task.asked_hash]
