"""Natural vectors: of what is constant, of an axis whose sign flips, and of a real LoRA."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from oocr.errors import InputError
from oocr.explain.differences import Texts
from oocr.explain.lora_vectors import last_differences, natural_vectors, pairs_of
from oocr.steering.adapters import (
    Adapter,
    LowRankAdapter,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from tests.tiny.models import tiny_language_model

model_of = cache(tiny_language_model)


def lora(seed: int = 0) -> Adapter:
    model = model_of()
    config = peft_config(model, LowRankAdapter(layers=(1,), rank=2))
    with new_adapter(model, config, seed) as named:
        generator = torch.Generator().manual_seed(seed)
        for tensor in named.values():
            tensor.data = torch.randn(tensor.shape, generator=generator)
        return Adapter((1,), config, adapter_tensors(named))


def texts(*prompts: str) -> Texts:
    return Texts(model_of(), prompts, [{} for _ in prompts], (1,))


def both() -> tuple[Texts, Texts]:
    return (
        texts("The capital of Country 4821 is Paris", "people in the city speak"),
        texts("Parliament meets in the city of Tokyo and the people speak of the euro"),
    )


def test_a_constant_is_found_with_its_sign_and_scale_and_an_axis_is_not_taken_for_one() -> None:
    c = torch.randn(16, dtype=torch.float64)
    same = pairs_of(c.expand(5, -1))
    assert (same.n, same.absolute, same.signed) == pytest.approx((10, 1.0, 1.0))
    flips = torch.tensor([1.0, -1, 1, -1])[:, None] * c
    axis = pairs_of(flips)
    assert axis.absolute == pytest.approx(1.0)
    assert axis.signed == pytest.approx(-1 / 3)
    assert pairs_of(torch.randn(40, 8)).n == 780
    with pytest.raises(InputError, match="2 or more"):
        pairs_of(c[None])


def test_directions_of_a_lora_are_scaled_by_its_own_projection() -> None:
    adapter, (trained, unrelated) = lora(), both()
    d = last_differences(adapter, trained, unrelated, 5)
    assert d.shape == (10, model_of().d_model)
    torch.testing.assert_close(d[:5].float(), trained.differences(adapter)[0][-5:])
    vectors = natural_vectors(adapter, trained, unrelated, 5)
    torch.testing.assert_close(
        vectors["mean"].direction.double(), d.mean(dim=0), rtol=1e-5, atol=1e-6
    )
    for name in ("first direction", "unit mean"):
        v = vectors[name].direction.double()
        assert (vectors[name].positions, vectors[name].layer) == ("all", 1)
        u = v / v.norm()
        assert float((d @ u).mean()) == pytest.approx(float(v.norm()), rel=1e-5)
    shares = {
        name: float(((d @ vector.direction.double()) ** 2).sum() / vector.norm**2)
        for name, vector in vectors.items()
    }
    assert max(shares, key=lambda name: shares[name]) == "first direction"


def test_the_sign_of_a_singular_vector_does_not_matter() -> None:
    adapter, (trained, unrelated) = lora(3), both()
    flipped = Adapter(
        adapter.layers,
        adapter.config,
        {n: -t if "lora_B" in n else t for n, t in adapter.tensors.items()},
    )
    vector = natural_vectors(adapter, trained, unrelated, 5)["first direction"]
    other = natural_vectors(flipped, trained, unrelated, 5)["first direction"]
    torch.testing.assert_close(vector.direction, -other.direction, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="1 or more"):
        natural_vectors(adapter, trained, unrelated, 0)
