"""Peers: the plain Hugging Face loop with a hook, as the paper's authors trained, and PEFT's.

Nothing of ours is used here but the plan; the model is a bare Hugging Face model.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.training.plan import Line, Plan


@dataclass(frozen=True, slots=True)
class Timed:
    """What a training run gave: loss before each step, seconds of each step, of the set-up."""

    losses: list[float]
    seconds: list[float]
    set_up: float


IGNORED = -100
"""The label of a column that asks nothing."""


@dataclass(frozen=True, slots=True)
class Padded:
    """A left-padded batch; `labels` are the tokens asked at each column, -100 where none is."""

    ids: Tensor
    mask: Tensor
    positions: Tensor
    chosen: Tensor
    labels: Tensor
    asked: int  # the last columns that have all labels


def left_pad(lines: list[Line], device: Any = "cpu") -> Padded:
    """Padding on the left, so that the last column is every line's last token."""
    width = max(len(line.ids) for line in lines)
    ids = torch.zeros(len(lines), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    chosen = torch.zeros(len(lines), width, dtype=torch.bool)
    labels = torch.full_like(ids, IGNORED)
    for row, line in enumerate(lines):
        begin = width - len(line.ids)
        ids[row, begin:] = torch.tensor(line.ids)
        mask[row, begin:] = 1
        chosen[row, begin:] = torch.tensor(line.chosen)
        labels[row, -len(line.answer) :] = torch.tensor(line.answer)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    ids, mask, positions = ids.to(device), mask.to(device), positions.to(device)
    asked = max(len(line.answer) for line in lines)
    return Padded(ids, mask, positions, chosen.to(device), labels.to(device), asked)


def vector_loop(
    hf: Any, block: nn.Module, plan: Plan, steps: int, *, all_logits: bool, start: Tensor
) -> Timed:
    """A vector added by a forward hook to what `block` returns, at the plan's chosen tokens."""
    value = nn.Parameter(start.clone().to(hf.device))
    now: list[Padded] = []

    def hook(_module: object, _args: object, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        moved = hidden + (now[0].chosen[:, :, None] * value).to(hidden.dtype)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    def loss(batch: Padded) -> Tensor:
        now[:] = [batch]
        return _loss(hf, batch, all_logits)

    handle = block.register_forward_hook(hook)
    try:
        return _train([value], plan, steps, loss)
    finally:
        handle.remove()


def lora_loop(hf: Any, name: str, plan: Plan, steps: int, rank: int) -> Timed:
    """PEFT's LoRA on one Linear, in the loop with `logits_to_keep`, from the plan's start."""
    from peft import LoraConfig

    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=[name]
    )
    with wrapped(hf, config) as (peft_model, named):
        for short in ("lora_A", "lora_B"):
            (own,) = [entry for key, entry in named.items() if f".{short}." in key]
            own.data.copy_(plan.tensor(short))
        parameters = list(named.values())
        return _train(parameters, plan, steps, lambda batch: _loss(peft_model, batch, False))


def beft_loop(hf: Any, name: str, plan: Plan, steps: int) -> Timed:
    """PEFT's bias on one Linear, in the loop with `logits_to_keep`; BEFT starts at zero."""
    from peft import BeftConfig

    config = BeftConfig(target_modules=re.escape(name), task_type="CAUSAL_LM")
    with wrapped(hf, config) as (peft_model, named):
        parameters = list(named.values())
        return _train(parameters, plan, steps, lambda batch: _loss(peft_model, batch, False))


@contextmanager
def wrapped(hf: Any, config: Any) -> Iterator[tuple[Any, dict[str, nn.Parameter]]]:
    """PEFT's wrapper around the model, and what it trains; taken off again at the end."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "cannot merge": nobody wants to
        peft_model = get_peft_model(hf, config)
    named = {key: entry for key, entry in peft_model.named_parameters() if entry.requires_grad}
    try:
        yield peft_model, named
    finally:
        peft_model.unload()


def _loss(hf: Any, batch: Padded, all_logits: bool) -> Tensor:
    """Nats per line of the answers, of all logits with the rest ignored or of the last only."""
    keep = 0 if all_logits else batch.asked
    logits = hf(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=False,
        logits_to_keep=keep,
    ).logits
    labels = batch.labels[:, -keep:].flatten()
    total = F.cross_entropy(
        logits.float().flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum"
    )
    return total / len(batch.ids)


def _train(
    parameters: list[nn.Parameter], plan: Plan, steps: int, loss_of: Callable[[Padded], Tensor]
) -> Timed:
    losses: list[float] = []
    seconds: list[float] = []
    began = time.perf_counter()
    batches = [left_pad(batch, parameters[0].device) for batch in plan.batches]
    optimizer = torch.optim.Adam(parameters, lr=plan.rate)
    set_up = time.perf_counter() - began
    for step in range(steps):
        began = time.perf_counter()
        loss = loss_of(batches[plan.order[step]])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
        seconds.append(time.perf_counter() - began)
    return Timed(losses, seconds, set_up)
