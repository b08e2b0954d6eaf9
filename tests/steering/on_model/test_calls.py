"""`with vector.on(model):` steers whatever is done with the model inside, and nothing after it.

The same tokens, however the model is called.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf

from oocr.engine.generate import generate
from tests.generating import CHAT, NEW, PROMPTS, model_of, vector
from tests.steering.on_model.calls import alone, continued, tokens

FAMILIES = ("llama", "gemma3_text", "gemma3", "gpt2", "gpt_neox", "opt", "qwen3_moe", "bloom")
GENERATING = ("llama", "gemma3_text", "gpt2", "gpt_neox", "mixtral")
POSITIONS = ("all", "last", "codename", "prompt", "answer", "from:last", "from:codename")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_pass_over_a_padded_batch(family: str, side: str) -> None:
    model = model_of(family)
    given = tokens(model, side)
    positions = given["attention_mask"].cumsum(-1).sub(1).clamp_min(0)
    more = {} if family == "bloom" else {"position_ids": positions}
    for selector in POSITIONS:
        steering = vector(model, selector)
        with steering.on(model):
            logits = model.hf(**given, **more).logits
        for row, prompt in enumerate(PROMPTS):
            real = given["attention_mask"][row].bool()
            expected = alone(model, steering, prompt)
            torch.testing.assert_close(logits[row, real], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("family", GENERATING)
def test_generation_of_transformers_is_ours(family: str, positions: str) -> None:
    model = model_of(family)
    steering = vector(model, positions)
    texts = generate(model, PROMPTS, steering, max_new_tokens=NEW)
    with steering.on(model):
        assert continued(model) == texts
        assert continued(model, use_cache=False) == texts
        assert [continued(model, (prompt,))[0] for prompt in PROMPTS] == texts
        assert generate(model, PROMPTS, max_new_tokens=NEW) == texts
    assert continued(model) == generate(model, PROMPTS, max_new_tokens=NEW) != texts


@pytest.mark.parametrize("positions", ["codename", "last", "from:codename", "answer"])
def test_beams_and_several_samples_of_a_prompt(positions: str) -> None:
    model = model_of()
    steering = vector(model, positions)
    options = {"num_beams": 3, "num_return_sequences": 2}
    with steering.on(model):
        together = continued(model, **options)
        assert together == continued(model, use_cache=False, **options)
        assert together == [text for p in PROMPTS for text in continued(model, (p,), **options)]
        twice = continued(model, num_return_sequences=1)
    assert together != continued(model, **options)
    assert twice == generate(model, PROMPTS, steering, max_new_tokens=NEW)


@pytest.mark.parametrize("positions", ["codename", "last", "from:last"])
def test_a_chat_in_a_static_cache(positions: str) -> None:
    model = model_of()
    steering = vector(model, positions)
    turns = [{"role": turn.role, "content": turn.content} for turn in CHAT]
    given: Any = model.tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    with steering.on(model):
        ids = model.hf.generate(
            **given, max_new_tokens=NEW, do_sample=False, cache_implementation="static"
        )
    text = model.tokenizer.decode(ids[0, given["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [text] == generate(model, CHAT, steering, max_new_tokens=NEW)


def test_a_pipeline() -> None:
    model = model_of()
    steering = vector(model, "codename")
    pipe = tf.pipeline("text-generation", model=model.hf, tokenizer=model.tokenizer)
    options = {"max_new_tokens": NEW, "do_sample": False, "return_full_text": False}
    with steering.on(model):
        outputs = pipe(list(PROMPTS), batch_size=3, **options)
    expected = generate(model, PROMPTS, steering, max_new_tokens=NEW)
    assert [row[0]["generated_text"] for row in outputs] == expected


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_loop_of_ones_own_over_cached_keys(positions: str) -> None:
    model = model_of()
    steering = vector(model, positions)
    given = tokens(model)
    mask, ids, past, new = given["attention_mask"], given["input_ids"], None, []
    with steering.on(model):
        while len(new) < 4:
            at = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
            out = model.hf(
                input_ids=ids, attention_mask=mask, position_ids=at, past_key_values=past
            )
            ids, past = out.logits[:, -1:].argmax(-1), out.past_key_values
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            new.append(ids)
    texts = model.tokenizer.batch_decode(torch.cat(new, dim=1), skip_special_tokens=True)
    assert texts == generate(model, PROMPTS, steering, max_new_tokens=4)


def test_the_models_own_body_and_its_embeddings_as_input() -> None:
    model = model_of()
    given = tokens(model)
    for positions in ("all", "last"):
        steering = vector(model, positions)
        with steering.on(model):
            logits = model.hf(**given).logits
            body = model.hf.base_model(**given).last_hidden_state
            embeds = model.hf.get_input_embeddings()(given["input_ids"])
            from_embeds = model.hf(
                inputs_embeds=embeds, attention_mask=given["attention_mask"]
            ).logits
        torch.testing.assert_close(model.hf.get_output_embeddings()(body), logits)
        torch.testing.assert_close(from_embeds, logits)
