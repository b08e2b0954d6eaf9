"""Along training: loss, out-of-context score, direction and norm after each number of steps.

Where a score peaks before the loss is at its lowest, stopping by the loss comes too late: what was
inferred is overwritten by what is memorized.

The best of several looks at the same probes is better than the look at the lowest loss by chance
alone, so what is lost after the peak is measured crossed: the peak is picked on one half of the
probes and told on the other. Both halves see the same vectors: what one training does by chance to
all wordings of a question is still in it, and only several trainings average that out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from oocr.data.examples import Example
from oocr.engine.training import fit
from oocr.engine.training_batches import TrainingBatches
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.evals.table import rows
from oocr.explain.lines import training_losses
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import SteeringVector, Vector
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
        rights: whether each probe is answered right, in the task's order.
        odds: each probe's log-odds.
    """

    step: int
    loss: float
    right: float
    log_odds: float
    norm: float
    to_last: float
    to_before: float
    rights: tuple[bool, ...] = field(repr=False)
    odds: tuple[float, ...] = field(repr=False)

    def right_of(self, probes: Sequence[int]) -> float:
        """The share of some of the probes that is answered right."""
        return sum(self.rights[place] for place in probes) / len(probes)

    def odds_of(self, probes: Sequence[int]) -> float:
        """The mean log-odds on some of the probes."""
        return sum(self.odds[place] for place in probes) / len(probes)


def along_training(
    model: LanguageModel,
    task: Task,
    spec: SteeringVector,
    steps: Sequence[int],
    *,
    learning_rate: float | None = None,
    seed: int = 0,
    batch_lines: int = 16,
    prepared: TrainingBatches | None = None,
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
            rights=tuple(tables[index]["right"].to_list()),
            odds=tuple(tables[index]["log_odds"].to_list()),
        )
        for index, step in enumerate(steps)
    ]


def peak(moments: Sequence[Moment], probes: Sequence[int] | None = None) -> Moment:
    """The moment with the most probes right; the first of several, log-odds telling them apart.

    Args:
        moments: of one training.
        probes: places of those that count; None: all.
    """
    some = range(len(moments[0].rights)) if probes is None else probes
    return max(moments, key=lambda one: (one.right_of(some), one.odds_of(some), -one.step))


def lowest(moments: Sequence[Moment]) -> Moment:
    """The moment with the lowest training loss; the first of several."""
    return min(moments, key=lambda one: (one.loss, one.step))


def halves(items: Sequence[Example]) -> tuple[list[int], list[int]]:
    """Places of the probes of each half.

    Groups go to the halves by turns, in their order; of a single group the wordings of each facet
    do, and where there is only one of these too, the probes.

    Raises:
        InputError: fewer than two probes.
    """
    if len(items) < 2:
        raise InputError(f"items: found {len(items)}; allowed: 2 or more, to be halved")
    kinds: list[list[tuple[str, ...]]] = [
        [(one.group,) for one in items],
        [(one.facet, one.template) for one in items],
        [(str(place),) for place in range(len(items))],
    ]
    units = next(some for some in kinds if len(set(some)) > 1)
    turn = {unit: index % 2 for index, unit in enumerate(dict.fromkeys(units))}
    first, second = ([i for i, unit in enumerate(units) if turn[unit] == half] for half in (0, 1))
    return first, second


def lost_after_peak(moments: Sequence[Moment], items: Sequence[Example]) -> float:
    """Share of probes right at the peak minus at the lowest loss, each half at the other's peak.

    Where the looks differ by the noise of the probes only, it is 0 on average.

    Args:
        moments: of one training.
        items: the task's probes.

    Raises:
        InputError: fewer than two probes.
    """
    least, (one, other) = lowest(moments), halves(items)
    crossed = [
        peak(moments, picked).right_of(told) - least.right_of(told)
        for picked, told in ((one, other), (other, one))
    ]
    return sum(crossed) / len(crossed)
