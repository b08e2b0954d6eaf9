"""What cannot be known is refused, and after an error the model is what it was."""

from __future__ import annotations

import pytest
import torch

from oocr.errors import InputError
from oocr.steering.vectors import Vector
from tests.generating import adapter, model_of, vector
from tests.steering.on_model.calls import MODULES, continued, hooks, logits_of, tokens
from tests.tiny.models import weights_hash


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


def test_what_is_no_model_is_refused() -> None:
    vector = Vector(0, "all", torch.ones(4))
    with pytest.raises(InputError, match="model: found 'gemma'"), vector.on("gemma"):  # type: ignore[arg-type]
        pass


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
