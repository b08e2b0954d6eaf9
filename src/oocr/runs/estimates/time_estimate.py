"""What a run will take, here or on a GPU that is not here: arms, operations, seconds, memory."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean as mean

from oocr.data.batches import Batch
from oocr.data.tokens import RowTokens
from oocr.engine.memory import ModelSize
from oocr.engine.trainable import tail_tokens
from oocr.errors import InputError
from oocr.models.machine import copy_speed, is_cpu, matmul_speed, total_memory
from oocr.models.outline import Outline
from oocr.runs.arms import ArmPlan
from oocr.runs.check_run import check_run, check_run_fits
from oocr.runs.config import RunConfig
from oocr.runs.controls import CHUNK
from oocr.runs.estimates.memory_estimate import RunSample, batch_key, outline_for
from oocr.runs.processes.memory_plan import (
    MemoryEstimate,
    available_memory,
    device_parts,
    gpus_for,
    plan_workers,
)
from oocr.runs.resolve import resolve

EFFICIENCY = 0.7
"""Share of the speed of large matrix products that a run reaches on a CPU. Measured on two busy
cores in fp32: 0.46 to 0.87 in training (span vectors and LoRAs), 0.68 to 0.98 in scoring."""

EFFICIENCY_SHORT = 0.25
"""The same where a pass runs few tokens, as for a vector at the last one: 0.18 to 0.36."""

SHORT = 64
"""Tokens in a pass below which it counts as short."""

RESERVED = 2**30
"""Bytes of a GPU that the driver, CUDA's context and its libraries take."""

PEAK = 312.0
SHARE = 0.4
"""An A100's dense peak in bfloat16 (its data sheet), TFLOP/s, and the share of a GPU's peak that
careful training of dense models reports."""

BANDWIDTH = 2.0e12
READS = 0.7
"""Bytes per second (an A100 80GB's data sheet: 2,039 GB/s), and the share of them assumed."""

SHARE_OF_MEASURED, READS_OF_MEASURED = 0.55, 0.8
"""The same for a GPU that is here, of what large products and copies reach: some 70 % and 90 % of
its peaks, assumed."""

LAUNCH = 1e-3
"""Seconds that Python and launching one block's kernels take at least, assumed: a pass over few
tokens waits for them, or for the weights."""


@dataclass(frozen=True, slots=True)
class FlopCount:
    """One pass over a batch: operations, bytes of weights read, blocks launched."""

    flops: float
    read: float
    blocks: float

    def times(self, count: float) -> FlopCount:
        """So many of them."""
        return FlopCount(count * self.flops, count * self.read, count * self.blocks)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its memory in bytes, its peak in operations per second, its bandwidth in bytes.

    Of one that is here (`measured`) speeds are measured; of others they are from a data sheet.
    """

    memory: int
    peak: float = PEAK * 1e12
    bandwidth: float = BANDWIDTH
    measured: bool = False

    @staticmethod
    def here(model: Outline) -> Gpu:
        """The GPU that a model would be loaded on."""
        device = model.device
        speed, bandwidth = matmul_speed(model.dtype, device), copy_speed(device)
        return Gpu(total_memory(device), speed, bandwidth, measured=True)

    @property
    def available(self) -> int:
        """Bytes that a run can have."""
        return self.memory - RESERVED

    def seconds(self, count: FlopCount) -> float:
        """Time of a pass: of its operations, its reads or its launches, whichever is most."""
        share, reads = self._shares
        operations = count.flops / (share * self.peak)
        return max(operations, count.read / (reads * self.bandwidth), count.blocks * LAUNCH)

    @property
    def _shares(self) -> tuple[float, float]:
        return (SHARE_OF_MEASURED, READS_OF_MEASURED) if self.measured else (SHARE, READS)

    @property
    def assumptions(self) -> str:
        """The assumptions, in a sentence."""
        share, reads = self._shares
        kind = "measured in a large product" if self.measured else "bfloat16 peak"
        size = f"{self.memory / 2**30:.0f} GiB"
        return (
            ("predicted from this GPU's speed" if self.measured else "predicted, not measured")
            + f": one GPU with {size}"
            + ("" if self.measured else f", of which {RESERVED / 2**30:.0f} GiB for CUDA")
            + f"; {share:.0%} of {self.peak / 1e12:.0f} TFLOP/s ({kind}), {reads:.0%} of "
            f"{self.bandwidth / 1e12:.1f} TB/s, at least {LAUNCH * 1e3:.0f} ms for a block"
        )


def gpu_of(text: str, tflops: float | None = None) -> Gpu:
    """A GPU from "80", "80GB" or "80 GiB" (taken as GiB, as sellers name them) and its peak.

    What is not a size or a speed is an `InputError`.
    """
    size = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:gi?b?)?\s*", text, re.IGNORECASE)
    if size is None or float(size.group(1)) * 2**30 <= RESERVED:
        raise InputError(f"--gpu: {text!r} is not a memory size; allowed: 80, 80GB, 24GiB, …")
    peak = PEAK if tflops is None else tflops
    if not 0 < peak < float("inf"):
        raise InputError(f"--tflops: {peak} is not a speed; allowed: above 0, e.g. 312 (A100)")
    return Gpu(int(float(size.group(1)) * 2**30), peak * 1e12)


@dataclass(frozen=True, slots=True)
class ArmGroupCost:
    """Arms of one kind.

    Attributes:
        tokens: that one pass of one arm runs, on average.
        training, scoring: operations to train one, and to score it.
        memory: bytes that a training step of one takes, with what is trained.
        seconds: that one takes on a GPU; None: on a CPU, whose speed is another.
    """

    what: str
    arms: int
    steps: int
    tokens: float
    training: float
    scoring: float
    memory: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Prediction:
    """What is predicted of a run, which takes at most so many seconds.

    `notes` say what is to know of its rows, `sample` are its arms and some of their batches;
    `available` is bytes that there are, `budget` bytes for recordings of each worker, `speed` that
    of matrix products here in operations per second (0 for a GPU). `refusal` says why it does not
    fit.
    """

    config: RunConfig
    model: Outline
    notes: tuple[str, ...]
    work: list[ArmGroupCost]
    needs: MemoryEstimate
    available: int
    workers: int
    budget: int
    seconds: float
    refusal: str
    gpu: Gpu | None
    speed: float
    sample: RunSample

    @property
    def total(self) -> int:
        """Bytes that the run takes."""
        return self.needs.total(self.workers, self.budget)

    @property
    def least(self) -> int:
        """Bytes, if no more recordings are kept than one batch's."""
        return self.needs.total(1, 0)


