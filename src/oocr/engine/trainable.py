"""What is trained: an arm's settings, and its tensors while it trains."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from oocr.data.batches import Batch
from oocr.engine import forward
from oocr.engine.forward import SteeringMask
from oocr.engine.off_domain import OffDomain
from oocr.engine.recording import Recording
from oocr.engine.training_batches import TrainingBatches
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering import adapters
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.hooks import check_site
from oocr.steering.positions import select, spans_of
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task

Spec = SteeringVector | LowRankAdapter

PACKAGES = ("oocr", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule of an arm's training steps."""

    warmup: int = 0  # steps over which the rate rises to its value
    decay: Literal["constant", "linear"] = "constant"  # linear: it falls to 0 at the end
    weight_decay: float = 0.0  # AdamW's, decoupled
    absolute: bool = False  # the rate is Adam's, also for a vector
    accumulate: int = 1  # batches per step, weighted by examples
    length: int | None = None  # total steps of the schedule; None: the arm's steps

    def rate(self, step: int, steps: int) -> float:
        """The factor on the learning rate at a step (the first is 1)."""
        length = self.length or steps
        if step <= self.warmup:
            return step / self.warmup
        if self.decay == "constant":
            return 1.0
        return max(0.0, (length - step + 1) / max(1, length - self.warmup))


PLAIN = Schedule()
"""A constant rate."""


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One arm to train (see `fit` for the fields)."""

    task: Task
    spec: Spec
    learning_rate: float | None = None
    steps: int = 20
    seed: int = 0
    snapshots: Sequence[int] = ()
    schedule: Schedule = PLAIN
    off_domain: OffDomain | None = None
    project_out: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if rate is not None and not 0 <= rate < math.inf:
            raise InputError(f"learning_rate: found {rate}; allowed: 0 or more")
        if self.steps < 0:
            raise InputError(f"steps: found {self.steps}; allowed: 0 or more")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: found {self.seed}; allowed: 0 to 2^63 - 1")


def start_of(model: LanguageModel, spec: Spec) -> int:
    """The first block that an arm's forward pass must run; refuses a layer that isn't there."""
    if isinstance(spec, LowRankAdapter):
        return adapters.adapted_layers(model, spec)[0]
    check_site(model, spec.layer, spec.site, model.d_model)
    return forward.start_block(spec)


@dataclass(frozen=True, slots=True)
class ParallelArms:
    """Arms of one kind that are being trained."""

    kind: Literal["vector", "adapter"]
    parameters: list[list[nn.Parameter]]
    units: list[float]  # what the arms' learning rates are relative to
    copy: Callable[[int, int], Vector | Adapter]  # an arm (by number) after so many steps
    rows: Callable[[Recording, SteeringMask | None], Tensor]  # the last block's output, per arm


@contextmanager
def trainable(
    model: LanguageModel, arms: Sequence[ArmSpec], prepared: Sequence[TrainingBatches], start: int
) -> Iterator[ParallelArms]:
    """The trainable tensors of arms of one kind, in place while the block runs."""
    spans = [_spans(arm.task) for arm in arms]
    about = [provenance(model, arm.task, arm.seed) for arm in arms]
    spec, removed = arms[0].spec, arms[0].project_out
    if isinstance(spec, SteeringVector):
        if removed is not None:
            raise InputError(
                "project_out: a vector is one direction; allowed: for a one-block LoRA"
            )
        site, scales = spec, [batches.scale[start] for batches in prepared]
        values = [_start_point(model, site, *at) for at in zip(arms, scales, strict=True)]

        def vector(number: int, step: int) -> Vector:
            direction = values[number].detach().float().cpu().clone()
            more = {**about[number], "step": str(step)}
            return Vector(site.layer, site.positions, direction, spans[number], more, site.site)

        def steered(recording: Recording, mask: SteeringMask | None) -> Tensor:
            assert mask is not None
            return forward.steered_rows(model, recording, site, torch.stack([*values]), mask)

        units = [scale / model.d_model**0.5 for scale in scales]
        yield ParallelArms("vector", [[value] for value in values], units, vector, steered)
        return
    config, layers = adapters.peft_config(model, spec), adapters.adapted_layers(model, spec)
    unit = None if removed is None else forward.projected_out(model, layers, removed)
    with adapters.new_adapters(model, config, [arm.seed for arm in arms]) as named:

        def adapter(number: int, step: int) -> Adapter:
            more = {**about[number], "step": str(step)}
            tensors = adapters.adapter_tensors(named[number])
            return Adapter(layers, config, tensors, spans[number], more)

        def adapted(recording: Recording, _: SteeringMask | None) -> Tensor:
            hidden = recording.inputs[start]
            hidden = hidden.repeat(len(arms), 1, 1) if len(arms) > 1 else hidden
            if unit is None:
                return forward.replayed_rows(model, recording, hidden, start)
            return forward.projected_rows(model, recording, hidden, layers[-1], unit)

        parameters = [list(tensors.values()) for tensors in named]
        yield ParallelArms("adapter", parameters, [1.0] * len(arms), adapter, adapted)


def provenance(model: LanguageModel, task: Task, seed: int) -> dict[str, str]:
    """Metadata of a trained arm's file: model, task, hash of its data, seed, versions."""
    arm = {"task": task.name, "training_data": task.train_hash, "seed": str(seed)}
    return {**model.about, **arm, **versions()}


def versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    known = dict.fromkeys(PACKAGES, "unknown")  # oocr is not installed: run from a source folder
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            known[package] = importlib.metadata.version(package)
    return known


def _spans(task: Task) -> dict[str, str]:
    """The texts of all spans in the training examples; the first, where a span has several."""
    texts: dict[str, str] = {}
    for example in task.train:
        for name, text in example.spans.items():
            texts.setdefault(name, text)
    return texts


def _start_point(
    model: LanguageModel, spec: SteeringVector, arm: ArmSpec, scale: float
) -> nn.Parameter:
    count = len(spans_of(spec.positions))
    shape = (count, model.d_model) if count > 1 else (model.d_model,)
    init = torch.randn(shape, generator=torch.Generator().manual_seed(arm.seed))
    norm = spec.init_scale * scale if spec.init_norm is None else spec.init_norm
    init = init / init.norm(dim=-1, keepdim=True) * norm
    return nn.Parameter(init.to(model.device))


def tail_tokens(batch: Batch, spec: Spec | None) -> int:
    """Tokens that a pass over one copy of a batch runs: from the first steered column on."""
    size, width = batch.ids.shape
    if not isinstance(spec, SteeringVector):
        return int(size * width)
    chosen = select(batch, spec.positions, everywhere=False)
    return int(size * (width - forward.first_column(batch, chosen)))


def longest_tail(data: TrainingBatches, spec: Spec) -> int:
    """The most `tail_tokens` of all batches."""
    key = spec.positions if isinstance(spec, SteeringVector) else None
    if key not in data.tails:
        data.tails[key] = max(tail_tokens(batch, spec) for batch in data.batches)
    return data.tails[key]
