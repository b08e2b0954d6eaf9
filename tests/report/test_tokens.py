"""`oocr.tokens`: projections are those of the residual stream; text stays text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
import torch

import oocr
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.vectors import Vector
from tests.tiny.models import tiny_language_model

TEXT = "The capital of <b>Country 4821</b>\nis Paris"


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_language_model("llama")


def vector_at(layer: int, model: LanguageModel) -> Vector:
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(3))
    return Vector(layer=layer, positions="all", direction=4 * direction)


@pytest.mark.parametrize("layer", [-1, 0, 2, 3])
def test_projections_are_of_the_blocks_output(layer: int, model: LanguageModel) -> None:
    vector = vector_at(layer, model)
    coloured = oocr.tokens(model, TEXT, vector)
    ids = model.tokenizer(TEXT, return_tensors="pt").input_ids
    seen: list[torch.Tensor] = []
    blocks = model.hf.model.layers

    def keep_input(_: object, args: tuple[torch.Tensor, ...]) -> None:
        seen.append(args[0])

    def keep_output(_: object, __: object, output: torch.Tensor | tuple[torch.Tensor]) -> None:
        seen.append(output if isinstance(output, torch.Tensor) else output[0])

    hook = (
        blocks[0].register_forward_pre_hook(keep_input)
        if layer < 0
        else blocks[layer].register_forward_hook(keep_output)
    )
    with torch.no_grad():
        model.hf(ids)
    hook.remove()
    unit = vector.direction / vector.direction.norm()
    assert coloured.projections == pytest.approx((seen[0][0] @ unit).tolist(), abs=1e-4)
    cosines = torch.cosine_similarity(seen[0][0], unit, dim=-1)
    assert coloured.cosines == pytest.approx(cosines.tolist(), abs=1e-5)
    assert len(coloured.tokens) == ids.shape[1]


def test_notebook_and_plain_text_show_every_token(model: LanguageModel) -> None:
    coloured = oocr.tokens(model, TEXT, vector_at(1, model))
    markup = coloured._repr_html_()
    reader = _Text()
    reader.feed(markup)
    whole = "".join(coloured.tokens).replace("\n", "⏎").replace(" ", "·")
    assert whole in reader.text.replace(" ", "·")
    assert "<b>Country" not in markup, "text is never markup"
    assert "http" not in markup, "it works offline"
    assert "<script" not in markup
    largest = max(range(1, len(coloured.tokens)), key=lambda i: abs(coloured.projections[i]))
    colour = "0,103,165" if coloured.projections[largest] > 0 else "182,74,14"
    assert f"rgba({colour},0.62)" in markup, "the largest projection has the deepest colour"
    lines = repr(coloured).splitlines()
    assert len(lines) == 1 + len(coloured.tokens)
    assert all(repr(token) in line for token, line in zip(coloured.tokens, lines[1:], strict=True))


class _Text(HTMLParser):
    text = ""

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_cannot_be_projected_on_is_refused(model: LanguageModel) -> None:
    zero = Vector(layer=1, positions="all", direction=torch.zeros(model.d_model))
    with pytest.raises(InputError, match="zero"):
        oocr.tokens(model, TEXT, zero)
    two = Vector(layer=1, positions="name+place", direction=torch.ones(2, model.d_model))
    with pytest.raises(InputError, match=r"vector\.only\('name'\)"):
        oocr.tokens(model, TEXT, two)
    with pytest.raises(InputError):
        oocr.tokens(model, TEXT, Vector(layer=9, positions="all", direction=zero.direction + 1))
