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

from oocr.data.examples import Example
from oocr.engine.forward import final_rows, start_block
from oocr.engine.off_domain import OffDomain, OffText, references
from oocr.engine.trainable import ArmSpec, Spec, start_of
from oocr.engine.training import Trained, fit_all
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from oocr.tasks.task import Task

WEIGHTS = (0.0, 1.0, 10.0)


@dataclass(frozen=True, slots=True)
class NarrowPoint:
    """An arm that was trained with a penalty of one weight.

    Attributes:
        weight: of the penalty; 0: plain training.
        loss: before the last step, nats per item.
        kl: before the last step, nats per token of the other texts.
        in_context: share of the in-context test items answered right.
        right: share of the probes answered right.
        arm: what was trained.
    """

    weight: float
    loss: float
    kl: float
    in_context: float
    right: float
    arm: Vector | Adapter


def statements(codename: str, span: str = "codename") -> tuple[OffText, ...]:
    """The built-in unrelated statements about a codename."""
    text = files("oocr.explain").joinpath("data/off_domain.txt").read_text(encoding="utf-8")
    return tuple(
        OffText(line.replace("{}", codename), {span: codename})
        for line in text.splitlines()
        if line
    )


def narrow(
    model: LanguageModel,
    task: Task,
    spec: Spec,
    off: OffDomain,
    *,
    weights: Sequence[float] = WEIGHTS,
    learning_rate: float | None = None,
    steps: int = 10,
    seed: int = 0,
) -> list[NarrowPoint]:
    """Train the same arm with a penalty of several weights, and ask what it learned.

    Args:
        model: the model, nothing attached.
        task: its training rows, in-context test items and probes.
        spec: what is trained.
        off: the other texts; its weight is replaced.
        weights: of the penalty.
        learning_rate: as `fit` takes it.
        steps: as `fit` takes them.
        seed: as `fit` takes it.

    Raises:
        InputError: a text that the task asks or trains on; no weight.
    """
    if not weights:
        raise InputError("weights: found none; allowed: one or more")
    check_apart(task, off)
    prepared = prepare(model, task, [start_of(model, spec)])
    trained = fit_weights(model, [task], spec, off, weights, learning_rate, steps, seed, [prepared])
    points = []
    for weight, (one,) in zip(weights, trained, strict=True):
        points.append(
            NarrowPoint(
                weight=weight,
                loss=one.losses[-1],
                kl=one.kl[-1],
                in_context=_right(model, task.in_context, one.final),
                right=_right(model, task.probes, one.final),
                arm=one.final,
            )
        )
    return points


def fit_weights(
    model: LanguageModel,
    tasks: Sequence[Task],
    spec: Spec,
    off: OffDomain,
    weights: Sequence[float],
    learning_rate: float | None,
    steps: int,
    seed: int,
    prepared: Sequence[TrainingBatches],
) -> list[list[Trained]]:
    """By weight and task; arms that see the same tokens share their passes."""
    some = [replace(off, weight=weight) for weight in weights]
    arms = [
        ArmSpec(task, spec, learning_rate, steps, seed, off_domain=one)
        for one in some
        for task in tasks
    ]
    done = fit_all(model, arms, [*prepared] * len(weights))
    size = len(tasks)
    return [done[begin : begin + size] for begin in range(0, len(done), size)]


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
    for one in references(model, off, [start_block(arm)], arm.positions):
        rows = final_rows(model, one.recording, [arm])
        total += float(one.kl(model, rows)[0]) * len(one.logp)
        count += len(one.logp)
    return total / count


def check_apart(task: Task, off: OffDomain) -> None:
    """Refuse texts that the task trains on or asks.

    Raises:
        InputError: names the first.
    """
    own = {item.prompt for item in (*task.train, *task.stop, *task.in_context, *task.probes)}
    for text in off.texts:
        if text.prompt in own:
            raise InputError(
                f"off_domain.texts: {text.prompt!r} is an item of {task.name}; allowed: others"
            )


def _right(model: LanguageModel, items: Sequence[Example], arm: Vector | Adapter) -> float:
    if not items:
        return float("nan")
    scored = Probes.of(model, items).scores([arm] if isinstance(arm, Vector) else arm)[0]
    return float(rows(items, scored)["right"].cast(float).to_numpy().mean())
