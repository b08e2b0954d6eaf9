"""What a run will take: arms, operations, seconds and memory, here or on a GPU that is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean as mean

from oocr.data.batches import Batch
from oocr.data.tokens import RowTokens
from oocr.engine.memory import Shape, shape_of
from oocr.engine.trainable import tail_tokens
from oocr.errors import InputError
from oocr.models.machine import matmul_speed
from oocr.models.outline import Outline
from oocr.runs.arms import ArmPlan
from oocr.runs.config import RunConfig
from oocr.runs.executor import plan_workers
from oocr.runs.flops import (
    FlopCount,
    Work,
    batches_trained,
    recording_pass,
    scoring_passes,
    training_passes,
)
from oocr.runs.gpu import Gpu
from oocr.runs.grid import expected_plans
from oocr.runs.memory_estimate import asked_of, memory_estimate, outline_for, training_step
from oocr.runs.memory_plan import MemoryEstimate, room_for
from oocr.runs.resolve import ResolvedRun, check_fits, resolve
from oocr.runs.subsample import Sample, Sized

EFFICIENCY = 0.7
"""Share of the speed of large matrix products that a run reaches.

Measured beside a probe on two busy cores in fp32: 0.46 to 0.87 in training (span vectors and LoRAs,
alone and three side by side), 0.68 to 0.98 in scoring.
"""

EFFICIENCY_SHORT = 0.25
"""The same where a pass runs few tokens, as for a vector at the last one: 0.18 to 0.36."""

SHORT = 64
"""Tokens in a pass below which it counts as short."""


@dataclass(frozen=True)
class Prediction:
    """What is predicted of a run.

    Attributes:
        config: the run, settled.
        model: its shape.
        work: what it computes.
        needs: its memory.
        room: bytes that there are.
        workers: processes.
        budget: bytes for recordings, of each.
        seconds: at most.
        refusal: why it does not fit; empty if it does.
        gpu: the GPU it is for, if it isn't here.
        speed: of matrix products here, operations per second; 0 for a GPU.
    """

    config: RunConfig
    model: Outline
    work: list[Work]
    needs: MemoryEstimate
    room: int
    workers: int
    budget: int
    seconds: float
    refusal: str
    gpu: Gpu | None
    speed: float

    @property
    def total(self) -> int:
        """Bytes."""
        return self.needs.total(self.workers, self.budget)

    @property
    def least(self) -> int:
        """Bytes, if no more recordings are kept than one batch's."""
        return self.needs.total(1, 0)


def prediction(config: RunConfig, base: Path, gpu: Gpu | None = None) -> Prediction:
    """Predict memory and time of a run, here or on a GPU.

    Raises:
        InputError: a configuration or model that cannot be used.
    """
    run = resolve(config, base)
    config, model = run.config, outline_for(run.config, on_gpu=gpu is not None)
    check_fits(run, model)
    rows = RowTokens(model.tokenizer)
    needs = memory_estimate(run, model, rows)
    room = room_for(model.device) if gpu is None else gpu.room
    refusal = ""
    workers, budget = 1, 0
    try:
        fit, _ = plan_workers(needs, config.workers if gpu is None else 1, room)
        workers, budget = fit.workers, fit.budget
    except InputError as error:
        refusal = str(error)
    kept = min(1.0, budget / max(1, needs.training))
    work = work_of(run, model, gpu, kept, rows)
    speed = matmul_speed(model.dtype, model.device) if gpu is None else 0.0
    return Prediction(
        *(config, model, work, needs, room, workers, budget),
        seconds(work, speed, workers),
        *(refusal, gpu, speed),
    )


