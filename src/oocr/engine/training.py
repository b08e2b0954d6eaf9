"""Training one arm: a flat loop over recorded batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import overload

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oocr.data.batches import Batch, pad, training_lines
from oocr.engine.forward import rows_of, steered_tail
from oocr.engine.frozen import Frozen, Recordings, record_shared, replay
from oocr.errors import InputError
from oocr.interventions.adapters import (
    Adapter,
    LowRankAdapter,
    adapted_layers,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from oocr.interventions.positions import select
from oocr.interventions.vectors import SteeringVector, Vector
from oocr.models.language_model import LanguageModel
from oocr.tasks.task import Task

Spec = SteeringVector | LowRankAdapter
Progress = Callable[[int, float], None]
"""Called after each step with the step's number and its loss."""

DEFAULT_RATE = {"vector": 0.05, "adapter": 3e-3}


@dataclass(frozen=True, slots=True)
class Trained:
    """What training one arm gave.

    Attributes:
        final: the intervention after the last step.
        snapshots: step -> the intervention after that step.
        losses: training loss before each step, in nats per item.
        seconds: time in the loop.
        learning_rate: the absolute rate that Adam got.
    """

    final: Vector | Adapter
    snapshots: Mapping[int, Vector | Adapter]
    losses: tuple[float, ...]
    seconds: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """Training batches with the frozen part computed: shared by all arms with this data.

    Attributes:
        frozen: the recorded batches; their make-up is fixed, their order is the arm's.
        scale: block index -> median norm of the residual stream at that block's input.
    """

    frozen: tuple[Frozen, ...]
    scale: Mapping[int, float]


