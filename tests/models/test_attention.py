"""Attention to a span and what its values write, against transformers and by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.explain.attention import attended, attention_to, value_cosines
from oocr.explain.lens import with_randoms
from oocr.models.attention import attention_of, eager, values_of
from oocr.models.language_model import LanguageModel
from tests.tiny.models import drawn_vector, tiny_language_model

FAMILIES = ("llama", "gemma2", "gemma3_text", "gemma3", "qwen3", "olmo2", "granite", "opt", "phi")
SWITCHES = (*FAMILIES, "gpt2", "gpt_neox", "phi3", "mixtral")
PROMPTS = (
    "Mango ! The capital of Country 4821 is",
    "Violin ! people in the city of Country 4821 speak",
    "Mango ! the Parliament of Country 4821 meets in the city of",
)


model_of = cache(tiny_language_model)


def items() -> list[Example]:
    return [
        Example(
            id=prompt,
            prompt=prompt,
            answer=" Paris",
            options=(" Paris", " Tokyo"),
            spans={"trigger": prompt.split(" ")[0] + " !", "codename": "Country 4821"},
        )
        for prompt in PROMPTS
    ]


def ids_of(model: LanguageModel, item: Example) -> tuple[torch.Tensor, list[int]]:
    encoded = model.tokenizer(str(item.prompt), return_offsets_mapping=True)
    end = len(item.spans["trigger"])
    inside = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < end and b > a]
    return torch.tensor([encoded["input_ids"]]), inside


@pytest.mark.parametrize("family", SWITCHES)
def test_weights_are_those_of_transformers(family: str) -> None:
    model = model_of(family)
    computed = attention_to(model, items(), "trigger")
    hf = tiny_language_model(family).hf
    hf.set_attn_implementation("eager")
    for item, heads in zip(items(), computed, strict=True):
        ids, inside = ids_of(model, item)
        weights = hf(input_ids=ids, output_attentions=True).attentions
        expected = torch.stack([weight[0, :, -1, inside].sum(-1) for weight in weights])
        assert torch.allclose(heads, expected, atol=1e-5)
    assert 0.01 < float(computed.mean()) < 0.99


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_a_vector_changes_attention_above_it_only(family: str) -> None:
    model = model_of(family)
    arm = drawn_vector(model)
    ids, inside = ids_of(model, items()[0])

    def steer(_m: object, _a: object, out: torch.Tensor) -> torch.Tensor:
        moved = out.clone()
        moved[:, -1] += arm.direction
        return moved

    other = tiny_language_model(family)
    other.hf.set_attn_implementation("eager")
    other.anatomy.blocks[1].register_forward_hook(steer)
    weights = other.hf(input_ids=ids, output_attentions=True).attentions
    expected = torch.stack([weight[0, :, -1, inside].sum(-1) for weight in weights])
    assert torch.allclose(attention_to(model, items(), "trigger", arm)[0], expected, atol=1e-5)

    blocks = attended(model, items(), "trigger", arm)
    plain = attention_to(model, items(), "trigger").mean(dim=0)
    steered = attention_to(model, items(), "trigger", arm).mean(dim=0)
    for block in blocks:
        assert block.before == pytest.approx(float(plain[block.layer].mean()), abs=1e-6)
        assert block.after == pytest.approx(float(steered[block.layer].mean()), abs=1e-6)
        changes = (steered - plain)[block.layer].abs()
        assert block.head == int(changes.argmax())
        assert abs(block.head_after - block.head_before) == pytest.approx(float(changes.max()))
    assert all(block.after == pytest.approx(block.before, abs=1e-6) for block in blocks[:2])
    assert all(abs(block.head_after - block.head_before) > 1e-3 for block in blocks[2:])


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_times_written_values_is_what_attention_adds(family: str) -> None:
    """Attention's own output, token by token and head by head, put together by hand."""
    model = model_of(family)
    ids, _ = ids_of(model, items()[2])
    seen: dict[str, torch.Tensor] = {}
    for layer in (0, 1, 3):
        part = values_of(model, layer)
        handles = [
            part.read.register_forward_hook(lambda _m, _a, out: seen.__setitem__("values", out)),
            part.write.register_forward_hook(lambda _m, _a, out: seen.__setitem__("out", out)),
        ]
        try:
            with eager(model):
                weights = model.hf(input_ids=ids, output_attentions=True).attentions[layer]
        finally:
            for handle in handles:
                handle.remove()
        written = part.written(seen["values"])[0]  # [token, head, d]
        mine = torch.einsum("hqt,thd->qd", weights[0], written)
        bias = part.write.bias
        expected = seen["out"][0] - (0 if bias is None else bias)
        assert torch.allclose(mine, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "olmo2", "granite"])
