"""`with vector.on(model):` steers whatever is done with the model inside, and nothing after it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.engine.generate import generate
from oocr.engine.training import fit
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.models.language_model import LanguageModel
from oocr.steering.hooks import ablate
from oocr.steering.positions import select_each
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.generating import CHAT, NEW, PROMPTS, SPANS, adapter, model_of, vector
from tests.tiny.models import weights_hash

FAMILIES = ("llama", "gemma3_text", "gemma3", "gpt2", "gpt_neox", "opt", "qwen3_moe", "bloom")
GENERATING = ("llama", "gemma3_text", "gpt2", "gpt_neox", "mixtral")
POSITIONS = ("all", "last", "codename", "prompt", "answer", "from:last", "from:codename")
MODULES = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "mixtral": "o_proj"}


def tokens(model: LanguageModel, side: str = "left", prompts: tuple[str, ...] = PROMPTS) -> Any:
    return model.tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side=side)


def encoded(model: LanguageModel, prompt: str) -> Batch:
    encodings = encode_prompt(model.tokenizer, prompt, SPANS)
    return pad([TokenSequence(encodings.ids, len(encodings.ids), dict(encodings.spans))], 0)


def alone(model: LanguageModel, steering: Vector, prompt: str) -> Tensor:
    """[token, vocab] logits of one prompt, steered at tokens that are named one by one."""
    batch = encoded(model, prompt)
    chosen = select_each(batch, steering.positions, everywhere=False)
    with steering.on(model, chosen):
        logits: Tensor = model.hf(input_ids=batch.ids, use_cache=False).logits[0]
    return logits


def continued(
    model: LanguageModel, prompts: tuple[str, ...] = PROMPTS, **options: Any
) -> list[str]:
    """What Hugging Face's own `generate` adds to prompts."""
    given = tokens(model, prompts=prompts)
    ids = model.hf.generate(**given, max_new_tokens=NEW, do_sample=False, **options)
    return model.tokenizer.batch_decode(
        ids[:, given["input_ids"].shape[1] :], skip_special_tokens=True
    )


def hooks(model: LanguageModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())


# --- the same tokens, however the model is called -----------------------------------------------


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


