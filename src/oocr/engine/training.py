"""Training arms: a loop over recorded batches, for one arm or several side by side.

The readable reference is `oocr.engine.plain_loop`: the same steps, each a pass of the whole model.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor

from oocr.engine.losses import LossLog, OnStep, stacked_losses
from oocr.engine.memory import divergence_bytes, kept_for_backward, shape_of
from oocr.engine.off_domain import OffDomain, OffDomainBatch, references, rows_per_step
from oocr.engine.trainable import PLAIN, ArmSpec, Schedule, Spec, longest_tail, start_of, trainable
from oocr.engine.training_batches import TrainingBatches, batch_order, prepare, shared_out
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.machine import is_cpu, is_gpu
from oocr.models.outline import Outline
from oocr.steering.adapters import Adapter, LowRankAdapter, peft_config, stackable
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

DEFAULT_RATE = {"vector": 0.05, "adapter": 3e-3}

READ_EVERY = 10
"""On a GPU losses are read every so many steps, and `until` is judged then."""

STACK_TOKENS, STACK_TOKENS_ON_GPU = 1024, 16384
"""Most tokens in one pass over stacked arms: more gain nothing and need memory."""

STACK_BYTES = 2**34
"""Most bytes that such a pass keeps for backward on a GPU; recordings need memory too."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of training one arm."""

    final: Vector | Adapter
    snapshots: Mapping[int, Vector | Adapter]  # by step
    losses: tuple[float, ...]  # before each step, in nats per example
    seconds: float  # in the loop, divided among arms trained side by side
    learning_rate: float  # the absolute rate that Adam got
    kl: tuple[float, ...] = ()  # before each step, in nats per off-domain token; or empty


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
    prepared: TrainingBatches | None = None,
    batch_lines: int = 16,
    schedule: Schedule = PLAIN,
    off_domain: OffDomain | None = None,
    project_out: Float[Tensor, " d_model"] | None = None,
    without: Float[Tensor, " d_model"] | None = None,
    on_step: OnStep | None = None,
) -> Trained:
    """Train one arm with Adam; the model's own weights never change.

    Inside `ablate(...)` the arm is trained with that direction taken out.

    Args:
        model: the model.
        task: its training examples and loss.
        spec: what to train.
        learning_rate: for a vector relative to the site: each step moves a coordinate by about this
            share of the residual stream's root mean square there (median over training tokens; for
            a vector at an MLP of the stream that its block reads). For an adapter, and where the
            schedule says so, Adam's own rate. None: 0.05 and 0.003.
        steps: how many.
        seed: start point and order of batches.
        until: stop once every batch was seen and the mean of their latest losses is below this.
        snapshots: steps after which a copy is kept.
        prepared: recorded batches to reuse.
        batch_lines: sequences per batch, if they are recorded here.
        schedule: warm-up, decay, weight decay, batches per step.
        off_domain: texts on which the model's predictions should stay as they are.
        project_out: a direction that is projected out of what a one-block LoRA adds to the stream;
            the model's own use of it stays.
        without: the old name of `project_out`.
        on_step: called after each step (on a GPU after every tenth, for each of them).

    Raises:
        InputError: a layer, module or position that isn't there; a loss that is not finite; batches
            that were recorded under other vectors or ablations.
    """
    if without is not None:
        warnings.warn("fit: `without` is now `project_out`", DeprecationWarning, stacklevel=2)
        project_out = without
    arm = ArmSpec(
        task, spec, learning_rate, steps, seed, snapshots, schedule, off_domain, project_out
    )
    if prepared is None:
        at = [spec.positions] if isinstance(spec, SteeringVector) else []
        prepared = prepare(model, task, _starts(model, arm), batch_lines, positions=at)
    return _loop(model, [arm], [prepared], until, on_step)[0]


def _starts(model: LanguageModel, arm: ArmSpec) -> tuple[int, ...]:
    start = start_of(model, arm.spec)
    return (start,) if arm.project_out is None else (start, start + 1)