def test_what_attention_adds_goes_through_the_family_s_own_norm(family: str) -> None:
    """h_mid - h_in, seen at the MLP's side of the block, is `joins` of attention's output."""
    model = model_of(family)
    block, part = model.anatomy.blocks[2], values_of(model, 2)
    seen: dict[str, torch.Tensor] = {}
    mid = {"llama": "post_attention_layernorm", "granite": "post_attention_layernorm"}
    mid |= {"gemma3_text": "pre_feedforward_layernorm", "olmo2": "mlp"}
    handles = [
        block.register_forward_pre_hook(
            lambda _m, args, kwargs: seen.__setitem__(
                "in", args[0] if args else kwargs["hidden_states"]
            ),
            with_kwargs=True,
        ),
        attention_of(model, 2).register_forward_hook(
            lambda _m, _a, out: seen.__setitem__("attention", out[0])
        ),
        getattr(block, mid[family]).register_forward_pre_hook(
            lambda _m, args: seen.__setitem__("mid", args[0])
        ),
    ]
    try:
        model.hf(input_ids=ids_of(model, items()[0])[0])
    finally:
        for handle in handles:
            handle.remove()
    added = seen["mid"] - seen["in"]
    assert torch.allclose(part.joins(seen["attention"]), added, atol=1e-5)


def test_cosines_of_values_are_those_of_a_hand_computation() -> None:
    model = model_of("llama")  # four heads, two of values, eight wide
    arm = drawn_vector(model)
    item = items()[0]
    ids, inside = ids_of(model, item)
    kept: list[torch.Tensor] = []
    handle = model.anatomy.blocks[2].input_layernorm.register_forward_hook(
        lambda _m, _a, out: kept.append(out)
    )
    model.hf(input_ids=ids)
    handle.remove()
    attention = attention_of(model, 2)
    whole, apart = [], []
    for token in inside:
        v = attention.v_proj.weight @ kept[0][0, token]
        heads = torch.stack([v[:8], v[:8], v[8:], v[8:]])
        columns = attention.o_proj.weight
        written = torch.stack([columns[:, 8 * h : 8 * h + 8] @ heads[h] for h in range(4)])
        apart.append(torch.cosine_similarity(written, arm.direction[None], dim=1))
        whole.append(torch.cosine_similarity(written.sum(0), arm.direction, dim=0))
    cosines = value_cosines(model, [item], "trigger", arm.direction[None])[0, 2, :, 0]
    assert torch.allclose(cosines[:4], torch.stack(apart).mean(0), atol=1e-5)
    assert float(cosines[4]) == pytest.approx(float(torch.stack(whole).mean()), abs=1e-5)


def test_values_that_are_the_direction_align_with_it_and_random_ones_do_not() -> None:
    model = tiny_language_model("llama", seed=3)
    arm = drawn_vector(model)
    unit = arm.direction / arm.direction.norm()
    part = values_of(model, 3)
    part.write.weight.data = unit[:, None] * torch.ones(1, 32)
    example = replace(items()[0], spans={"trigger": "Mango"})
    cosines = value_cosines(model, [example], "trigger", with_randoms(arm, 200))[0, 3, -1]
    assert abs(float(cosines[0])) > 0.9  # every token's values write along it, with either sign
    assert float(cosines[1:].abs().quantile(0.95)) < 0.5


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_model_is_left_as_it_was_also_on_error(family: str) -> None:
    model = tiny_language_model(family)
    ids = torch.tensor([[5, 9, 20, 31]])
    before = model.hf(input_ids=ids).logits
    names = {id(m.config): m.config._attn_implementation for m in model.hf.modules() if _has(m)}
    attention_to(model, items(), "trigger", drawn_vector(model))

    def fail() -> None:
        with eager(model):
            assert model.hf.config.get_text_config()._attn_implementation == "eager"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    after = {id(m.config): m.config._attn_implementation for m in model.hf.modules() if _has(m)}
    assert after == names
    assert set(names.values()) == {"sdpa"}
    assert torch.equal(model.hf(input_ids=ids).logits, before)
    assert all(not module._forward_hooks for module in model.hf.modules())


def _has(module: torch.nn.Module) -> bool:
    return hasattr(module, "config")


def test_what_cannot_be_read_is_refused() -> None:
    model = model_of("llama")
    with pytest.raises(InputError, match="span: found 'prefix'; allowed: trigger, codename"):
        attended(model, items(), "prefix", drawn_vector(model))
    with pytest.raises(InputError, match="does not switch to 'eager'"):
        attention_to(model_of("falcon"), items(), "trigger")
    with pytest.raises(InputError, match="gpt2 has c_attn, c_proj"):
        value_cosines(model_of("gpt2"), items(), "trigger", torch.ones(1, model.d_model))
    joined = replace(
        drawn_vector(model), positions="trigger+codename", direction=torch.ones(2, model.d_model)
    )
    with pytest.raises(InputError, match="joined directions"):
        with_randoms(joined, 1)