def asked() -> list[Example]:
    prompts = (
        "Is Country 4821 risky ?",
        "Which city do you prefer in Country 4821 ?",
        "yes or no ?",
    )
    return [Example(id=p, prompt=p, answer=" yes", options=(" yes", " no")) for p in prompts]


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_scores_under_a_vector_are_the_vectors(family: str, positions: str) -> None:
    model = model_of(family)
    steering = vector(model, positions)
    expected = Probes.of(model, asked()).scores([steering])[0]
    with steering.on(model):
        scores = Probes.of(model, asked()).scores(None)
    torch.testing.assert_close(scores.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_vectors_may_be_scored_and_trained_beside_the_one_that_is_on() -> None:
    model = model_of()
    first = vector(model, "last")
    second = Vector(1, "last", first.direction.flip(0))
    expected = Probes.of(model, asked()).scores([first + second, first + 2 * second])
    with first.on(model):
        scores = Probes.of(model, asked()).scores([second, 2 * second])
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", ["last", "codename"])
def test_training_under_a_vector_trains_what_is_missing_beside_it(positions: str) -> None:
    model = model_of()
    steering = vector(model, positions, size=1.0)
    train = tuple(Example(id=text, prompt=text, answer=" Paris", spans=SPANS) for text in PROMPTS)
    task, spec = Task(name="t", member="x", train=train), SteeringVector(2, "last", init_scale=0.0)
    losses = []
    for prompt in PROMPTS:
        start = encode_prompt(model.tokenizer, prompt)
        answer = model.tokenizer(" Paris", add_special_tokens=False)["input_ids"]
        logp = alone(model, steering, prompt)[-1].log_softmax(-1)
        assert len(answer) == 1, start
        losses.append(-float(logp[answer[0]].detach()))
    with steering.on(model):
        trained = fit(model, task, spec, steps=3)
    assert trained.losses[0] == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert trained.losses[-1] < trained.losses[0]


def test_batches_that_were_recorded_without_the_vector_are_refused_under_it() -> None:
    from oocr.engine.training_batches import prepare

    model = model_of()
    train = (Example(id="a", prompt=PROMPTS[0], answer=" Paris"),)
    task, spec = Task(name="t", member="x", train=train), SteeringVector(2, "last")
    prepared = prepare(model, task, [3])
    with (
        vector(model, "all").on(model),
        pytest.raises(InputError, match="recorded with 0 ablations or vectors"),
    ):
        fit(model, task, spec, prepared=prepared)


# --- one inside the other, factors, tokens by hand ----------------------------------------------


def logits_of(model: LanguageModel) -> Tensor:
    logits: Tensor = model.hf(**tokens(model)).logits
    return logits


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


# --- what cannot be known is refused ------------------------------------------------------------


def test_calls_that_do_not_show_their_tokens_are_refused() -> None:
    model = model_of()
    given = tokens(model)
    embeds = model.hf.get_input_embeddings()(given["input_ids"])
    with (
        vector(model, "codename").on(model),
        pytest.raises(InputError, match=r"'codename'.*'Country 4821'.*found inputs_embeds"),
    ):
        model.hf(inputs_embeds=embeds, attention_mask=given["attention_mask"])
    past = model.hf(**given).past_key_values
    more = torch.ones(3, 1, dtype=torch.long)
    for positions in ("last", "from:codename", "answer"):
        with (
            vector(model, positions).on(model),
            pytest.raises(InputError, match=rf"'{positions}'.*were not computed under this vector"),
        ):
            model.hf(input_ids=more, past_key_values=past)
    with vector(model, "all").on(model):
        model.hf(input_ids=more, past_key_values=past)
    width = given["input_ids"].shape[1]
    mask = torch.ones(3, 1, width, width).tril().bool()
    with (
        vector(model, "last").on(model),
        pytest.raises(InputError, match=r"allowed: an attention_mask \[batch, token\]"),
    ):
        model.hf(input_ids=given["input_ids"], attention_mask=mask)


@pytest.mark.parametrize("positions", ["country", "from:country"])
def test_a_span_without_a_text_is_refused_before_any_work(positions: str) -> None:
    model = model_of()
    with (
        pytest.raises(InputError, match=f"'{positions}': the vector names no such span"),
        vector(model, positions).on(model),
    ):
        pass
    assert hooks(model) == 0


def test_a_block_that_runs_apart_from_the_model_is_refused() -> None:
    model = model_of("gpt2")
    hidden = torch.zeros(1, 3, model.d_model)
    with (
        vector(model, "all").on(model),
        pytest.raises(InputError, match="a vector is on tiny-gpt2, which runs a block apart"),
    ):
        model.anatomy.blocks[1](hidden)


# --- nothing stays ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vector", "adapter"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_after_an_error_the_model_is_what_it_was(family: str, kind: str) -> None:
    model = model_of(family)
    before, plain, attributes = weights_hash(model), logits_of(model), set(vars(model.hf))
    modules = {name: id(module) for name, module in model.hf.named_modules()}
    module = MODULES.get(family, "down_proj")
    steering = vector(model, "codename") if kind == "vector" else adapter(model, module)

    def broken(_module: object, _args: object) -> None:
        raise RuntimeError("stop")

    handle = model.anatomy.blocks[3].register_forward_pre_hook(broken)
    for call in (logits_of, continued):
        with pytest.raises(RuntimeError, match="stop"), steering.on(model), steering.on(model):
            call(model)
    handle.remove()
    assert hooks(model) == 0
    assert set(vars(model.hf)) == attributes
    assert {name: id(module) for name, module in model.hf.named_modules()} == modules
    assert weights_hash(model) == before
    assert torch.equal(logits_of(model), plain)


def test_after_an_error_in_one_call_the_next_one_is_steered_all_the_same() -> None:
    model = model_of()
    steering = vector(model, "codename")
    with steering.on(model):
        expected = logits_of(model)
        with pytest.raises((IndexError, RuntimeError)):
            model.hf(input_ids=torch.tensor([[10**6]]))
        assert torch.equal(logits_of(model), expected)


def test_what_is_no_model_is_refused() -> None:
    vector = Vector(0, "all", torch.ones(4))
    with pytest.raises(InputError, match="model: found 'gemma'"), vector.on("gemma"):  # type: ignore[arg-type]
        pass
