"""Our rows: one arm, several side by side, a sweep over layers."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import torch

from benchmarks.training.case import Case
from benchmarks.training.loops import Timed
from benchmarks.training.plan import Plan, make_plan
from oocr.engine.forward import replayed_rows
from oocr.engine.losses import batch_loss
from oocr.engine.trainable import ArmSpec, start_of
from oocr.engine.training import fit, fit_all
from oocr.engine.training_batches import TrainingBatches, prepare
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task

WARM = 2
"""Steps that are not counted: the first ones allocate, tune and page in."""


def one_arm(model: LanguageModel, task: Task, case: Case, steps: int) -> tuple[Timed, Plan]:
    """One arm, each step timed; the set-up is the recording pass."""
    began = time.perf_counter()
    prepared = prepare(model, task, [start_of(model, case.spec)], case.lines)
    set_up = time.perf_counter() - began
    plan = make_plan(model, task, case, prepared)
    ends = [time.perf_counter()]
    trained = fit(
        model,
        task,
        case.spec,
        steps=steps,
        prepared=prepared,
        on_step=lambda _step, _loss: ends.append(time.perf_counter()),
    )
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return Timed(list(trained.losses), seconds, set_up), plan


def bias(model: LanguageModel, task: Task, case: Case, plan: Plan, steps: int) -> Timed:
    """A bias on the block's `down_proj` at every token, from zero: BEFT's, by our replay.

    Not a vector in Gemma's residual stream (a norm follows), so no `SteeringVector`; but the
    engine replays whatever is attached to the model from a block on.
    """
    began = time.perf_counter()
    prepared = prepare(model, task, [case.block], case.lines)
    set_up = time.perf_counter() - began
    value = torch.nn.Parameter(torch.zeros(model.d_model, device=model.device))
    optimizer = torch.optim.Adam([value], lr=plan.rate)
    module = model.hf.get_submodule(f"{model.anatomy.block_names[case.block]}.mlp.down_proj")
    handle = module.register_forward_hook(lambda _m, _args, out: out + value.to(out.dtype))
    losses: list[float] = []
    seconds: list[float] = []
    try:
        for index in plan.order[:steps]:
            began = time.perf_counter()
            frozen = prepared.recording(index).load(case.block)
            rows = replayed_rows(model, frozen, frozen.inputs[case.block], case.block)
            loss = batch_loss(model, prepared.batches[index], rows[0])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
            seconds.append(time.perf_counter() - began)
    finally:
        handle.remove()
    return Timed(losses, seconds, set_up)


def many_arms(
    model: LanguageModel, task: Task, case: Case, arms: int, steps: int
) -> tuple[Timed, Plan]:
    """Arms that differ in their seed, side by side; seconds per step are of all arms together.

    A short run (the second of two, so that it is warm) is taken off a longer one: what is left is
    steps without start-up.
    """
    began = time.perf_counter()
    prepared = prepare(model, task, [start_of(model, case.spec)], case.lines)
    set_up = time.perf_counter() - began
    plan = make_plan(model, task, case, prepared)
    _together(model, task, case, prepared, arms, WARM)
    short, _ = _together(model, task, case, prepared, arms, WARM)
    long, losses = _together(model, task, case, prepared, arms, steps)
    each = (long - short) / (steps - WARM)
    return Timed(losses, [each] * steps, set_up), plan


def sweep(
    model: LanguageModel, task: Task, case: Case, seeds: int, steps: int
) -> tuple[Timed, int]:
    """All layers, some seeds each: one recording, then the arms of each layer side by side.

    Returns:
        timed: the losses of seed 0 at the case's block; seconds per step of all arms together,
            start-up included.
        arms: how many.
    """
    layers = range(model.n_blocks)
    began = time.perf_counter()
    prepared = prepare(model, task, [layer + 1 for layer in layers], case.lines)
    set_up = time.perf_counter() - began
    losses: list[float] = []
    total = 0.0
    for layer in layers:
        here = replace(case, block=layer)
        seconds, own = _together(model, task, here, prepared, seeds, steps)
        total += seconds
        losses = own if layer == case.block else losses
    return Timed(losses, [total / steps] * steps, set_up), len(layers) * seeds


def _together(
    model: LanguageModel, task: Task, case: Case, prepared: TrainingBatches, arms: int, steps: int
) -> tuple[float, list[float]]:
    """Seconds of a whole run, and the losses of seed 0."""
    fits = [ArmSpec(task, case.spec, steps=steps, seed=seed) for seed in range(arms)]
    began = time.perf_counter()
    trained = fit_all(model, fits, [prepared] * arms)
    return time.perf_counter() - began, list(trained[0].losses)
