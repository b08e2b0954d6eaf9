"""Vectors on one model: one inside the other, factors, tokens by hand, spans."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from oocr.data.batches import TokenSequence, pad
from oocr.engine.generate import generate
from oocr.errors import InputError
from oocr.steering.hooks import ablate
from oocr.steering.vectors import Vector
from tests.generating import NEW, PROMPTS, SPANS, model_of, vector
from tests.steering.on_model.calls import continued, logits_of, tokens


def test_vectors_on_one_model_add_up() -> None:
    model = model_of()
    a, b = vector(model, "codename"), vector(model, "codename").at("codename") * -0.3
    b = Vector(1, "codename", b.direction.flip(0), spans=SPANS)
    with (a + b).on(model):
        expected = logits_of(model)
    with a.on(model):
        alone = logits_of(model)
        with b.on(model):
            torch.testing.assert_close(logits_of(model), expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(logits_of(model), alone)
        with a.on(model):
            twice = logits_of(model)
    with (2 * a).on(model):
        torch.testing.assert_close(logits_of(model), twice, rtol=1e-3, atol=1e-3)
    with model.steered(a, scale=2):
        torch.testing.assert_close(logits_of(model), twice, rtol=1e-3, atol=1e-3)


def test_different_positions_sites_and_an_ablation_side_by_side() -> None:
    model = model_of()
    first, second = vector(model, "last", 0), vector(model, "all", 2)
    with first.on(model), second.on(model), ablate(model, second.direction, [3]):
        together = continued(model)
        assert together == [continued(model, (prompt,))[0] for prompt in PROMPTS]
        assert together == continued(model, use_cache=False)


def test_tokens_may_be_named_by_hand() -> None:
    model = model_of()
    given = tokens(model)
    batch = pad([TokenSequence(tuple(ids), len(ids), {}) for ids in given["input_ids"].tolist()], 0)
    steering = vector(model, "all")
    last = torch.zeros_like(batch.mask)
    last[:, -1] = True
    with steering.on(model, last):
        by_hand, plain = continued(model), logits_of(model)
    with steering.at("last").on(model):
        assert continued(model) == by_hand
        torch.testing.assert_close(logits_of(model), plain)
    with (
        steering.on(model, last[:2]),
        pytest.raises(InputError, match="found 2 sequences; the forward call has 3"),
    ):
        logits_of(model)
    with steering.on(model, last[:1]):
        with (
            pytest.raises(InputError, match="found inputs_embeds"),
            vector(model, "codename").on(model),
        ):
            model.hf(inputs_embeds=torch.zeros(1, 2, model.d_model))
        assert torch.equal(logits_of(model), plain), "one row of tokens stands for all rows"


def test_a_span_acts_in_the_prompts_that_have_it() -> None:
    model = model_of()
    prompts = (PROMPTS[0], "The capital of Japan is")
    given = tokens(model, prompts=prompts)
    plain = model.hf(**given).logits
    with vector(model, "codename").on(model):
        steered = model.hf(**given).logits
    assert not torch.allclose(steered[0], plain[0], atol=1e-2)
    assert torch.equal(steered[1], plain[1])


def test_a_transformers_model_with_its_tokenizer() -> None:
    model = model_of()
    steering = vector(model, "codename")
    expected = generate(model, PROMPTS, steering, max_new_tokens=NEW)
    hf: Any = model.hf
    with steering.on(hf, tokenizer=model.tokenizer):
        assert continued(model) == expected
    expected = generate(model, PROMPTS, steering.at("last"), max_new_tokens=NEW)
    with steering.at("last").on(hf):
        assert continued(model) == expected
    with steering.on(hf), pytest.raises(InputError, match="takes the tokenizer"):
        continued(model)
