"""Vectors: arithmetic, and what they do to a live model. Files: formats/test_vector_file.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.positions import select
from oocr.steering.vectors import Vector, random_vector
from tests.tiny.models import tiny_language_model

model_of = cache(tiny_language_model)


def vector(values: list[float], layer: int = 2, positions: str = "all") -> Vector:
    return Vector(layer, positions, torch.tensor(values))


def batch() -> Batch:
    return pad(
        [TokenSequence((5, 6, 7, 8), 4, {"s": (1, 2)}), TokenSequence((9, 10), 2, {"s": (0,)})], 0
    )


def logits(model: LanguageModel, batch: Batch) -> torch.Tensor:
    out = model.hf(
        input_ids=batch.ids, attention_mask=batch.mask.long(), position_ids=batch.positions
    ).logits
    assert isinstance(out, torch.Tensor)
    return out


# --- arithmetic ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda a, b: a + b, [4.0, 2.0]),
        (lambda a, b: a - b, [-2.0, 6.0]),
        (lambda a, b: 2 * a, [2.0, 8.0]),
        (lambda a, b: a * 0.5, [0.5, 2.0]),
        (lambda a, b: a / 2, [0.5, 2.0]),
        (lambda a, b: -a, [-1.0, -4.0]),
        (lambda a, b: 0.5 * (a + b) - a / 4, [1.75, 0.0]),
    ],
)
def test_vectors_add_and_scale(
    made: Callable[[Vector, Vector], Vector], expected: list[float]
) -> None:
    a, b = vector([1.0, 4.0]), vector([3.0, -2.0])
    result = made(a, b)
    assert result.direction.tolist() == expected
    assert (result.layer, result.positions) == (2, "all")
    assert a.direction.tolist() == [1.0, 4.0], "the operands stay"


def test_norm_and_signed_cosine() -> None:
    a = vector([3.0, 4.0])
    assert a.norm == pytest.approx(5.0)
    assert a.cosine(-2 * a) == pytest.approx(-1.0)
    assert a.cosine(vector([4.0, -3.0])) == pytest.approx(0.0, abs=1e-12)
    assert a.cosine(vector([1.0, 0.0])) == pytest.approx(0.6)
    assert a.cosine(vector([0.0, 0.0])) == 0.0


def test_a_sum_says_of_its_origin_what_its_terms_share() -> None:
    a = Vector(1, "all", torch.ones(2), about={"model": "m", "seed": "0", "task": "x"})
    b = Vector(1, "all", torch.ones(2), about={"model": "m", "seed": "1"})
    assert dict((a - b).about) == {"model": "m"}
    assert dict((2 * a).about) == dict(a.about)


@pytest.mark.parametrize("other", [{"layer": 3}, {"positions": "last"}])
def test_vectors_of_different_sites_do_not_add(other: dict[str, object]) -> None:
    a = vector([1.0, 2.0])
    b = vector([1.0, 2.0], **other)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="different sites"):
        _ = a + b
    with pytest.raises(InputError, match="different sites"):
        _ = a - b


def test_the_same_direction_elsewhere() -> None:
    moved = vector([1.0, 2.0]).at("last")
    assert (moved.positions, moved.direction.tolist()) == ("last", [1.0, 2.0])
    assert (moved + vector([1.0, 1.0], positions="last")).direction.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        vector([1.0, bad])


def test_a_matrix_is_no_vector() -> None:
    with pytest.raises(InputError, match=r"one dimension, found \(2, 3\)"):
        Vector(1, "all", torch.zeros(2, 3))


def test_random_vectors_have_the_norm_the_site_and_no_preferred_direction() -> None:
    like = Vector(3, "s", torch.zeros(64), spans={"s": "Country 4821"})
    many = [random_vector(like, 7.0, seed) for seed in range(200)]
    assert all(other.norm == pytest.approx(7.0, rel=1e-5) for other in many)
    assert {(other.layer, other.positions, other.spans["s"]) for other in many} == {
        (3, "s", "Country 4821")
    }
    assert torch.equal(many[5].direction, random_vector(like, 7.0, 5).direction)
    cosines = [many[0].cosine(other) for other in many[1:]]
    assert max(map(abs, cosines)) < 0.6
    assert abs(sum(cosines) / len(cosines)) < 4 / math.sqrt(64 * 199)


def test_a_notebook_shows_what_a_vector_is() -> None:
    about = {"model": "<gemma>", "task": "capital", "seed": "3", "training_data": "0123"}
    shown = Vector(4, "codename", torch.tensor([3.0, 4.0]), {"codename": "Country 4821"}, about)
    page = shown._repr_html_()
    for text in ("block 4", "codename", "Country 4821", ">5<", "capital", "&lt;gemma&gt;"):
        assert text in page
    assert "<gemma>" not in page
    assert "http" not in page, "offline"
    assert "MLP" in Vector(4, "all", torch.ones(2), site="mlp")._repr_html_()
    assert "embedding" in Vector(-1, "all", torch.ones(2))._repr_html_()


# --- on a live model ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt_neox", "olmo2"])
def test_layer_minus_one_is_the_embedding_output(family: str) -> None:
    model, texts = model_of(family), batch()
    v = Vector(-1, "s", torch.randn(model.d_model))
    chosen = select(texts, "s")
    embedded = model.anatomy.embed(texts.ids) + chosen[:, :, None] * v.direction
    expected = model.hf(
        inputs_embeds=embedded, attention_mask=texts.mask.long(), position_ids=texts.positions
    ).logits
    with v.on(model, chosen):
        steered = logits(model, texts)
    torch.testing.assert_close(steered[texts.mask], expected[texts.mask])


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_adding_a_vector_and_its_opposite_changes_nothing(family: str) -> None:
    model, texts = model_of(family), batch()
    v = Vector(1, "all", torch.randn(model.d_model))
    before = logits(model, texts)
    with v.on(model, texts.mask):
        assert not torch.allclose(logits(model, texts)[texts.mask], before[texts.mask], atol=1e-2)
        with (-v).on(model, texts.mask):
            torch.testing.assert_close(logits(model, texts)[texts.mask], before[texts.mask])
    assert torch.equal(logits(model, texts), before)


def test_every_batch_row_is_steered_and_earlier_tokens_are_not() -> None:
    model, texts = model_of("llama"), batch()
    v = Vector(2, "last", torch.randn(model.d_model))
    before = logits(model, texts)
    with v.on(model, select(texts, "last")):
        after = logits(model, texts)
    moved = (after - before).abs().amax(dim=-1) > 1e-4
    assert moved[texts.mask].tolist() == [False, False, False, True, False, True]


def test_hooks_go_away_after_an_error() -> None:
    model, texts = model_of("llama"), batch()
    before = logits(model, texts)
    for layer in (-1, 2):
        v = Vector(layer, "all", torch.randn(model.d_model))
        with pytest.raises(RuntimeError, match="stop"), v.on(model, texts.mask):
            raise RuntimeError("stop")
    assert torch.equal(logits(model, texts), before)
    hooks = [len(b._forward_hooks) + len(b._forward_pre_hooks) for b in model.anatomy.blocks]
    assert sum(hooks) == 0


def test_wrong_width_and_wrong_layer_are_refused_with_what_the_model_has() -> None:
    model, texts = model_of("llama"), batch()
    with (
        pytest.raises(InputError, match="width 2, tiny-llama has 32"),
        vector([1.0, 2.0]).on(model, texts.mask),
    ):
        pass
    for layer in (-2, 4):
        v = Vector(layer, "all", torch.zeros(model.d_model))
        with (
            pytest.raises(InputError, match=f"layer {layer}: tiny-llama has -1 to 3"),
            v.on(model, texts.mask),
        ):
            pass
