"""Can only the narrow thing be learned? Training with a KL penalty on other texts.

The training loss plus weight * KL(base || trained) on texts outside of the training data. If what
was learned out of context came along because it was the cheapest way to fit the narrow rows, the
penalty can take it away while the rows are still fitted ("narrow misalignment is hard": only such a
penalty made it narrow).

What the texts are decides what is shown. They must be texts on which the arm can act at all (for a
vector at a codename: texts with the codename), and none of them may be a question of the test. Two
kinds are of use:

- unrelated statements: the codename stands in them, but they say and ask nothing that matters;
- questions of some facets, in wordings that are never asked. On these facets a lost effect is only
  what was trained for; the other facets tell whether narrowness reaches beyond the texts.
"""

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
from oocr.evals.score_table import Scores
from oocr.explain.trained import TrainedPoint, as_list, ask
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

WEIGHTS = (0.0, 1.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowPoint(TrainedPoint):
    """An arm that was trained with a penalty of one weight.

    Attributes:
        weight: of the penalty; 0: plain training.
        loss: before the last step, nats per example.
        kl: before the last step, nats per token of the other texts.
        arm: what was trained.
    """

    weight: float
    loss: float
    kl: float
    arm: Vector | Adapter


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
    """Train the same arm with a penalty of several weights, and ask what it learned.

    One arm per weight and task, and a point for each, in this order; arms that see the same tokens
    share their passes. The weight of `off` is replaced. `learning_rate`, `steps`, `seed` and
    `prepared` (one per task) are as `fit` takes them.

    Raises:
        InputError: a text that a task asks or trains on; no weight.
    """
    if not weights:
        raise InputError("weights: found none; allowed: one or more")
    tasks = as_list(task)
    for trained_on in tasks:
        check_apart(trained_on, off)
    start = [start_of(model, spec)]
    batches = prepared or [prepare(model, trained_on, start) for trained_on in tasks]
    arms = [
        (
            weight,
            ArmSpec(
                trained_on,
                spec,
                learning_rate,
                steps,
                seed,
                off_domain=replace(off, weight=weight),
            ),
        )
        for weight in weights
        for trained_on in tasks
    ]
    trained = fit_all(model, [arm for _, arm in arms], [*batches] * len(weights))
    scored: dict[str, Scores] = {}
    for number, trained_on in enumerate(tasks):
        finals = {
            str(place): trained[place].final for place in range(number, len(arms), len(tasks))
        }
        scored |= ask(model, trained_on, finals)
    return [
        NarrowPoint(
            member=tasks[place % len(tasks)].member,
            scores=scored[str(place)],
            weight=weight,
            loss=done.losses[-1],
            kl=done.kl[-1],
            arm=done.final,
        )
        for place, ((weight, _), done) in enumerate(zip(arms, trained, strict=True))
    ]


@torch.no_grad()
def kl_on(model: LanguageModel, off: OffDomain, arm: Vector) -> float:
    """KL(base || arm) on the other texts, nats per token: what there is for a penalty to take.

    Args:
        model: the model, nothing attached.
        off: the texts and their tokens.
        arm: a vector.

    Raises:
        InputError: a text in which the vector acts at no token.
    """
    total, count = 0.0, 0
    for reference in references(model, off, [start_block(arm)], arm.positions):
        rows = final_rows(model, reference.recording, [arm])
        total += float(reference.kl(model, rows)[0]) * len(reference.logp)
        count += len(reference.logp)
    return total / count


def check_apart(task: Task, off: OffDomain) -> None:
    """Refuse texts that the task trains on or asks.

    Raises:
        InputError: names the first.
    """
    prompts = {
        example.prompt for example in (*task.train, *task.stop, *task.in_context, *task.probes)
    }
    for text in off.texts:
        if text.prompt in prompts:
            raise InputError(
                f"off_domain.texts: {text.prompt!r} is an item of {task.name}; allowed: others"
            )