def fit_all(
    model: LanguageModel, arms: Sequence[ArmSpec], prepared: Sequence[TrainingBatches]
) -> list[Trained]:
    """Train several arms, each on its recorded batches; arms of equal `arm_key` share each pass.

    Sharing changes the numbers by rounding only. Raises what `fit` raises.
    """
    pairs = zip(arms, prepared, strict=True)
    keys = [arm_key(arm, data.content, len(data.batches)) for arm, data in pairs]

    def most_arms(index: int) -> int:
        spec = arms[index].spec
        if isinstance(spec, LowRankAdapter):
            arm_by_arm = model.replays and not model.reuses_keys  # see `replay`
            if arm_by_arm or not stackable(peft_config(model, spec)):
                return 1
        most = stack_tokens(model) // longest_tail(prepared[index], spec)
        if (off := arms[index].off_domain) is not None and not is_cpu(model.device):
            most = min(
                most, STACK_BYTES // divergence_bytes(shape_of(model), rows_per_step(model, off))
            )
        return max(1, most)

    out: dict[int, Trained] = {}
    for group in arm_groups(keys, most_arms):
        trained = _loop(model, [arms[i] for i in group], [prepared[i] for i in group])
        out.update(zip(group, trained, strict=True))
    return [out[index] for index in range(len(arms))]


def arm_key(arm: ArmSpec, content: str, batches: int) -> object:
    """Equal for arms that can share each pass of their training.

    `content` is the training sequences' `content_hash`; of several `batches`, each seed has its own
    order.
    """
    spec, off = arm.spec, arm.off_domain
    if isinstance(spec, SteeringVector):
        site: tuple[object, ...] = ("vector", spec.layer, spec.site, spec.positions)
    else:
        site = ("adapter", spec.layers, spec.modules, spec.rank, spec.scale, spec.dropout)
    seed = arm.seed if batches > 1 else None
    texts = None if off is None else (*map(repr, off.texts), off.tokens, off.batch)
    removed = None if arm.project_out is None else tuple(arm.project_out.tolist())
    return (site, arm.schedule, arm.steps, content, batches, seed, texts, removed)


