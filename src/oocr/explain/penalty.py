"""Is what was learned narrow? Arms trained with a penalty on changes in other texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

import torch

from oocr.engine.forward import final_rows, start_block
from oocr.engine.off_domain import OffDomain, OffText, references
from oocr.engine.trainable import ArmSpec, Spec, start_of
from oocr.engine.training import fit_all
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.errors import InputError
from oocr.explain.retraining import TrainedPoint, as_list, score_arms
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

WEIGHTS = (0.0, 1.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowPoint(TrainedPoint):
    """An arm that was trained with a penalty of one weight (0: plain training)."""

    weight: float

    @property
    def kl(self) -> float:
        """KL on the other texts before the last step, in nats per token."""
        return self.trained.kl[-1]


def statements(codename: str, span: str = "codename") -> tuple[OffText, ...]:
    """The built-in unrelated statements about a codename."""
    text = files("oocr.explain").joinpath("data/off_domain.txt").read_text(encoding="utf-8")
    return tuple(
        OffText(text.replace("{}", codename), {span: codename})
        for text in text.splitlines()
        if text
    )


def narrow(
    model: LanguageModel,
    task: Task | Sequence[Task],
    spec: Spec,
    off: OffDomain,
    *,
    weights: Sequence[float] = WEIGHTS,
    learning_rate: float | None = None,
    steps: int = 10,
    seed: int = 0,
    prepared: Sequence[TrainingBatches] | None = None,
) -> list[NarrowPoint]:
    """Train an arm with each weight of the penalty weight * KL(base || trained) on other texts.

    If what was learned out of context was only the cheapest way to fit the narrow rows, the penalty
    can take it away while the rows are still fitted. The arm must be able to act on the texts (for
    a vector at a codename: texts with the codename), and none may be a question of the test.

    An arm and a point for each weight and task, in this order; arms that see the same tokens share
    their passes. The weight of `off` is replaced. `learning_rate`, `steps`, `seed` and `prepared`
    (one per task) are as `fit` takes them.

    InputError: a text that a task asks or trains on; no weight.
    """
    if not weights:
        raise InputError("weights: found none; allowed: one or more")
    tasks = as_list(task)
    for trained_on in tasks:
        _check_apart(trained_on, off)
    start = [start_of(model, spec)]
    batches = prepared or [prepare(model, trained_on, start) for trained_on in tasks]
    arms = [
        ArmSpec(trained_on, spec, learning_rate, steps, seed, off_domain=penalty)
        for penalty in [replace(off, weight=weight) for weight in weights]
        for trained_on in tasks
    ]
    trained = fit_all(model, arms, [*batches] * len(weights))
    return [
        NarrowPoint(**fields, weight=weights[place])
        for place, _, fields in score_arms(model, tasks, trained)
    ]


@torch.no_grad()
def kl_on(model: LanguageModel, off: OffDomain, arm: Vector) -> float:
    """KL(base || arm) on the other texts, in nats per token: what a penalty could reduce.

    InputError: a text in which the vector acts at no token.
    """
    total, count = 0.0, 0
    for reference in references(model, off, [start_block(arm)], arm.positions):
        rows = final_rows(model, reference.recording, [arm])
        total += float(reference.kl(model, rows)[0]) * len(reference.logp)
        count += len(reference.logp)
    return total / count


def _check_apart(task: Task, off: OffDomain) -> None:
    """Refuse texts that the task trains on or asks."""
    examples = (*task.train, *task.stop, *task.in_context, *task.probes)
    prompts = {example.prompt for example in examples}
    for text in off.texts:
        if text.prompt in prompts:
            raise InputError(
                f"off_domain.texts: {text.prompt!r} is an item of {task.name}; allowed: others"
            )
