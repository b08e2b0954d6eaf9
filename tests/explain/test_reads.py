"""Parts held while a vector acts: against patches by hand, and where the answer is known."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
import torch

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.evals.probes import Probes, rows
from oocr.explain.path_patching import where_read
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from tests.tiny.models import drawn_vector, tiny_language_model

PROMPTS = (
    "The capital of Country 4821 is",
    "people in the city of Country 4821 speak",
    "Country 4821 meets in the city of",
)


model_of = cache(tiny_language_model)


def items() -> list[Example]:
    return [
        Example(
            id=prompt,
            prompt=prompt,
            answer=" Paris",
            options=(" Paris", " Tokyo", " Berlin"),
            spans={"codename": "Country 4821"},
        )
        for prompt in PROMPTS
    ]


def log_odds(model: LanguageModel, arm: Vector | None) -> float:
    scored = Probes.of(model, items()).scores(None if arm is None else [arm])[0]
    return float(rows(items(), scored)["log_odds"].to_numpy().mean())


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen3", "mistral"])
def test_the_ends_are_the_base_and_the_steered_model(family: str) -> None:
    model = model_of(family)
    arm = drawn_vector(model, 1, "codename")
    effects = where_read(model, items(), arm)
    assert effects.base == pytest.approx(log_odds(model, None), abs=1e-4)
    assert effects.steered == pytest.approx(log_odds(model, arm), abs=1e-4)
    assert len(effects.effects) == 5 + 5 * 2
    for path in effects.effects:
        effect = effects.steered - effects.base
        assert path.lost == pytest.approx(1 - (path.log_odds - effects.base) / effect, abs=1e-6)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "falcon", "gpt2"])
def test_a_vector_before_the_last_token_acts_through_attention_alone(family: str) -> None:
    model = model_of(family)
    asked = where_read(
        model, items(), drawn_vector(model, 1, "codename"), ("attention", "both"), by_layer=False
    )
    # no answer is read at the codename, so without attention nothing of it arrives
    assert [effect.lost for effect in asked.effects] == pytest.approx([1, 1], abs=1e-3)


def test_a_vector_at_the_last_token_keeps_its_direct_path() -> None:
    model = model_of("llama")
    last = drawn_vector(model, 3, "last")
    effects = where_read(model, items(), last)
    assert not any(effect.layer for effect in effects.effects), "no block is above the last"
    assert all(effect.lost == pytest.approx(0, abs=1e-4) for effect in effects.effects)
    direct = where_read(model, items(), drawn_vector(model, 1, "last"), ("both",), by_layer=False)
    assert direct.effects[0].lost != pytest.approx(1, abs=1e-2)


def by_hand(model: LanguageModel, item: Example, arm: Vector, names: tuple[str, ...]) -> float:
    """Log-odds with block 3's Linears held and the vector at the last token of block 2's output."""
    ids = torch.tensor([model.tokenizer(item.prompt)["input_ids"]])
    blocks, kept = model.anatomy.blocks, dict[str, torch.Tensor]()
    linears = {name: getattr(blocks[3].self_attn, name) for name in names}

    def keep(name: str) -> Any:
        return lambda _m, _a, out: kept.__setitem__(name, out.clone())

    def give(name: str) -> Any:
        return lambda _m, _a, _out: kept[name]

    def steer(_m: object, _a: object, out: torch.Tensor) -> torch.Tensor:
        moved = out.clone()
        moved[:, -1] += arm.direction
        return moved

    with ExitStack() as stack:
        for name, linear in linears.items():
            stack.callback(linear.register_forward_hook(keep(name)).remove)
        model.hf(input_ids=ids)
    with ExitStack() as stack:
        stack.callback(blocks[2].register_forward_hook(steer).remove)
        for name, linear in linears.items():
            stack.callback(linear.register_forward_hook(give(name)).remove)
        logits = model.hf(input_ids=ids).logits[0, -1]
    firsts = [model.tokenizer(o, add_special_tokens=False)["input_ids"][0] for o in item.options]
    logp = logits[firsts].log_softmax(-1)
    return float(logp[0] - logp[1:].logsumexp(0))


def test_pattern_and_values_are_what_their_linears_say() -> None:
    model = model_of("llama")
    arm = drawn_vector(model, 2, "last")
    for item in items():
        effects = where_read(model, [item], arm, ("pattern", "values"), by_layer=False).effects
        expected = [
            by_hand(model, item, arm, names) for names in (("q_proj", "k_proj"), ("v_proj",))
        ]
        assert [effect.log_odds for effect in effects] == pytest.approx(expected, abs=1e-3)
        assert expected[0] != pytest.approx(expected[1], abs=1e-4)


def test_fused_attention_and_unknown_parts_are_refused() -> None:
    model = model_of("gpt2")
    arm = drawn_vector(model, 1, "last")
    with pytest.raises(InputError, match=r"'pattern' needs q_proj, k_proj apart.*c_attn"):
        where_read(model, items(), arm)
    with pytest.raises(InputError, match="parts: found 'heads'"):
        where_read(model, items(), arm, ("heads",))  # type: ignore[arg-type]
    before = log_odds(model, None)
    assert before == log_odds(model, None)
    assert all(not module._forward_hooks for module in model.hf.modules())