def work_of(
    run: ResolvedRun,
    model: Outline,
    gpu: Gpu | None = None,
    kept: float = 1.0,
    rows: RowTokens | None = None,
) -> list[Work]:
    """Everything a run computes, by kind; of what is chosen, the dearest is assumed.

    Args:
        run: the run.
        model: its shape.
        gpu: tell the seconds there.
        kept: share of the recordings that memory has room for; on a GPU others are made again.
        rows: texts that were tokenized before.
    """
    config, shape = run.config, shape_of(model)
    rows = RowTokens(model.tokenizer) if rows is None else rows
    sample = Sample.of(run.tasks, config.batch_lines, rows)
    training: dict[str, Sized] = {}
    asked: dict[str, list[Batch]] = {}
    made: dict[object, FlopCount] = {}

    def batches_of(plan: ArmPlan) -> tuple[Sized, list[Batch]]:
        task, name = plan.task, f"{plan.task.train_hash} {plan.task.asked_hash}"
        if name not in training:
            batches = training[name] = sample.sized(task)
            asked[name] = list(asked_of(task, model, rows, set()))
            part = batches.recorded(plan, config.seeds) / len(batches.batches)
            for some, times in ((batches.batches, part), (asked[name], 1.0)):
                for batch in some:
                    key = (tuple(batch.ids.shape), batch.ids.numpy().tobytes())
                    made[key] = recording_pass(shape, batch).times(times)
        return training[name], asked[name]

    kinds: dict[str, list[Work]] = defaultdict(list)
    again: list[FlopCount] = []
    tried, reported = expected_plans(config, sample.tasks)
    for stage, plans in (("choosing", tried), ("", reported)):
        for plan in plans:
            own, questions = batches_of(plan)
            words = (f"{stage}:" if stage else f"{plan.role}:", plan.method, f"block {plan.layer}")
            name = " ".join(words)
            kinds[name].append(_arm(name, shape, plan, own.batches, questions, gpu))
            step = training_step(model, shape, [plan], own.batches)
            kinds[name][-1] = replace(kinds[name][-1], memory=step)
            missed = (1 - kept) * batches_trained(plan) / len(own.batches)
            again += [recording_pass(shape, batch).times(missed) for batch in own.batches]
    out = [_mean(some) for some in kinds.values()]
    random = config.controls.random_directions
    first = next((plan for plan in reported if plan.role == "test"), None)
    if random and first is not None:
        nulls = (config.vector is not None) + 2 * (config.adapter is not None)
        tested = {plan.task.name: plan for plan in reported if plan.role == "test"}
        answers = [
            _once("random directions", scoring_passes(shape, first, batches_of(plan)[1]), gpu)
            for plan in tested.values()
        ]
        out.append(replace(_mean(answers), arms=random * nulls))
    if gpu is not None and kept < 1:
        out.append(_once("recordings made again", again, gpu))
    out.append(_once("recording, once", list(made.values()), gpu))
    return out


def _arm(
    name: str,
    shape: Shape,
    plan: ArmPlan,
    batches: Sequence[Batch],
    questions: Sequence[Batch],
    gpu: Gpu | None,
) -> Work:
    """One arm's work."""
    shown = len(plan.steps) if plan.score_every_step else 1
    passes, answers = (
        [one.times(times) for one in some]
        for some, times in (
            (training_passes(shape, plan, batches), batches_trained(plan) / len(batches)),
            (scoring_passes(shape, plan, questions), shown),
        )
    )
    return Work(
        what=name,
        arms=1,
        steps=plan.fit.steps,
        tokens=mean(tail_tokens(one, plan.spec) for one in batches),
        training=sum(one.flops for one in passes),
        scoring=sum(one.flops for one in answers),
        seconds=_took((*passes, *answers), gpu),
    )


def _once(name: str, passes: Sequence[FlopCount], gpu: Gpu | None) -> Work:
    """Passes without training."""
    flops = sum(one.flops for one in passes)
    return Work(name, 1, 0, 0, 0, flops, seconds=_took(passes, gpu))


def _took(passes: Sequence[FlopCount], gpu: Gpu | None) -> float | None:
    return None if gpu is None else sum(map(gpu.seconds, passes))


def _mean(some: Sequence[Work]) -> Work:
    """Arms of one kind: how many, and what they take on average."""
    return Work(
        what=some[0].what,
        arms=len(some),
        steps=max(one.steps for one in some),
        tokens=mean(one.tokens for one in some),
        training=mean(one.training for one in some),
        scoring=mean(one.scoring for one in some),
        memory=max(one.memory for one in some),
        seconds=None if some[0].seconds is None else mean(one.seconds or 0 for one in some),
    )


def seconds(work: Sequence[Work], speed: float, workers: int) -> float:
    """How long it all takes at most, at so many operations per second of one worker."""
    return sum(one.arms * seconds_each(one, speed) for one in work) / workers


def seconds_each(one: Work, speed: float) -> float:
    """Seconds of one arm."""
    if one.seconds is not None:
        return one.seconds
    share = EFFICIENCY_SHORT if 0 < one.tokens < SHORT else EFFICIENCY
    return (one.training + one.scoring) / share / speed