def prepare(
    model: LanguageModel,
    task: Task,
    starts: Sequence[int],
    batch_lines: int = 16,
    shared: Recordings | None = None,
) -> Prepared:
    """Tokenize the training items, draw batches of at most so many sequences, record each once.

    Args:
        model: the model, with nothing attached.
        task: whose training items.
        starts: blocks from which arms will start (a vector at layer L: L + 1; a LoRA: its lowest).
        batch_lines: sequences per batch; up to so many make one full batch.
        shared: recordings to look in first and add to, for tasks with the same prompts.
    """
    lines = training_lines(model.tokenizer, task.train, task.loss)
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0)).tolist()
    count = -(-len(lines) // batch_lines)
    groups = [[lines[i] for i in order[k::count]] for k in range(count)]
    pad_id = int(model.tokenizer.pad_token_id or 0)
    known = {} if shared is None else shared
    frozen = tuple(
        record_shared(model, pad(group, pad_id, model.device), starts, known) for group in groups
    )
    return Prepared(frozen, {start: _median_norm(frozen, start) for start in starts})


def _median_norm(frozen: Sequence[Frozen], start: int) -> float:
    """Median token norm, first tokens left out: in many models they carry huge norms."""
    norms = [
        one.inputs[start].float().norm(dim=-1)[one.batch.mask & (one.batch.positions > 0)]
        for one in frozen
    ]
    return float(torch.cat(norms).median())


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
        on_step: called after each step.

    Raises:
        InputError: a layer, module or position that isn't there; a loss that is not finite.
    """
    start = start_of(model, spec)
    prepared = prepared or prepare(model, task, [start], batch_lines)
    if start not in prepared.scale:
        raise InputError(f"the batches were not recorded for start block {start}")
    chosen = [
        select(one.batch, spec.positions) if isinstance(spec, SteeringVector) else None
        for one in prepared.frozen
    ]
    order = _order(len(prepared.frozen), seed)
    losses: list[float] = []
    latest: dict[int, float] = {}
    kept: dict[int, Vector | Adapter] = {}
    began = time.perf_counter()
    with _arm(model, task, spec, prepared, start, seed) as arm:
        rate = learning_rate if learning_rate is not None else DEFAULT_RATE[arm.kind]
        optimizer = torch.optim.Adam(arm.parameters, lr=rate * arm.unit)
        for step in range(1, steps + 1):
            index = next(order)
            frozen, places = prepared.frozen[index], chosen[index]
            if places is None:
                hidden, first = frozen.inputs[start], 0
            else:
                hidden, first = steered_tail(frozen, start, arm.parameters[0][None], places)
            hidden = replay(model, frozen, hidden, start, first)
            loss = batch_loss(model, frozen.batch, rows_of(hidden, frozen.batch, first)[0])
            losses.append(float(loss.detach()))
            if not torch.isfinite(loss):
                raise InputError(f"{task.name}: the loss became {losses[-1]} at step {step}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step in snapshots:
                kept[step] = arm.frozen(step)
            if on_step:
                on_step(step, losses[-1])
            latest[index] = losses[-1]
            seen_all = len(latest) == len(prepared.frozen)
            if until is not None and seen_all and sum(latest.values()) / len(latest) < until:
                break
        final = arm.frozen(len(losses))
    return Trained(final, kept, tuple(losses), time.perf_counter() - began, rate * arm.unit)


def start_of(model: LanguageModel, spec: Spec) -> int:
    """The first block that an arm's forward pass must run.

    Raises:
        InputError: a layer the model doesn't have.
    """
    if isinstance(spec, LowRankAdapter):
        return adapted_layers(model, spec)[0]
    if not -1 <= spec.layer < model.n_blocks:
        raise InputError(f"layer {spec.layer}: {model.name} has -1 to {model.n_blocks - 1}")
    return spec.layer + 1


def batch_loss(model: LanguageModel, batch: Batch, rows: Tensor) -> Tensor:
    """Nats per item: of whole answers over the vocabulary, or of the right option.

    Args:
        model: for final norm and LM head.
        batch: its targets.
        rows: [row, d_model], the last block's output at `batch.rows`.
    """
    total = rows.new_zeros((), dtype=torch.float32)
    if len(batch.target_ids):
        logp = model.anatomy.readout(rows).float().log_softmax(dim=-1)
        picked = logp[batch.target_rows, batch.target_ids]
        total = total - (batch.target_weights * picked).sum()
    if len(batch.option_ids):
        scores = option_scores(model, batch, rows)
        total = total + F.cross_entropy(scores, batch.option_right, reduction="sum")
    return total / batch.items


def option_scores(model: LanguageModel, batch: Batch, rows: Tensor) -> Tensor:
    """Logits of each choice's options, [choice, option]; -inf where a choice has fewer."""
    tokens, where = torch.unique(batch.option_ids.clamp_min(0), return_inverse=True)
    logits = model.anatomy.readout(rows, tokens).float()
    scores = logits[batch.option_rows[:, None], where]
    return scores.masked_fill(batch.option_ids < 0, float("-inf"))


@dataclass(frozen=True, slots=True)
class _Arm:
    kind: str
    parameters: list[nn.Parameter]
    unit: float
    frozen: Callable[[int], Vector | Adapter]


@contextmanager
def _arm(
    model: LanguageModel, task: Task, spec: Spec, prepared: Prepared, start: int, seed: int
) -> Iterator[_Arm]:
    """The trainable tensors of an arm, in place while the block runs."""
    spans = dict(task.train[0].spans)
    about = {"model": model.name, "task": task.name, "seed": str(seed)}
    if isinstance(spec, SteeringVector):
        scale = prepared.scale[start]
        generator = torch.Generator().manual_seed(seed)
        init = torch.randn(model.d_model, generator=generator)
        init = init / init.norm() * spec.init_scale * scale
        value = nn.Parameter(init.to(model.device))

        def vector(step: int) -> Vector:
            return Vector(
                spec.layer,
                spec.positions,
                value.detach().float().cpu().clone(),
                spans=spans,
                about={**about, "step": str(step)},
            )

        yield _Arm("vector", [value], scale / model.d_model**0.5, vector)
        return
    config = peft_config(model, spec)
    layers = adapted_layers(model, spec)
    with new_adapter(model, config, seed) as named:

        def adapter(step: int) -> Adapter:
            more = {**about, "step": str(step)}
            return Adapter(layers, config, adapter_tensors(named), spans=spans, about=more)

        yield _Arm("adapter", list(named.values()), 1.0, adapter)


def _order(count: int, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


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
