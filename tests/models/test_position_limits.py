"""Long sequences: positions that run out, and rotary embeddings that turn with the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf

from oocr.engine.generate import generate
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.models.position_limits import PositionLimits, position_limits
from tests.generating import NEW, PROMPTS, model_of, recomputed, vector, with_head
from tests.tiny.models import FAMILIES, tiny_config, tiny_language_model, tiny_tokenizer

ORIGINAL = 14  # the shortest prompt with its new tokens stays below, the others pass it


def turning(kind: str) -> LanguageModel:
    """A tiny model whose rotary embedding changes for sequences of more than ORIGINAL tokens."""
    config: Any = tiny_config("phi3" if kind == "longrope" else "llama")
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10000.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
        config.original_max_position_embeddings = ORIGINAL
        rope["original_max_position_embeddings"] = ORIGINAL
    else:
        config.max_position_embeddings = ORIGINAL
        rope["factor"] = 2.0
    config.rope_parameters = rope
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = tf.AutoModelForCausalLM.from_config(config)
    return with_head(hf.eval().requires_grad_(False), f"tiny-{kind}")


@pytest.mark.parametrize("positions", ["last", "from:codename"])
def test_a_rotary_embedding_that_turns_with_length_is_recomputed(positions: str) -> None:
    model = turning("longrope")
    assert position_limits(model) == PositionLimits(None, ORIGINAL)
    sizes = [len(model.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]
    assert min(sizes) + NEW <= ORIGINAL
    assert max(sizes) > ORIGINAL
    assert any(size <= ORIGINAL < size + NEW - 1 for size in sizes), "one passes it on the way"
    steering = vector(model, positions)
    texts = generate(model, PROMPTS, steering, max_new_tokens=NEW)
    assert texts == [recomputed(model, prompt, steering) for prompt in PROMPTS]
    sampled = generate(model, PROMPTS, steering, max_new_tokens=NEW, temperature=0.7)
    alone = [
        generate(model, prompt, steering, max_new_tokens=NEW, temperature=0.7)[0]
        for prompt in PROMPTS
    ]
    assert sampled == alone


def test_one_that_depends_on_earlier_batches_is_refused_where_it_would() -> None:
    model = turning("dynamic")
    assert position_limits(model) == PositionLimits(ORIGINAL, None)
    with pytest.raises(InputError, match=r"prompt 1 has \d+ tokens.* passes the 14 positions of"):
        generate(model, PROMPTS, max_new_tokens=NEW)
    assert generate(model, PROMPTS[0], max_new_tokens=NEW) == [recomputed(model, PROMPTS[0], None)]


@pytest.mark.parametrize("family", FAMILIES)
def test_only_learned_positions_run_out(family: str) -> None:
    expected = (
        PositionLimits(256, None) if family in ("gpt2", "opt") else PositionLimits(None, None)
    )
    assert position_limits(tiny_language_model(family)) == expected


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_more_tokens_than_positions_are_refused_and_as_many_are_not(family: str) -> None:
    model = model_of(family)
    size = len(model.tokenizer(PROMPTS[0])["input_ids"])
    most = 256 - size + 1
    with pytest.raises(InputError, match=f"allowed: max_new_tokens up to {most}$"):
        generate(model, PROMPTS[0], max_new_tokens=most + 1)
    model.hf.generation_config.eos_token_id = None
    assert generate(model, PROMPTS[0], max_new_tokens=most)


def test_a_padding_token_that_is_not_embedded_is_not_used() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    config = tiny_config("llama")
    config.vocab_size = tokenizer.pad_token_id
    hf = tf.AutoModelForCausalLM.from_config(config)
    model = LanguageModel.of(hf, tokenizer, name="tiny")
    assert model.pad_id == 0
    assert len(generate(model, ["The capital", "The capital of Country 4821 is"])) == 2
