"""The memory that a run will need, from its model's shape and a sample of its batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oocr.data.batches import Batch, pad, training_lines
from oocr.data.examples import Example, examples_hash, prompt_text
from oocr.data.tokens import RowTokens
from oocr.engine import memory
from oocr.engine.memory import ModelSize, shape_of
from oocr.engine.recording_cache import RecordingCache, Tier
from oocr.engine.replay import rides_on_tokens
from oocr.engine.trainable import tail_tokens
from oocr.engine.training import stack_tokens
from oocr.engine.training_batches import MEASURED, training_groups
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.models.outline import Outline, outline
from oocr.runs.arms import ArmPlan, grouped
from oocr.runs.config import RunConfig
from oocr.runs.context import TrainingTokens, stop_groups
from oocr.runs.controls import CHUNK
from oocr.runs.explain_stage import NEUTRAL_PASSAGES
from oocr.runs.grid import expected_plans, starts_of
from oocr.runs.memory_plan import MemoryEstimate, gib, room_for
from oocr.runs.resolve import ResolvedRun
from oocr.steering.adapters import LowRankAdapter, linear_shape, peft_config, stackable
from oocr.steering.positions import spans_of
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task, TaskSet

if TYPE_CHECKING:
    from oocr.models.language_model import LanguageModel


MOST_BATCHES = 64
"""Batches of a task that are looked at. The longest texts are always among them."""


@dataclass(frozen=True, slots=True)
class SampledBatches:
    """Some of a task's training batches, of so many in all."""

    batches: tuple[Batch, ...]
    count: int

    def recorded(self, plan: ArmPlan, seeds: int) -> int:
        """How many will be recorded at most: each seed has an order of its own."""
        return min(self.count, max(MEASURED, seeds * plan.batches_trained))


