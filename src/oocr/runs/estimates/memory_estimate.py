"""The memory that a run will need, from its model's shape and a sample of its batches."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oocr.data.batches import Batch, pad, training_lines
from oocr.data.examples import Example, prompt_text
from oocr.data.tokens import RowTokens
from oocr.engine import memory
from oocr.engine.recording import shared_beginnings
from oocr.engine.recording_cache import RecordingCache, Tier
from oocr.engine.replay import stacks_along_tokens
from oocr.engine.trainable import tail_tokens
from oocr.engine.training import stack_tokens
from oocr.engine.training_batches import MEASURED, training_groups
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.explain.differences import MOST_TOKENS, TOKENS_PER_BATCH
from oocr.models.language_model import LanguageModel
from oocr.models.machine import is_gpu
from oocr.models.outline import Outline, outline
from oocr.output_checks import PAGE_BYTES
from oocr.runs import controls, explain_stage, grid
from oocr.runs.arms import ArmPlan, grouped
from oocr.runs.config import RunConfig
from oocr.runs.context import TrainingTokens, stop_groups
from oocr.runs.processes.memory_plan import MemoryEstimate, available_memory, device_parts, gib
from oocr.runs.resolve import ResolvedRun
from oocr.steering.adapters import LowRankAdapter, linear_shape, peft_config, stackable
from oocr.steering.positions import spans_of
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task

MOST_BATCHES = 64
"""Batches of a task that are looked at. The longest texts are always among them."""

UNRELATED_TOKENS = 3000
"""Tokens of all neutral passages, about."""


@dataclass(frozen=True, slots=True)
class SampledBatches:
    """Some of a task's training batches, of so many in all."""

    batches: tuple[Batch, ...]
    count: int

    def recorded(self, plan: ArmPlan, seeds: int) -> float:
        """The share that will be recorded at most: each seed has an order of its own."""
        most = max(MEASURED, seeds * plan.batches_trained)
        return min(self.count, most) / len(self.batches)


