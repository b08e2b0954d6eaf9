"""Full fine-tuning of the blocks, on a copy of their weights; the embeddings stay frozen.

The comparison for methods that train little. It uses the same batches, losses and order of steps
as `oocr.engine.training.fit`; below the first block there is nothing to save.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from oocr.engine.forward import replayed_rows
from oocr.engine.losses import LossLog, OnStep, batch_loss
from oocr.engine.memory import head, kept_for_backward, shape_of
from oocr.engine.trainable import provenance
from oocr.engine.training_batches import TrainingBatches, batch_order, prepare
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.machine import free_memory, is_cpu
from oocr.steering.tuned_weights import TunedWeights, block_parameters, replaced
from oocr.tasks.task import Task

DEFAULT_RATE = 3e-5
READ_EVERY = 10
"""On a GPU losses are read every so many steps."""


@dataclass(frozen=True, slots=True)
class FineTuned:
    """The result of full fine-tuning."""

    final: TunedWeights
    losses: tuple[float, ...]  # before each step, in nats per example
    seconds: float


def fit_weights(
    model: LanguageModel,
    task: Task,
    *,
    learning_rate: float = DEFAULT_RATE,
    steps: int = 60,
    seed: int = 0,
    until: float | None = None,
    batch_lines: int = 16,
    on_step: OnStep | None = None,
) -> FineTuned:
    """Train all weights of all blocks with Adam, without weight decay; the model is not changed.

    Args:
        model: the model.
        task: its training examples and loss.
        learning_rate: Adam's.
        steps: how many.
        seed: order of batches.
        until: stop once every batch was seen and the mean of their latest losses is below this.
        batch_lines: sequences per batch.
        on_step: called after each step (on a GPU after every tenth, for each of them).

    Raises:
        InputError: too little memory; a loss that is not finite.
    """
    data = prepare(model, task, (0,), batch_lines)
    check_memory(model, data)
    order = batch_order(len(data.batches), seed, steps)
    data.record_ahead(order, once=False)
    log = LossLog([task.name], len(data.batches), [[index] for index in order], on_step)
    read_every = 1 if is_cpu(model.device) else READ_EVERY
    named = block_parameters(model)
    tuned = {name: parameter.detach().clone() for name, parameter in named.items()}
    began = time.perf_counter()
    with replaced({named[name]: tensor for name, tensor in tuned.items()}):
        try:
            optimizer = _Adam(list(named.values()), learning_rate)
            for step, index in enumerate(order, start=1):
                recording = data.load(index, 0, None, once=False)
                rows = replayed_rows(model, recording, recording.inputs[0], 0)
                loss = batch_loss(model, recording.batch, rows[0])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                log.add(loss.detach()[None])
                if step % read_every == 0 or step == steps:
                    log.read()
                    if until is not None and log.below(until):
                        break
        finally:
            for parameter in named.values():
                parameter.requires_grad_(False)
                parameter.grad = None
    losses = tuple(row[0] for row in log.steps)
    about = {**provenance(model, task, seed), "step": str(len(losses))}
    return FineTuned(TunedWeights(tuned, about), losses, time.perf_counter() - began)


class _Adam:
    """Adam on float32 copies of parameters with a smaller dtype; other parameters directly."""

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float) -> None:
        self.parameters = parameters
        self.exact: list[Tensor] = []
        for parameter in parameters:
            parameter.requires_grad_(True)
            small = parameter.dtype != torch.float32
            self.exact.append(parameter.detach().float() if small else parameter)
        self.adam = torch.optim.Adam(self.exact, learning_rate)

    @torch.no_grad()
    def step(self) -> None:
        """One step from the current gradients, which are then cleared."""
        pairs = list(zip(self.parameters, self.exact, strict=True))
        for parameter, exact in pairs:
            if exact is not parameter and parameter.grad is not None:
                exact.grad, parameter.grad = parameter.grad.float(), None
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        for parameter, exact in pairs:
            if exact is not parameter:
                parameter.copy_(exact)


def predicted_bytes(model: LanguageModel, data: TrainingBatches) -> int:
    """Most bytes that full fine-tuning takes beside the model.

    A copy of the blocks with gradient and Adam's two moments (and float32 copies of weights of a
    smaller type, with their gradient); what the largest batch keeps for backward, twice: the
    inputs of linear maps stay too, as their weights are trained.
    """
    shape = shape_of(model)
    numbers = sum(parameter.numel() for parameter in block_parameters(model).values())
    small = 0 if shape.item >= 4 else 8
    tokens, width, rows = (
        max(size(batch) for batch in data.batches)
        for size in (
            lambda batch: batch.ids.numel(),
            lambda batch: batch.ids.shape[1],
            lambda batch: len(batch.rows),
        )
    )
    passes = 2 * kept_for_backward(shape, tokens, width, 0) + head(shape, rows)
    return numbers * (2 * shape.item + 8 + small) + passes


def check_memory(model: LanguageModel, data: TrainingBatches) -> None:
    """Refuse full fine-tuning that does not fit on the device."""
    needs, free = predicted_bytes(model, data), free_memory(model.device)
    if needs > free:
        raise InputError(
            f"full fine-tuning of {model.name}: about {needs / 1e9:.1f} GB are needed, "
            f"{free / 1e9:.1f} GB are free; allowed: a smaller model, or a LoRA"
        )