@dataclass(frozen=True, slots=True)
class SampledTasks:
    """A run's tasks with at most so much training data each.

    `shares` maps `Task.train_hash` of a task here to the share of its training data that it has.
    """

    tasks: TaskSet
    shares: Mapping[str, float]
    tokens: TrainingTokens
    batch_lines: int

    @staticmethod
    def of(tasks: TaskSet, batch_lines: int, rows: RowTokens) -> SampledTasks:
        """At most `MOST_BATCHES` batches of each task."""
        samples: dict[str, tuple[Example, ...]] = {}
        shares: dict[str, float] = {}

        def sampled(task: Task) -> Task:
            if task.train_hash not in samples:
                samples[task.train_hash] = _sampled(
                    task.train, MOST_BATCHES * batch_lines, batch_lines
                )
            train = samples[task.train_hash]
            sample = task if train is task.train else replace(task, train=train)
            shares[sample.train_hash] = len(train) / len(task.train)
            return sample

        def all_of(tasks: Sequence[Task]) -> tuple[Task, ...]:
            return tuple(sampled(task) for task in tasks)

        small = replace(
            tasks,
            validation=all_of(tasks.validation),
            test=all_of(tasks.test),
            controls={name: all_of(group) for name, group in tasks.controls.items()},
        )
        return SampledTasks(small, shares, TrainingTokens(rows), batch_lines)

    def sized(self, task: Task) -> SampledBatches:
        """A task's batches; raises `InputError` for examples that cannot be tokenized."""
        sequences = self.tokens.sequences(task)
        groups = training_groups(sequences, self.batch_lines)
        count = -(-round(len(sequences) / self.shares[task.train_hash]) // self.batch_lines)
        return SampledBatches(tuple(pad(group, 0) for group in groups), max(count, len(groups)))


def _sampled(items: tuple[Example, ...], most: int, longest: int) -> tuple[Example, ...]:
    """The longest examples, and others drawn at random."""
    if len(items) <= most:
        return items
    sizes = [len(prompt_text(example.prompt)) + len(example.answer) for example in items]
    order = sorted(range(len(items)), key=lambda i: (-sizes[i], i))
    rest = random.Random(0).sample(order[longest:], most - longest)
    return tuple(items[i] for i in sorted((*order[:longest], *rest)))


def memory_estimate(
    run: ResolvedRun, model: LanguageModel | Outline, rows: RowTokens | None = None
) -> MemoryEstimate:
    """Predict the memory of a run; nothing is computed but token ids (`rows` are added to).

    Raises:
        InputError: examples that cannot be tokenized.
    """
    config, rows = run.config, RowTokens(model.tokenizer) if rows is None else rows
    shape, starts = shape_of(model), starts_of(config)
    sample = SampledTasks.of(run.tasks, config.batch_lines, rows)
    tasks = sample.tasks
    tried, reported = expected_plans(config, tasks)
    known: dict[str, SampledBatches] = {}
    seen: dict[object, float] = {}
    step = score = record = 0
    largest = 0

    def of(task: Task) -> SampledBatches:
        if task.train_hash not in known:
            known[task.train_hash] = sample.sized(task)
        return known[task.train_hash]

    for plans in (tried, reported):
        for group in grouped(plans, sample.tokens, config.batch_lines, stack_tokens(model)):
            step = max(step, training_step(model, shape, group, of(group[0].task).batches))
        for plan in {plan.task.train_hash: plan for plan in plans}.values():
            batches = of(plan.task)
            part = batches.recorded(plan, config.seeds) / len(batches.batches)
            for batch in batches.batches:
                size = memory.recorded(shape, batch.ids.numel(), starts)
                seen[batch_key(batch)] = max(seen.get(batch_key(batch), 0), part * size)
                largest = max(largest, size)
                record = max(record, memory.recording(shape, *_size(batch)))
    training = int(sum(seen.values()))
    asked: dict[object, int] = {}
    sets: set[object] = set()
    for plan in (*tried, *reported):
        for batch in asked_of(plan.task, model, rows, sets):
            size = memory.recorded(shape, batch.ids.numel(), {*starts, shape.n_blocks})
            asked[batch_key(batch)], largest = size, max(largest, size)
            record = max(record, memory.recording(shape, *_size(batch)))
            for site in _sites(tried, reported):
                score = max(score, _score(shape, site, batch, len(tasks.test)))
    explain = 0
    if config.explain.enabled and config.adapter is not None and config.adapter.layers != "all":
        tokens = config.explain.neutral_tokens
        explain = (tokens + 4 * (tokens // NEUTRAL_PASSAGES + 2)) * shape.vocab * 4
    on_gpu = model.device.type == "cuda"
    parts = {
        "Python and torch": 0 if on_gpu else memory.PROCESS,
        "tokenizer": 0 if on_gpu else memory.PER_TOKEN * len(model.tokenizer),
        "weights": shape.weights,
        "recordings, at least": largest,
        "recording": record,
        "training": step,
        "scoring": score,
        "explaining": explain,
    }
    return MemoryEstimate(parts, sum(asked.values()), training, on_gpu)


def batch_key(batch: Batch) -> object:
    """Equal for batches of equal tokens."""
    return (tuple(batch.ids.shape), batch.ids.numpy().tobytes())


def _size(batch: Batch) -> tuple[int, int]:
    """Tokens, and the length of a sequence."""
    return int(batch.ids.numel()), int(batch.ids.shape[1])


def training_step(
    model: LanguageModel | Outline,
    shape: ModelSize,
    stack: Sequence[ArmPlan],
    batches: Sequence[Batch],
) -> int:
    """Bytes that a step of arms side by side takes, with what is trained."""
    count, spec, start = len(stack), stack[0].spec, stack[0].start
    sizes: list[int] = []
    if isinstance(spec, LowRankAdapter):
        config = peft_config(model, spec)
        maps = [model.hf.get_submodule(name) for name in config["target_modules"]]
        shapes = [linear_shape(linear) or (0, 0) for linear in maps]
        count = count if stackable(config) else 1
        sizes = [inputs for inputs, _ in shapes]
        numbers = spec.rank * sum(map(sum, shapes))
    else:
        numbers = max(1, len(spans_of(spec.positions))) * shape.d_model
    most = 0
    for batch in batches:
        tail, (size, width) = tail_tokens(batch, spec), batch.ids.shape
        run, before = count * tail, int(batch.ids.numel()) - tail
        once = rides_on_tokens(count, before // size, width - before // size)
        attended = run + (before if once else count * before)
        kept = memory.kept_for_backward(shape, run, attended, start)
        if isinstance(spec, LowRankAdapter):
            kept += memory.kept_by_adapters(shape, run, sizes, spec.rank, spec.dropout)
        rows = memory.head(shape, count * len(batch.rows))
        most = max(most, kept + memory.passed(shape, 2 * run) + rows)
    return most + memory.trained(count * numbers)


def _sites(*plans: Sequence[ArmPlan]) -> list[ArmPlan]:
    """One plan for each kind of scoring pass."""
    kinds: dict[object, ArmPlan] = {}
    for plan in (plan for group in plans for plan in group):
        kinds[plan.spec, len(plan.steps), plan.score_every_step] = plan
    return list(kinds.values())


def _score(shape: ModelSize, plan: ArmPlan, batch: Batch, tests: int) -> int:
    """A scoring pass: vectors of all steps, or random ones, are stacked."""
    vector = isinstance(plan.spec, SteeringVector)
    stack = max(len(plan.steps) if plan.score_every_step else 1, CHUNK + tests - 1) if vector else 1
    attended = stack * batch.ids.numel() * shape.attended * shape.item
    rows = memory.head(shape, stack * len(batch.rows))
    return memory.passed(shape, stack * tail_tokens(batch, plan.spec)) + attended + rows


def asked_of(
    task: Task, model: LanguageModel | Outline, rows: RowTokens, sets: set[object]
) -> Iterator[Batch]:
    """Batches of what arms of this task are asked, unless another task's (`sets`) are the same."""
    choices = [
        example for part in task.scored.values() for example in part if len(example.options) > 1
    ]
    if choices and (key := examples_hash(choices, "scored")) not in sets:
        sets.add(key)
        probes = Probes.of(model, choices, RecordingCache([Tier(0)]), rows=rows)  # type: ignore[arg-type]
        for group in probes.groups:
            yield pad([probes.lines[i] for i in group], 0)
    if task.stop and (key := examples_hash(task.stop, "stop")) not in sets:
        sets.add(key)
        for sequences in stop_groups(training_lines(rows, task.stop, task.loss)):
            yield pad(sequences, 0)


def outline_for(config: RunConfig, *, counted: bool = True, on_gpu: bool = False) -> Outline:
    """The shape of a configuration's model, without loading it (see `outline`)."""
    return outline(
        config.model,
        dtype=config.dtype,
        device=config.device,
        device_map=config.device_map,
        revision=config.revision,
        counted=counted,
        on_gpu=on_gpu,
    )


def check_weights(config: RunConfig) -> None:
    """Refuse a model whose weights alone don't fit, before it is loaded or downloaded.

    Raises:
        InputError: with the numbers.
    """
    try:
        model = outline_for(config, counted=False)
    except InputError:  # not here yet: whoever loads it says what is wrong
        return
    weights, room = shape_of(model).weights, room_for(model.device)
    if weights > room and config.device_map is None:
        raise InputError(
            f"model: the weights of {config.model} take {gib(weights)} as "
            f"{str(model.dtype).removeprefix('torch.')}, and {gib(room)} are available. "
            "Lower: dtype (bfloat16 halves float32), or take a smaller model"
        )
