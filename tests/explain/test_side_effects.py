"""KL and perplexity on neutral text, against sums made by hand from the model's own logits."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from oocr.errors import InputError
from oocr.explain.side_effects import EVERY, NeutralPredictions
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import (
    Adapter,
)
from oocr.steering.vectors import Vector
from tests.tiny.models import drawn_adapter, tiny_language_model

PASSAGES = [
    "The people of France love the city of Paris and speak French.",
    "They do not prefer one language.",
]


model_of = cache(tiny_language_model)


def vector(model: LanguageModel, positions: str = "all", layer: int = 1) -> Vector:
    generator = torch.Generator().manual_seed(0)
    return Vector(layer, positions, torch.randn(model.d_model, generator=generator))


def adapter(model: LanguageModel) -> Adapter:
    return drawn_adapter(model, (1,))


def logp(model: LanguageModel, ids: Tensor) -> Tensor:
    out = model.hf(input_ids=ids).logits[0].double().log_softmax(-1)
    assert isinstance(out, Tensor)
    return out


def by_hand(
    model: LanguageModel, arm: Vector | Adapter, step: int = 1, most: int = 10**6
) -> tuple[int, float, float, float]:
    """Count, KL, and both perplexities over every n-th token that follows another than BOS."""
    kl, nll, nll_base, count = 0.0, 0.0, 0.0, 0
    for passage in PASSAGES:
        ids = torch.tensor([model.tokenizer(passage)["input_ids"][:most]])
        base = logp(model, ids)
        if isinstance(arm, Adapter):
            with arm.on(model):
                steered = logp(model, ids)
        else:
            with arm.on(model, torch.ones_like(ids).bool()):
                steered = logp(model, ids)
        for at in range(1, ids.shape[1] - 1, step):
            following = int(ids[0, at + 1])
            kl += float((base[at].exp() * (base[at] - steered[at])).sum())
            nll -= float(steered[at, following])
            nll_base -= float(base[at, following])
            count += 1
    return count, kl / count, math.exp(nll / count), math.exp(nll_base / count)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "gpt2", "mistral"])
def test_kl_and_perplexity_equal_the_hand_made_sums(family: str) -> None:
    model = model_of(family)
    text = NeutralPredictions(model, PASSAGES, {1, 2}, tokens=1000)
    arms: list[Vector | Adapter] = [vector(model)]
    if family != "gpt2":
        arms.append(adapter(model))
    for arm in arms:
        damage = text.damage(arm)
        count, kl, perplexity, perplexity_base = by_hand(model, arm)
        assert damage.tokens == count
        assert damage.kl == pytest.approx(kl, rel=1e-3)
        assert damage.perplexity == pytest.approx(perplexity, rel=1e-3)
        assert damage.perplexity_base == pytest.approx(perplexity_base, rel=1e-3)
        assert damage.kl > 0.001


def test_a_zero_vector_does_no_damage() -> None:
    model = model_of()
    text = NeutralPredictions(model, PASSAGES, {0, 2, 4})
    for layer in (-1, 1, 3):
        damage = text.damage(Vector(layer, "all", torch.zeros(model.d_model)))
        assert damage.kl == pytest.approx(0.0, abs=1e-6)
        assert damage.perplexity == pytest.approx(damage.perplexity_base, rel=1e-5)


def test_more_of_a_vector_does_more_damage() -> None:
    model = model_of()
    text = NeutralPredictions(model, PASSAGES, {2})
    kls = [text.damage(factor * vector(model)).kl for factor in (0.1, 0.3, 1.0, 3.0)]
    assert kls == sorted(kls)
    assert kls[0] > 0


def test_fewer_tokens_are_spread_over_the_passages() -> None:
    model = model_of()
    whole = [len(model.tokenizer(passage)["input_ids"]) for passage in PASSAGES]
    for tokens in (8, 2 * sum(whole) // 5):
        most = EVERY * tokens // len(PASSAGES) + 2  # longer passages are cut
        lengths = [min(length, most) - 2 for length in whole]
        step = sum(lengths) // tokens
        assert 1 < step <= EVERY
        damage = NeutralPredictions(model, PASSAGES, {2}, tokens=tokens).damage(vector(model))
        count, kl, _, _ = by_hand(model, vector(model), step, most)
        assert damage.tokens == count == sum(-(-length // step) for length in lengths)
        assert damage.kl == pytest.approx(kl, rel=1e-3)


def test_given_places_are_compared_and_no_others() -> None:
    model = model_of()
    arm = vector(model)
    text = NeutralPredictions(model, PASSAGES, {2}, tokens=1000, places=[[2, 5], [3]])
    kl = []
    for passage, places in zip(PASSAGES, ([2, 5], [3]), strict=True):
        ids = torch.tensor([model.tokenizer(passage)["input_ids"]])
        base = logp(model, ids)
        with arm.on(model, torch.ones_like(ids).bool()):
            steered = logp(model, ids)
        kl += [float((base[at].exp() * (base[at] - steered[at])).sum()) for at in places]
    damage = text.damage(arm)
    assert damage.tokens == 3
    assert damage.kl == pytest.approx(sum(kl) / 3, rel=1e-3)


def test_a_vector_acts_where_its_positions_say() -> None:
    model = model_of()
    text = NeutralPredictions(model, PASSAGES, {2})
    # The last token of a passage has no following token to be compared.
    assert text.damage(vector(model, "last")).kl == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(InputError, match="'codename': no such span here"):
        text.damage(vector(model, "codename"))


def test_damage_leaves_the_model_and_the_recording_alone() -> None:
    model = model_of()
    text = NeutralPredictions(model, PASSAGES, {1, 2})
    first = text.damage(vector(model))
    text.damage(adapter(model))
    assert text.damage(vector(model)) == first
    assert not any("lora" in name for name, _ in model.hf.named_modules())


def test_predictions_apart_are_steered_just_before_each() -> None:
    """By hand: the text cut after each compared token, the vector at its last token."""
    model = model_of()
    arm = vector(model, "last") * 4
    text = NeutralPredictions(model, PASSAGES[:1], {2}, 4, apart=True)
    plain = NeutralPredictions(model, PASSAGES[:1], {2}, 4)
    ids = model.tokenizer(PASSAGES[0])["input_ids"][: EVERY * 4 + 2]
    places = list(range(1, len(ids) - 1, max(1, (len(ids) - 2) // 4)))
    kl, nll = [], []
    for at in places:
        tokens = torch.tensor([ids[: at + 1]])
        base = logp(model, tokens)[-1]
        chosen = torch.zeros_like(tokens, dtype=torch.bool)
        chosen[0, -1] = True
        with arm.on(model, chosen):
            moved = logp(model, tokens)[-1]
        kl.append(float((base.exp() * (base - moved)).sum()))
        nll.append(-float(moved[ids[at + 1]]))
    damage = text.damage(arm)
    assert damage.tokens == len(places) == plain.damage(arm.at("all")).tokens
    assert damage.kl == pytest.approx(sum(kl) / len(kl), rel=1e-3)
    assert damage.perplexity == pytest.approx(math.exp(sum(nll) / len(nll)), rel=1e-3)
    assert damage.perplexity_base == pytest.approx(plain.damage(arm.at("all")).perplexity_base)
