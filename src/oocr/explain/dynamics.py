"""Along training: loss, out-of-context score, direction and norm after each number of steps.

Where a score peaks before the loss is at its lowest, stopping by the loss comes too late: what was
inferred is overwritten by what is memorized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oocr.engine.prepared import Prepared
from oocr.engine.training import fit
from oocr.evals.probes import Probes
from oocr.evals.rows import rows
from oocr.explain.lines import training_losses
from oocr.interventions.vectors import SteeringVector, Vector
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Moment:
    """A vector after so many steps.

    Attributes:
        step: how many.
        loss: of the training items, nats per item.
        right: share of the probes answered right.
        log_odds: mean log-odds of the trained pole, or of the answer, on the probes.
        norm: of the vector.
        to_last: signed cosine to the vector after the last step.
        to_before: signed cosine to the one before; 1 for the first.
    """

    step: int
    loss: float
    right: float
    log_odds: float
    norm: float
    to_last: float
    to_before: float


def along_training(
    model: LanguageModel,
    task: Task,
    spec: SteeringVector,
    steps: Sequence[int],
    *,
    learning_rate: float | None = None,
    seed: int = 0,
    batch_lines: int = 16,
    prepared: Prepared | None = None,
) -> list[Moment]:
    """Train one vector and look at it after each number of steps.

    Args:
        model: the model, nothing attached.
        task: its training items and probes.
        spec: the vector.
        steps: after which to look, ascending; training ends with the last.
        learning_rate: as `fit` takes it.
        seed: of the start point and order.
        batch_lines: sequences per batch.
        prepared: recorded batches to reuse.
    """
    trained = fit(
        model,
        task,
        spec,
        learning_rate=learning_rate,
        steps=max(steps),
        seed=seed,
        snapshots=tuple(steps),
        batch_lines=batch_lines,
        prepared=prepared,
    )
    kept = {step: one for step, one in trained.snapshots.items() if isinstance(one, Vector)}
    return moments(model, task, kept)


def moments(model: LanguageModel, task: Task, vectors: Mapping[int, Vector]) -> list[Moment]:
    """The same of vectors that are there, by number of steps."""
    steps = sorted(vectors)
    some = [vectors[step] for step in steps]
    scored = Probes.of(model, task.probes).scores(some, everywhere=False)
    tables = [rows(task.probes, one) for one in scored]
    losses = training_losses(model, task, some)
    return [
        Moment(
            step=step,
            loss=losses[index],
            right=float(tables[index]["right"].cast(float).to_numpy().mean()),
            log_odds=float(tables[index]["log_odds"].to_numpy().mean()),
            norm=some[index].norm,
            to_last=some[index].cosine(some[-1]),
            to_before=some[index].cosine(some[max(0, index - 1)]),
        )
        for index, step in enumerate(steps)
    ]


def peak(moments: Sequence[Moment]) -> Moment:
    """The moment with the most probes right; the first of several, log-odds telling them apart."""
    return max(moments, key=lambda one: (one.right, one.log_odds, -one.step))
