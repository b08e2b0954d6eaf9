"""Training in its plainest form: the readable reference for `oocr.engine.training`.

Each step is one pass of the whole model over one batch and one step of AdamW. Tests hold the losses
and tensors of `oocr.engine.training.fit` to these.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from oocr.data.batches import Batch, training_lines
from oocr.engine.recording import batch_of, record
from oocr.engine.trainable import Spec
from oocr.engine.training_batches import token_norms, training_groups
from oocr.models.language_model import LanguageModel
from oocr.steering import adapters
from oocr.steering.adapters import Adapter
from oocr.steering.positions import select_each, spans_of
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task


def plain_fit(
    model: LanguageModel, task: Task, spec: Spec, *, rate: float, steps: int, seed: int, size: int
) -> tuple[Vector | Adapter, list[float]]:
    """Train on batches of `size` sequences; the loss per step. `rate` is relative as in `fit`."""
    sequences = training_lines(model.tokenizer, task.train, task.loss)
    batches = [batch_of(model, group) for group in training_groups(sequences, size)]
    generator = torch.Generator().manual_seed(seed)
    passes = (torch.randperm(len(batches), generator=generator).tolist() for _ in range(steps))
    order = [batches[index] for index in islice(chain.from_iterable(passes), steps)]
    if isinstance(spec, SteeringVector):
        norm = _median_norm(model, batches, spec.layer + (spec.site == "block"))
        direction = _start(model, spec, norm, seed)
        vector = Vector(spec.layer, spec.positions, direction, site=spec.site)
        losses = []
        optimizer = torch.optim.AdamW([direction], rate * norm / model.d_model**0.5, weight_decay=0)
        for batch in order:
            with vector.on(model, select_each(batch, spec.positions)):
                losses.append(_step(model, batch, optimizer))
        return replace(vector, direction=direction.detach()), losses
    config = adapters.peft_config(model, spec)
    with adapters.new_adapter(model, config, seed) as named:
        optimizer = torch.optim.AdamW(named.values(), rate, weight_decay=0)
        losses = [_step(model, batch, optimizer) for batch in order]
        layers, tensors = adapters.adapted_layers(model, spec), adapters.adapter_tensors(named)
        return Adapter(layers, config, tensors), losses


def _step(model: LanguageModel, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """One step of the optimizer; returns the loss before it, in nats per example."""
    out = model.hf(
        input_ids=batch.ids, attention_mask=batch.mask.long(), position_ids=batch.positions
    )
    logits = out.logits[batch.rows[:, 0], batch.rows[:, 1]].float()
    logp = logits.log_softmax(dim=-1)[batch.target_rows, batch.target_ids]
    loss = -(batch.target_weights * logp).sum()
    if len(batch.option_ids):
        options = logits[batch.option_rows[:, None], batch.option_ids.clamp_min(0)]
        options = options.masked_fill(batch.option_ids < 0, -torch.inf)
        loss = loss + F.cross_entropy(options, batch.option_right, reduction="sum")
    loss = loss / batch.items
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _median_norm(model: LanguageModel, batches: list[Batch], block: int) -> float:
    """Median norm of the residual stream at a block's input, first tokens left out."""
    inputs = [record(model, batch, [block], cache=False).inputs[block] for batch in batches]
    norms = [token_norms(hidden, batch) for hidden, batch in zip(inputs, batches, strict=True)]
    return float(torch.cat(norms).median())


def _start(model: LanguageModel, spec: SteeringVector, norm: float, seed: int) -> nn.Parameter:
    """A random direction of a small norm; one for each of joined spans."""
    spans = len(spans_of(spec.positions))
    shape = (spans, model.d_model) if spans > 1 else (model.d_model,)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    start = start / start.norm(dim=-1, keepdim=True) * spec.init_scale * norm
    return nn.Parameter(start)  # a vector is on the CPU, wherever the model is