def prediction(config: RunConfig, base: Path, gpu: Gpu | None = None) -> Prediction:
    """Predict memory and time of a run, here or on a GPU that is not here.

    Raises:
        InputError: a configuration or model that cannot be used.
    """
    run = resolve(config, base)
    config, model = run.config, outline_for(run.config, on_gpu=gpu is not None)
    check_run_fits(run, model)
    rows = RowTokens(model.tokenizer)
    notes = check_run(run, model, rows) if model.counted else ()
    sample = RunSample(run, model, rows)
    needs = sample.memory()
    devices = [] if gpu else gpus_for(config, needs)
    wanted, available = config, 0
    if gpu is None:
        available = min(
            [available_memory(device_parts(model, config.starts)), *map(available_memory, devices)]
        )
        gpu = None if is_cpu(model.device) else Gpu.here(model)
    else:
        wanted, available = config.model_copy(update={"workers": 1}), gpu.available
    refusal, workers, budget = "", 1, 0
    try:
        spec = plan_workers(wanted, needs, available, devices)
        workers, budget = spec.workers, spec.budget
    except InputError as error:
        refusal = str(error)
    work = work_of(sample, gpu, min(1.0, budget / max(1, needs.training)))
    speed = matmul_speed(model.dtype, model.device) if gpu is None else 0.0
    side_by_side = workers if gpu is None else min(workers, max(1, len(devices)))
    time = seconds(work, speed, side_by_side)
    return Prediction(
        *(config, model, notes, work, needs, available, workers, budget, time, refusal, gpu, speed),
        sample,
    )


def work_of(sample: RunSample, gpu: Gpu | None = None, kept: float = 1.0) -> list[ArmGroupCost]:
    """Everything a run computes, by kind; of what is chosen, the most expensive is assumed.

    `kept` is the share of the recordings that memory has room for; on a GPU others are made again.
    """
    config, shape = sample.config, sample.shape
    seen: set[object] = set()
    recorded: dict[object, FlopCount] = {}
    again: list[FlopCount] = []
    kinds: dict[str, list[ArmGroupCost]] = defaultdict(list)
    for plan in (*sample.tried, *sample.reported):
        stage = "choosing" if plan.role == "selection" else plan.role
        name = f"{stage}: {plan.method} block {plan.layer}"
        kinds[name].append(arm_cost(name, sample, plan, gpu))
        training = sample.training(plan.task)
        missed = (1 - kept) * plan.batches_trained / len(training.batches)
        again += [pass_over(batch, shape).times(missed) for batch in training.batches]
        task = (plan.task.train_hash, plan.task.asked_hash)
        if task not in seen:
            seen.add(task)
            share = training.recorded(plan, config.seeds)
            for batch in training.batches:
                recorded[batch_key(batch)] = pass_over(batch, shape).times(share)
            for batch in sample.asked(plan.task):
                recorded[batch_key(batch)] = pass_over(batch, shape)
    out = [_mean(works) for works in kinds.values()]
    tests = [plan for plan in sample.reported if plan.role == "test"]
    out += control_costs(sample, tests, gpu)
    if gpu is not None and kept < 1:
        out.append(pass_cost("recordings made again", gpu, again))
    return [*out, pass_cost("recording, once", gpu, list(recorded.values()))]


