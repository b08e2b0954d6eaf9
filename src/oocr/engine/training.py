"""Training arms: a flat loop over recorded batches, for one arm or several side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import torch

from oocr.engine.forward import Places, replayed_rows, steered_rows
from oocr.engine.losses import stacked_losses
from oocr.engine.losslog import LossLog, Progress
from oocr.engine.prepared import Prepared, prepare
from oocr.engine.store import Recording
from oocr.engine.trainable import Fit, Spec, start_of, tail_tokens, trainable
from oocr.errors import InputError
from oocr.interventions.adapters import Adapter, LowRankAdapter, peft_config
from oocr.interventions.positions import select
from oocr.interventions.stacked import stackable
from oocr.interventions.vectors import SteeringVector, Vector
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task

DEFAULT_RATE = {"vector": 0.05, "adapter": 3e-3}

READ_EVERY = 10
"""On a GPU losses are read every so many steps, and `until` is judged then."""

STACK_TOKENS = {"cpu": 1024, "cuda": 16384}
"""Tokens in one pass over stacked arms: beyond that nothing is gained, and memory grows. (On two
cores a pass over 880 tokens runs at 85 % of their peak, and four of them at once at 80 %.)"""


@dataclass(frozen=True, slots=True)
class Trained:
    """What training one arm gave.

    Attributes:
        final: the intervention after the last step.
        snapshots: step -> the intervention after that step.
        losses: training loss before each step, in nats per item.
        seconds: time in the loop, shared out among arms that were trained side by side.
        learning_rate: the absolute rate that Adam got.
    """

    final: Vector | Adapter
    snapshots: Mapping[int, Vector | Adapter]
    losses: tuple[float, ...]
    seconds: float
    learning_rate: float


def fit(
    model: LanguageModel,
    task: Task,
    spec: Spec,
    *,
    learning_rate: float | None = None,
    steps: int = 20,
    seed: int = 0,
    until: float | None = None,
    snapshots: Sequence[int] = (),
    prepared: Prepared | None = None,
    batch_lines: int = 16,
    on_step: Progress | None = None,
) -> Trained:
    """Train one arm with Adam; the model's own weights never change.

    Args:
        model: the model.
        task: its training items and loss.
        spec: what to train.
        learning_rate: for a vector relative to the site: each step moves a coordinate by about
            this share of the residual stream's root mean square there (median over training
            tokens). For an adapter Adam's own rate. None: 0.05 and 0.003.
        steps: how many.
        seed: start point and order of batches.
        until: stop once every batch was seen and the mean of their latest losses is below this.
        snapshots: steps after which a copy is kept.
        prepared: recorded batches to reuse.
        batch_lines: sequences per batch, if they are recorded here.
        on_step: called after each step (on a GPU after every tenth, for each of them).

    Raises:
        InputError: a layer, module or position that isn't there; a loss that is not finite.
    """
    start = start_of(model, spec)
    prepared = prepared or prepare(model, task, [start], batch_lines)
    arm = Fit(task, spec, learning_rate, steps, seed, snapshots)
    return _loop(model, [arm], [prepared], until, on_step)[0]


def fit_all(
    model: LanguageModel, arms: Sequence[Fit], prepared: Sequence[Prepared]
) -> list[Trained]:
    """Train several arms; those that see the same tokens at every step share each pass.

    Sharing changes the numbers by rounding only.

    Args:
        model: the model.
        arms: what to train.
        prepared: per arm, its recorded batches.

    Raises:
        InputError: as `fit`.
    """
    groups: dict[object, list[int]] = {}
    for index, (arm, recorded) in enumerate(zip(arms, prepared, strict=True)):
        groups.setdefault(_shared(model, arm, recorded, index), []).append(index)
    out: dict[int, Trained] = {}
    for group in groups.values():
        spec = arms[group[0]].spec
        tokens = max(tail_tokens(one.batch, spec) for one in prepared[group[0]].frozen)
        room = max(1, stack_tokens(model.device) // tokens)
        for begin in range(0, len(group), room):
            some = group[begin : begin + room]
            done = _loop(model, [arms[i] for i in some], [prepared[i] for i in some])
            out.update(zip(some, done, strict=True))
    return [out[index] for index in range(len(arms))]


def stack_tokens(device: torch.device) -> int:
    """Tokens that one pass over stacked arms may have."""
    return STACK_TOKENS.get(device.type, STACK_TOKENS["cpu"])


def _shared(model: LanguageModel, arm: Fit, prepared: Prepared, index: int) -> object:
    """Equal for arms that can share each pass: same site or shape, same tokens at every step."""
    spec = arm.spec
    batches = [prepared.frozen[i] for i in prepared.order(arm.seed, arm.steps)]
    seen = tuple(
        (id(one.stored), one.batch.rows.cpu().numpy().tobytes(), _places_key(one, spec))
        for one in batches
    )
    if isinstance(spec, SteeringVector):
        return ("vector", spec.layer, spec.positions, seen)
    config = peft_config(model, spec)
    alone = None if stackable(config) else index
    shape = (tuple(config["target_modules"]), spec.rank, spec.scale)
    return ("adapter", shape, seen, alone)


def _places_key(frozen: Recording, spec: Spec) -> bytes:
    if not isinstance(spec, SteeringVector):
        return b""
    return select(frozen.batch, spec.positions).cpu().numpy().tobytes()


def _loop(
    model: LanguageModel,
    arms: Sequence[Fit],
    prepared: Sequence[Prepared],
    until: float | None = None,
    on_step: Progress | None = None,
) -> list[Trained]:
    """Adam on all arms; one pass per step over the arms' copies of the batch."""
    first, steps = arms[0], arms[0].steps
    start = start_of(model, first.spec)
    if start not in prepared[0].scale:
        raise InputError(f"the batches were not recorded for start block {start}")
    places = [
        Places.of(one.batch, select(one.batch, first.spec.positions), in_time=model.replays)
        if isinstance(first.spec, SteeringVector)
        else None
        for one in prepared[0].frozen
    ]
    orders = [one.order(arm.seed, steps) for arm, one in zip(arms, prepared, strict=True)]
    # A step's loss is read at once on a CPU; elsewhere reading makes the device wait, so seldom.
    every = 1 if model.device.type == "cpu" else READ_EVERY
    log = LossLog([arm.task.name for arm in arms], len(prepared[0].frozen), orders[0], on_step)
    kept: list[dict[int, Vector | Adapter]] = [{} for _ in arms]
    began = time.perf_counter()
    with trainable(model, arms, [one.scale for one in prepared], start) as stack:
        rates = [
            stack.unit(one.scale)
            * (DEFAULT_RATE[stack.kind] if arm.learning_rate is None else arm.learning_rate)
            for one, arm in zip(prepared, arms, strict=True)
        ]
        groups = zip(stack.parameters, rates, strict=True)
        optimizer = torch.optim.Adam([{"params": some, "lr": rate} for some, rate in groups])
        step = 0
        while step < steps:
            step += 1
            index = orders[0][step - 1]
            where = places[index]
            frozen = prepared[0].frozen[index].load(start if where is None else None)
            batches = [
                one.frozen[o[step - 1]].batch for one, o in zip(prepared, orders, strict=True)
            ]
            if where is None:
                hidden = frozen.inputs[start]
                hidden = hidden.repeat(len(arms), 1, 1) if len(arms) > 1 else hidden
                rows = replayed_rows(model, frozen, hidden, start)
            else:
                values = torch.stack([some[0] for some in stack.parameters])
                rows = steered_rows(model, frozen, start, values, where)
            loss = stacked_losses(model, batches, rows)
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            log.add(loss.detach())
            optimizer.step()
            for number, arm in enumerate(arms):
                if step in arm.snapshots:
                    kept[number][step] = stack.frozen(number, step)
            if step % every == 0 or step == steps:
                log.read()
                if until is not None and log.below(until):
                    break
        final = [stack.frozen(number, step) for number in range(len(arms))]
    seconds = (time.perf_counter() - began) / len(arms)
    return [
        Trained(final[i], kept[i], tuple(log.seen[i]), seconds, rates[i]) for i in range(len(arms))
    ]


@overload
def train(
    model: LanguageModel,
    task: Task,
    spec: SteeringVector,
    *,
    learning_rate: float | None = None,
    steps: int = 40,
    seed: int = 0,
    until: float | None = 0.05,
) -> Vector: ...
@overload
def train(
    model: LanguageModel,
    task: Task,
    spec: LowRankAdapter,
    *,
    learning_rate: float | None = None,
    steps: int = 40,
    seed: int = 0,
    until: float | None = 0.05,
) -> Adapter: ...
def train(
    model: LanguageModel,
    task: Task,
    spec: Spec,
    *,
    learning_rate: float | None = None,
    steps: int = 40,
    seed: int = 0,
    until: float | None = 0.05,
) -> Vector | Adapter:
    """Train a steering vector or a LoRA on a task's narrow data (see `fit` for the arguments)."""
    return fit(
        model, task, spec, learning_rate=learning_rate, steps=steps, seed=seed, until=until
    ).final