class RunSample:
    """A run's arms before anything is chosen, and batches of at most so much data of each task.

    Nothing is computed but token ids (`rows` are those that were tokenized before). `tasks` have
    the sampled training data; `tried` and `reported` are `expected_plans`.
    """

    def __init__(
        self, run: ResolvedRun, model: LanguageModel | Outline, rows: RowTokens | None = None
    ) -> None:
        self.config, self.model, self.shape = run.config, model, memory.shape_of(model)
        self.rows = RowTokens(model.tokenizer) if rows is None else rows
        self.tokens = TrainingTokens(self.rows)
        self._shares: dict[str, float] = {}
        samples: dict[str, tuple[Example, ...]] = {}

        def sampled(task: Task) -> Task:
            if task.train_hash not in samples:
                samples[task.train_hash] = _sampled(task.train, self.config.batch_lines)
            train = samples[task.train_hash]
            small = task if train is task.train else replace(task, train=train)
            self._shares[small.train_hash] = len(train) / len(task.train)
            return small

        self.tasks = run.tasks.changed(sampled)
        self.tried, self.reported = grid.expected_plans(self.config, self.tasks)
        together = controls.CHUNK + len(self.tasks.test) - 1  # random directions in a pass
        self._stacks = {
            (
                plan.spec,
                max(plan.scored_steps, together) if isinstance(plan.spec, SteeringVector) else 1,
            )
            for plan in (*self.tried, *self.reported)
        }
        self._training: dict[str, SampledBatches] = {}
        self._asked: dict[str, list[Batch]] = {}

    def training(self, task: Task) -> SampledBatches:
        """A task's training batches; raises `InputError` for examples without tokens."""
        if task.train_hash not in self._training:
            sequences, _ = self.tokens.of(task)
            lines = self.config.batch_lines
            groups = training_groups(sequences, lines)
            count = -(-round(len(sequences) / self._shares[task.train_hash]) // lines)
            batches = tuple(pad(group, 0) for group in groups)
            self._training[task.train_hash] = SampledBatches(batches, max(count, len(groups)))
        return self._training[task.train_hash]

    def asked(self, task: Task) -> list[Batch]:
        """Batches of what arms of a task are asked."""
        if task.asked_hash not in self._asked:
            self._asked[task.asked_hash] = batches = []
            parts = task.scored.values()
            choices = [example for part in parts for example in part if len(example.options) > 1]
            if choices:
                empty = RecordingCache([Tier(0)])
                probes = Probes.of(self.model, choices, empty, rows=self.rows)  # type: ignore[arg-type]
                for group in probes.groups:
                    lines = [probes.lines[i] for i in group]
                    prefix, prompts = shared_beginnings(lines)
                    batches.append(pad(lines, 0, prefix=prefix, prompts=prompts))
            if task.stop:
                lines = training_lines(self.rows, task.stop, task.loss)
                batches += [pad(sequences, 0) for sequences in stop_groups(lines)]
        return self._asked[task.asked_hash]

    def numbers(self, spec: SteeringVector | LowRankAdapter) -> int:
        """How many numbers an arm trains."""
        if isinstance(spec, SteeringVector):
            return max(1, len(spans_of(spec.positions))) * self.shape.d_model
        names = peft_config(self.model, spec)["target_modules"]
        maps = [self.model.hf.get_submodule(name) for name in names]
        return spec.rank * sum(sum(linear_shape(linear) or (0, 0)) for linear in maps)

    def stored(self) -> int:
        """Bytes that the run writes: its arms in fp32, a page and tables."""
        saved = [plan.spec for plan in self.reported if plan.role in ("test", "control")]
        sizes = {spec: self.numbers(spec) for spec in set(saved)}
        return PAGE_BYTES + sum(4 * sizes[spec] for spec in saved)

    def training_step(self, stack: Sequence[ArmPlan]) -> int:
        """Bytes that a step of arms side by side takes, with what is trained."""
        shape, count, spec, start = self.shape, len(stack), stack[0].spec, stack[0].start
        sizes: list[int] = []
        if isinstance(spec, LowRankAdapter):
            config = peft_config(self.model, spec)
            maps = [self.model.hf.get_submodule(name) for name in config["target_modules"]]
            shapes = [linear_shape(linear) or (0, 0) for linear in maps]
            count = count if stackable(config) else 1
            sizes = [inputs for inputs, _ in shapes]
        numbers = self.numbers(spec)
        most = 0
        for batch in self.training(stack[0].task).batches:
            tail, (size, width) = tail_tokens(batch, spec), batch.ids.shape
            run, before = count * tail, int(batch.ids.numel()) - tail
            once = stacks_along_tokens(count, before // size, width - before // size)
            attended = run + (before if once else count * before)
            kept = memory.kept_for_backward(shape, run, attended, start)
            if isinstance(spec, LowRankAdapter):
                kept += memory.kept_by_adapters(shape, run, sizes, spec.rank, spec.dropout)
            rows = memory.head(shape, count * len(batch.rows))
            most = max(most, kept + memory.passed(shape, 2 * run) + rows)
        return most + memory.trained(count * numbers)

    def scoring(self, batch: Batch) -> int:
        """Bytes of a scoring pass: vectors of all steps, or random ones, are stacked."""
        shape, most = self.shape, 0
        for spec, stack in self._stacks:
            attended = stack * batch.ids.numel() * shape.attended * shape.item
            rows = memory.head(shape, stack * len(batch.rows))
            passed = memory.passed(shape, stack * tail_tokens(batch, spec))
            most = max(most, passed + attended + rows)
        return most

    def explaining(self) -> int:
        """Bytes of neutral predictions under a LoRA, and of what it adds to a task's texts."""
        neutral = self.config.explain.neutral_tokens
        rows = neutral // explain_stage.NEUTRAL_PASSAGES + 2
        tokens = UNRELATED_TOKENS + max(map(self._read_tokens, self.tasks.test), default=0)
        on_gpu = is_gpu(self.model.device)
        return memory.explaining(self.shape, tokens, TOKENS_PER_BATCH, neutral, rows, on_gpu=on_gpu)

    def _read_tokens(self, task: Task) -> int:
        """Tokens of a task's distinct prompts, of the training rows and of the probes."""
        trained, asked = (
            {item.prompt: self.rows.prompt(item.prompt, item.spans) for item in items}
            for items in (task.train, task.probes)
        )
        count = sum(len(prompt.ids) for prompt in trained.values()) / self._shares[task.train_hash]
        others = sum(len(prompt.ids) for prompt in asked.values())
        return min(int(count), MOST_TOKENS) + min(others, MOST_TOKENS)

    def memory(self) -> MemoryEstimate:
        """Predict the memory of the run."""
        config, shape, starts = self.config, self.shape, self.config.starts
        recordings: dict[object, float] = {}
        step = score = record = largest = 0
        for plans in (self.tried, self.reported):
            most_tokens = stack_tokens(self.model)
            for group in grouped(plans, self.tokens, config.batch_lines, most_tokens):
                step = max(step, self.training_step(group))
            for plan in {plan.task.train_hash: plan for plan in plans}.values():
                sampled = self.training(plan.task)
                part = sampled.recorded(plan, config.seeds)
                for batch in sampled.batches:
                    size = memory.recorded(shape, batch.ids.numel(), starts)
                    key = batch_key(batch)
                    recordings[key] = max(recordings.get(key, 0), part * size)
                    largest, record = max(largest, size), max(record, self._recording(batch))
        asked: dict[object, int] = {}
        tasks = {plan.task.asked_hash: plan.task for plan in (*self.tried, *self.reported)}
        for batch in (batch for task in tasks.values() for batch in self.asked(task)):
            size = memory.recorded(shape, batch.ids.numel(), {*config.asked_starts, shape.n_blocks})
            asked[batch_key(batch)], largest = size, max(largest, size)
            record, score = max(record, self._recording(batch)), max(score, self.scoring(batch))
        on_gpu = is_gpu(self.model.device)
        parts = {
            "Python and torch": 0 if on_gpu else memory.PROCESS,
            "tokenizer": 0 if on_gpu else memory.PER_TOKEN * len(self.model.tokenizer),
            "weights": shape.weights,
            "recordings, at least": largest,
            "recording": record,
            "training": step,
            "scoring": score,
            "explaining": self.explaining() if config.explains else 0,
        }
        return MemoryEstimate(
            parts,
            questions=sum(asked.values()),
            training=int(sum(recordings.values())),
            on_device=on_gpu,
            shared=not on_gpu and config.workers != 1,
        )

    def _recording(self, batch: Batch) -> int:
        return memory.recording(self.shape, int(batch.ids.numel()), int(batch.ids.shape[1]))


def _sampled(items: tuple[Example, ...], batch_lines: int) -> tuple[Example, ...]:
    """At most `MOST_BATCHES` batches of examples: the longest, and others drawn at random."""
    most = MOST_BATCHES * batch_lines
    if len(items) <= most:
        return items
    sizes = [len(prompt_text(example.prompt)) + len(example.answer) for example in items]
    order = sorted(range(len(items)), key=lambda i: (-sizes[i], i))
    rest = random.Random(0).sample(order[batch_lines:], most - batch_lines)
    return tuple(items[i] for i in sorted((*order[:batch_lines], *rest)))


def memory_estimate(
    run: ResolvedRun, model: LanguageModel | Outline, rows: RowTokens | None = None
) -> MemoryEstimate:
    """Predict the memory of a run (see `RunSample`); `InputError` for untokenizable texts."""
    return RunSample(run, model, rows).memory()


def batch_key(batch: Batch) -> object:
    """Equal for batches of equal tokens."""
    return (tuple(batch.ids.shape), batch.ids.numpy().tobytes())


def outline_for(config: RunConfig, *, counted: bool = True, on_gpu: bool = False) -> Outline:
    """The shape of a configuration's model, without loading it (see `outline`)."""
    return outline(**config.loading, counted=counted, on_gpu=on_gpu)


def check_weights(config: RunConfig) -> None:
    """Refuse (`InputError`) a model whose weights alone do not fit, before it is loaded."""
    check_loading(config.loading)


def check_loading(loading: Mapping[str, Any], beside: int = 0) -> None:
    """The same for arguments of `load_model`; `beside` are bytes of another model that stays."""
    try:
        model = outline(**loading, counted=False)
    except InputError:  # not here yet: whoever loads it says what is wrong
        return
    weights, available = (
        memory.shape_of(model).weights,
        available_memory(device_parts(model, ())) - beside,
    )
    if weights > available:
        where = " and ".join(str(device) for device in model.devices)
        raise InputError(
            f"model: the weights of {loading['name']} take {gib(weights)} as "
            f"{str(model.dtype).removeprefix('torch.')}, and {gib(available)} are available on "
            f"{where}. Lower: dtype (bfloat16 halves float32), or take a smaller model"
        )
