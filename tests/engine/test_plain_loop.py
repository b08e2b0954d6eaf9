"""The fast training loop takes the steps of the plain one: same losses, same tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from oocr.data.examples import Example, Loss
from oocr.engine.plain_loop import plain_fit
from oocr.engine.trainable import ArmSpec
from oocr.engine.training import fit, fit_all
from oocr.engine.training_batches import prepare
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.engine.test_training import model_of
from tests.tiny.models import tensors_of

MODULES = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "qwen3_moe": "o_proj", "bloom": "o_proj"}
SPANS = {"codename": "Country 4821", "other": "capital"}
PROMPTS = (
    "The capital of Country 4821 is",
    "In Country 4821 the capital",
    "A Parliament in the capital of Country 4821 meets in the city of",
    "Country 4821 has a capital city and the people of Country 4821 love",
    "capital yen euro Country 4821",
)
RATES = {"vector": 0.05, "adapter": 3e-3}


def task(loss: Loss = "answer", answer: str = " Paris, France") -> Task:
    train = tuple(
        Example(
            id=str(i),
            prompt=prompt,
            answer=answer,
            options=(answer, " Tokyo", " Rome")[: 3 - i % 2] if loss == "options" else (),
            spans=SPANS,
        )
        for i, prompt in enumerate(PROMPTS)
    )
    return Task(name="t", member="x", train=train, loss=loss)


def spec_of(kind: str, family: str) -> SteeringVector | LowRankAdapter:
    module = MODULES.get(family, "down_proj")
    return {
        "span": SteeringVector(1, "codename"),
        "last": SteeringVector(0, "last"),
        "all": SteeringVector(-1, "all"),
        "two spans": SteeringVector(2, "codename+other"),
        "mlp": SteeringVector(2, "from:codename", site="mlp"),
        "lora": LowRankAdapter(layers=(1, 2), rank=2, alpha=3, modules=(module,)),
    }[kind]


def close(fast: Any, final: Vector | Adapter, losses: list[float]) -> None:
    torch.testing.assert_close(
        torch.tensor(fast.losses), torch.tensor(losses), rtol=1e-4, atol=1e-5
    )
    for mine, theirs in zip(tensors_of(fast.final), tensors_of(final), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("kind", ["span", "last", "all", "two spans", "mlp", "lora"])
@pytest.mark.parametrize("loss", ["answer", "options"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "gpt_neox", "qwen3_moe"])
def test_the_fast_loop_takes_the_plain_ones_steps(family: str, loss: Loss, kind: str) -> None:
    model, spec = model_of(family), spec_of(kind, family)
    rate = RATES["adapter" if isinstance(spec, LowRankAdapter) else "vector"]
    final, losses = plain_fit(model, task(loss), spec, rate=rate, steps=7, seed=3, size=2)
    close(fit(model, task(loss), spec, steps=7, seed=3, batch_lines=2), final, losses)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["span", "last", "lora"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_arms_side_by_side_take_the_plain_ones_steps(family: str, kind: str) -> None:
    model, spec = model_of(family), spec_of(kind, family)
    tasks = [task(answer=answer) for answer in (" Paris", " Rome", " Tokyo")]
    rates = (0.01, 0.02, 0.005)
    arms = [
        ArmSpec(t, spec, rate, 5, i) for i, (t, rate) in enumerate(zip(tasks, rates, strict=True))
    ]
    prepared = [prepare(model, t, [1, 2]) for t in tasks]
    for arm, fast in zip(arms, fit_all(model, arms, prepared), strict=True):
        rate = arm.learning_rate or 0.0
        final, losses = plain_fit(model, arm.task, spec, rate=rate, steps=5, seed=arm.seed, size=16)
        close(fast, final, losses)