def arm_groups(
    keys: Sequence[object], most_arms: Callable[[int], int], *, least: int = 1
) -> list[list[int]]:
    """Arms (by index) in groups to be trained side by side, in order of first occurrence.

    Arms of equal key are shared out evenly among as few groups as `most_arms` (index of an arm ->
    most arms of its key in a group) allows. If all keys are equal, there are at least `least`
    groups: one group keeps one core busy.
    """
    equal: dict[object, list[int]] = {}
    for index, key in enumerate(keys):
        equal.setdefault(key, []).append(index)
    groups: list[list[int]] = []
    for indices in equal.values():
        count = -(-len(indices) // most_arms(indices[0]))
        if len(equal) == 1:
            count = min(len(indices), max(count, least))
        groups += shared_out(indices, count)
    return groups


def stack_tokens(model: LanguageModel | Outline) -> int:
    """Tokens that one pass over stacked arms may have."""
    if is_cpu(model.device):
        return STACK_TOKENS
    most = STACK_TOKENS_ON_GPU if is_gpu(model.device) else STACK_TOKENS
    return min(most, STACK_BYTES // kept_for_backward(shape_of(model), 1, 1, 0))


def _loop(
    model: LanguageModel,
    arms: Sequence[ArmSpec],
    prepared: Sequence[TrainingBatches],
    until: float | None = None,
    on_step: OnStep | None = None,
) -> list[Trained]:
    """AdamW on arms of one site or shape, schedule and tokens: a pass per batch over all copies."""
    first, data, steps = arms[0], prepared[0], arms[0].steps
    spec, schedule, starts = first.spec, first.schedule, _starts(model, first)
    start, per_step = starts[0], schedule.accumulate
    if missing := set(starts) - data.scale.keys():
        raise InputError(f"the batches were not recorded for start block {min(missing)}")
    for batches in prepared:
        batches.check_attached()
    # Equal for all arms: their keys are.
    order = batch_order(len(data.batches), first.seed, steps * per_step)
    once = steps * per_step <= len(data.batches)
    positions = spec.positions if isinstance(spec, SteeringVector) else None
    # On a CPU a step's loss is read at once; on a GPU reading makes it wait, so less often.
    read_every = 1 if is_cpu(model.device) else READ_EVERY
    in_steps = [order[i * per_step : (i + 1) * per_step] for i in range(steps)]
    log = LossLog([arm.task.name for arm in arms], len(data.batches), in_steps, on_step)
    snapshots: list[dict[int, Vector | Adapter]] = [{} for _ in arms]
    if isinstance(spec, LowRankAdapter):
        data.record_ahead(order, once=once)
    # Of the adapted block, before anything is attached; not part of the recordings' budget.
    outputs: dict[int, Tensor] = {}
    if first.project_out is not None:
        for index in dict.fromkeys(order):
            outputs[index] = data.recording(index).load(None).inputs[start + 1]
    texts: list[OffDomainBatch] = []
    divergences: list[Tensor] = []
    if first.off_domain is not None:
        texts = references(model, first.off_domain, starts, positions)
    # Copied to the device before the steps: a copy makes the host wait.
    penalties = [arm.off_domain.weight if arm.off_domain else 0.0 for arm in arms]
    weights = torch.tensor(penalties, device=model.device)
    shares = torch.tensor(_shares(prepared, in_steps), device=model.device)
    began = time.perf_counter()
    with trainable(model, arms, prepared, start) as stack:
        rates = [
            (1.0 if schedule.absolute else unit)
            * (DEFAULT_RATE[stack.kind] if arm.learning_rate is None else arm.learning_rate)
            for unit, arm in zip(stack.units, arms, strict=True)
        ]
        pairs = zip(stack.parameters, rates, strict=True)
        groups = [{"params": parameters, "lr": rate} for parameters, rate in pairs]
        optimizer = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)
        step = 0
        for step, indices in enumerate(in_steps, start=1):
            optimizer.zero_grad(set_to_none=True)
            losses: list[Tensor] = []
            for place, index in enumerate(indices):
                parts = [data.batches[index] for data in prepared]
                mask = None if positions is None else data.mask(index, positions)
                recording = data.load(index, start, mask, once=once)
                if index in outputs:
                    inputs = {**recording.inputs, start + 1: outputs[index]}
                    recording = replace(recording, inputs=inputs)
                rows = stack.rows(recording, mask)
                loss = stacked_losses(model, parts, rows)
                if per_step > 1:
                    loss = loss * shares[step - 1, place]
                loss.sum().backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
            if texts:
                text = texts[(step - 1) % len(texts)]
                kl = text.kl(model, stack.rows(text.recording, text.mask))
                (weights * kl).sum().backward()  # type: ignore[no-untyped-call]
                divergences.append(kl.detach())
            log.add(torch.stack(losses).sum(dim=0) if per_step > 1 else losses[0])
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule.rate(step, steps)
            optimizer.step()
            for number, arm in enumerate(arms):
                if step in arm.snapshots:
                    snapshots[number][step] = stack.copy(number, step)
            if step % read_every == 0 or step == steps:
                log.read()
                if until is not None and log.below(until):
                    break
        final = [stack.copy(number, step) for number in range(len(arms))]
    seconds = (time.perf_counter() - began) / len(arms)
    kls = torch.stack(divergences, dim=1).tolist() if divergences else [[]] * len(arms)
    by_arm = [tuple(row[i] for row in log.steps) for i in range(len(arms))]
    return [
        Trained(final[i], snapshots[i], by_arm[i], seconds, rates[i], tuple(kls[i]))
        for i in range(len(arms))
    ]


def _shares(
    prepared: Sequence[TrainingBatches], in_steps: Sequence[Sequence[int]]
) -> list[list[list[float]]]:
    """Of each step, batch in it and arm: the share of the step's examples."""
    sizes = [[batch.items for batch in data.batches] for data in prepared]
    return [
        [[of_arm[i] / sum(of_arm[j] for j in step) for of_arm in sizes] for i in step]
        for step in in_steps
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
