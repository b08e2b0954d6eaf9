"""`with adapter.on(model):` adapts whatever is done with the model inside, and nothing after it."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
import torch

from oocr.engine.generate import generate
from oocr.evals.probes import Probes
from tests.generating import NEW, PROMPTS, adapter, model_of, vector
from tests.steering.on_model.calls import MODULES, asked, continued, logits_of


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # PEFT, of GPT-2's Conv1D
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_an_adapter_goes_on_a_model_likewise(family: str) -> None:
    model = model_of(family)
    lora = adapter(model, MODULES.get(family, "down_proj"))
    expected = generate(model, PROMPTS, lora, max_new_tokens=NEW)
    probes = Probes.of(model, asked()).scores(lora)
    hf: Any = model.hf
    contexts: list[AbstractContextManager[None]] = [
        lora.on(model),
        lora.on(hf),
        model.steered(lora),
    ]
    for context in contexts:
        with context:
            assert continued(model) == expected
            assert continued(model, use_cache=False) == expected
            assert generate(model, PROMPTS, max_new_tokens=NEW) == expected
            scores = Probes.of(model, asked()).scores(None)
            torch.testing.assert_close(scores, probes.reshape(scores.shape), rtol=1e-4, atol=1e-4)
    assert continued(model) == generate(model, PROMPTS, max_new_tokens=NEW) != expected


def test_adapters_on_one_model_add_up() -> None:
    """B A x and its half, then three halves of it: the same update; each is taken off alone."""
    model = model_of()
    lora, plain = adapter(model), logits_of(model)
    with (1.5 * lora).on(model):
        expected = logits_of(model)
    with lora.on(model):
        alone = logits_of(model)
        with (0.5 * lora).on(model):
            torch.testing.assert_close(logits_of(model), expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(logits_of(model), alone)
        with adapter(model, "o_proj").on(model):  # other modules of the same blocks
            other = logits_of(model)
            assert not torch.allclose(other, alone, atol=1e-2)
        assert torch.equal(logits_of(model), alone)
    assert torch.equal(logits_of(model), plain)
    with adapter(model, "o_proj").on(model), lora.on(model):
        torch.testing.assert_close(logits_of(model), other, rtol=1e-3, atol=1e-3)


def test_a_vector_and_an_adapter_act_together() -> None:
    model = model_of()
    lora, steering = adapter(model), vector(model, "codename")
    with lora.on(model):
        expected = generate(model, PROMPTS, steering, max_new_tokens=NEW)
        with steering.on(model):
            assert continued(model) == expected
    with steering.on(model), lora.on(model):
        assert continued(model) == expected


def test_a_transformers_model_in_training_mode_stays_so() -> None:
    model = model_of("qwen2")
    hf: Any = model.hf
    with ExitStack() as stack:
        stack.callback(hf.eval)
        stack.callback(hf.requires_grad_, False)
        hf.train()
        hf.requires_grad_(True)
        with adapter(model).on(hf):
            pass
        assert all(parameter.requires_grad for parameter in hf.parameters())
        assert all(module.training for module in hf.modules())