def control_costs(
    sample: RunSample, tests: Sequence[ArmPlan], gpu: Gpu | None
) -> list[ArmGroupCost]:
    """Random directions and the swaps of LoRAs; each answers all questions, equal ones once.

    A swap everywhere, and random directions beside it, change every token, as a LoRA does.
    """
    config, shape = sample.config, sample.shape
    first = {plan.method: plan for plan in reversed(tests)}
    asked = {
        task.name: {batch_key(batch): batch for batch in sample.asked(task)}
        for task in {plan.task.name: plan.task for plan in tests}.values()
    }
    batches = {key: batch for of_task in asked.values() for key, batch in of_task.items()}
    # Where tasks are compared, a job has further directions, the next ones' twins.
    twins = len(asked) - 1 if sample.tasks.score == "log_odds" else 0
    count = config.controls.random_directions
    count += twins * math.ceil(count / CHUNK)
    swaps = [plan for plan in tests if plan.method == "adapter"] if config.explains else []
    span = first.get("vector", first.get("adapter"))
    costs: list[ArmGroupCost] = []
    for name, plan, arms in (
        ("random directions", span, count * (("vector" in first) + bool(swaps))),
        ("random directions everywhere", first.get("adapter"), count * bool(swaps)),
    ):
        if plan is not None and arms:
            passes = [pass_over(batch, shape, plan) for batch in batches.values()]
            costs.append(replace(pass_cost(name, gpu, passes), arms=arms))
    works: list[ArmGroupCost] = []
    for swap in swaps:
        batches_asked = asked[swap.task.name].values()
        passes = [pass_over(batch, shape, plan) for plan in (span, swap) for batch in batches_asked]
        works.append(pass_cost("swaps of LoRAs", gpu, passes))
    return [*costs, _mean(works)] if works else costs


def arm_cost(name: str, sample: RunSample, plan: ArmPlan, gpu: Gpu | None) -> ArmGroupCost:
    """One arm: forward, and once more for the gradient of frozen maps' inputs; then its scoring."""
    batches, asked = sample.training(plan.task).batches, sample.asked(plan.task)
    times = 2 * plan.batches_trained / len(batches)
    trained = [pass_over(batch, sample.shape, plan).times(times) for batch in batches]
    scored = [pass_over(batch, sample.shape, plan).times(plan.scored_steps) for batch in asked]
    tokens = mean(tail_tokens(batch, plan.spec) for batch in batches)
    work = pass_cost(name, gpu, scored, trained)
    return replace(work, steps=plan.steps, tokens=tokens, memory=sample.training_step([plan]))


def pass_cost(
    what: str, gpu: Gpu | None, scored: Sequence[FlopCount], trained: Sequence[FlopCount] = ()
) -> ArmGroupCost:
    """What passes take: an arm's, or others'."""
    training, scoring = (sum(count.flops for count in passes) for passes in (trained, scored))
    time = None if gpu is None else sum(map(gpu.seconds, (*trained, *scored)))
    return ArmGroupCost(what, 1, 0, 0, training, scoring, seconds=time)


def _mean(works: Sequence[ArmGroupCost]) -> ArmGroupCost:
    """Arms of one kind: how many, and what they take on average."""
    return ArmGroupCost(
        what=works[0].what,
        arms=len(works),
        steps=max(work.steps for work in works),
        tokens=mean(work.tokens for work in works),
        training=mean(work.training for work in works),
        scoring=mean(work.scoring for work in works),
        memory=max(work.memory for work in works),
        seconds=None if works[0].seconds is None else mean(work.seconds or 0 for work in works),
    )


def pass_over(batch: Batch, shape: ModelSize, plan: ArmPlan | None = None) -> FlopCount:
    """An arm's pass over a batch; without one the untouched model's, without its head."""
    start, spec = (0, None) if plan is None else (plan.start, plan.spec)
    blocks, width = shape.n_blocks - start, int(batch.ids.shape[1])
    per_token = 2 * shape.block + 2 * shape.attended * width
    tokens = tail_tokens(batch, spec)
    tokens -= batch.saved(first=width - tokens // batch.size)
    flops = float(blocks * tokens * per_token)
    read = blocks * shape.block * shape.item
    if plan is not None and len(batch.target_ids):
        flops += 2 * len(batch.rows) * shape.vocab * shape.d_model
        read += shape.vocab * shape.d_model * shape.item
    return FlopCount(flops, read, blocks)


def seconds(work: Sequence[ArmGroupCost], speed: float, workers: int) -> float:
    """How long it all takes at most, at so many operations per second of one worker."""
    return sum(kind.arms * seconds_each(kind, speed) for kind in work) / workers


def seconds_each(work: ArmGroupCost, speed: float) -> float:
    """Seconds of one arm."""
    if work.seconds is not None:
        return work.seconds
    share = EFFICIENCY_SHORT if 0 < work.tokens < SHORT else EFFICIENCY
    return (work.training + work.scoring) / share / speed
