"""Directions taken out of the stream, and LoRAs confined to a few of them."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from oocr.data.batches import TokenSequence, pad
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.explain.differences import Texts
from oocr.explain.subspace import basis_of, projected_scores, scores_without
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import (
    Adapter,
    LowRankAdapter,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from oocr.steering.hooks import ablate
from oocr.steering.vectors import Vector
from tests.tiny.models import tiny_language_model

PROMPTS = ("The capital of Country 4821 is", "people in Country 4821 speak", "Parliament meets in")


model_of = cache(tiny_language_model)


def lora(model: LanguageModel, rank: int = 3, layers: tuple[int, ...] = (1,)) -> Adapter:
    config = peft_config(model, LowRankAdapter(layers=layers, rank=rank))
    with new_adapter(model, config, 0) as named:
        for tensor in named.values():
            tensor.data = (
                torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)) * 0.3
            )
        return Adapter(layers, config, adapter_tensors(named))


def items() -> list[Example]:
    return [
        Example(id=p, prompt=p, answer=" Paris", options=(" Paris", " Tokyo", " Berlin"))
        for p in PROMPTS
    ]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_an_ablated_direction_is_gone_from_every_block_and_back_afterwards(family: str) -> None:
    model = model_of(family)
    u = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0)) * 7
    ids = torch.tensor([[5, 9, 14, 3]])
    before = model.hf(input_ids=ids).logits
    seen: list[torch.Tensor] = []
    with ablate(model, u):
        handle = model.anatomy.blocks[2].register_forward_hook(
            lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
        try:
            inside = model.hf(input_ids=ids).logits
        finally:
            handle.remove()
    assert (seen[0] @ (u / u.norm())).abs().max() < 1e-4
    assert not torch.allclose(inside, before)
    assert torch.equal(model.hf(input_ids=ids).logits, before)


def test_ablating_a_vectors_own_direction_undoes_the_vector_there() -> None:
    model = model_of("llama")
    v = Vector(3, "all", torch.randn(model.d_model, generator=torch.Generator().manual_seed(0)))
    lines = []
    for prompt in PROMPTS:
        ids = encode_prompt(model.tokenizer, prompt).ids
        lines.append(TokenSequence(ids, len(ids), {}))
    batch = pad(lines, 0)

    def logits() -> torch.Tensor:
        mask, positions = batch.mask.long(), batch.positions
        out: torch.Tensor = model.hf(
            input_ids=batch.ids, attention_mask=mask, position_ids=positions
        ).logits
        return out[batch.mask]

    with v.on(model, batch.mask), ablate(model, v.direction, layers=[3]):
        steered = logits()
    with ablate(model, v.direction, layers=[3]):
        torch.testing.assert_close(steered, logits(), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(steered, logits(), rtol=1e-2, atol=1e-2)


def test_what_cannot_be_ablated_is_refused_and_hooks_go_on_errors() -> None:
    model = model_of("llama")
    u = torch.ones(model.d_model)
    for wrong, reason in ((torch.ones(3), "shape"), (torch.zeros(model.d_model), "norm 0")):
        with pytest.raises(InputError, match=reason), ablate(model, wrong):
            pass
    with pytest.raises(InputError, match="allowed: -1 to 3"), ablate(model, u, layers=[4]):
        pass
    with pytest.raises(RuntimeError, match="stop"), ablate(model, u):
        raise RuntimeError("stop")
    assert all(not block._forward_hooks for block in model.anatomy.blocks)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_all_directions_are_the_lora_and_none_is_the_base(family: str) -> None:
    model = model_of(family)
    adapter = lora(model)
    texts = Texts(model, PROMPTS, [{} for _ in PROMPTS], adapter.layers)
    basis = basis_of(adapter, [texts])
    assert sum(basis.shares) == pytest.approx(1, abs=1e-4)
    assert list(basis.shares) == sorted(basis.shares, reverse=True)
    # all of the probes' own tokens but the first (left out of the basis) span what is needed
    whole = len(basis.vectors)
    projected = projected_scores(model, items(), adapter, basis, (0, 1, whole))
    probes = Probes.of(model, items())
    base, adapted = probes.scores(None)[0], probes.scores(adapter)[0]

    def relative(scores: torch.Tensor) -> torch.Tensor:
        return scores.log_softmax(dim=-1)

    torch.testing.assert_close(relative(projected[0]), relative(base), rtol=1e-4, atol=1e-4)
    distance = [
        (relative(scores_of_k) - relative(adapted)).abs().max() for scores_of_k in projected
    ]
    assert distance[2] < distance[0]
    assert distance[2] <= distance[1] + 1e-4


def test_a_lora_in_several_blocks_and_too_many_directions_are_refused() -> None:
    model = model_of("llama")
    adapter = lora(model)
    texts = Texts(model, PROMPTS, [{} for _ in PROMPTS], adapter.layers)
    basis = basis_of(adapter, [texts], most=2)
    with pytest.raises(InputError, match="allowed: 0 to 2"):
        projected_scores(model, items(), adapter, basis, (3,))
    with pytest.raises(InputError, match="one block"):
        projected_scores(model, items(), lora(model, layers=(1, 2)), basis, (1,))


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_without_its_only_direction_a_lora_does_nothing_and_without_another_it_is_itself(
    family: str,
) -> None:
    model = model_of(family)
    config = peft_config(model, LowRankAdapter(layers=(1,), rank=1))
    with new_adapter(model, config, 0) as named:
        for tensor in named.values():
            tensor.data = (
                torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)) * 0.3
            )
        adapter = Adapter((1,), config, adapter_tensors(named))
    probes = Probes.of(model, items())
    whole, base = probes.scores(adapter)[0], probes.scores(None)[0]
    texts = Texts(model, list(PROMPTS), [{} for _ in PROMPTS], (1,))
    basis = basis_of(adapter, [texts], 2)
    d = torch.cat(list(texts.differences(adapter)))
    rows = torch.linalg.svd(d, full_matrices=True).Vh
    outside = rows[-1]  # nothing that the LoRA adds on these texts lies along it
    assert (d @ outside).abs().max() < 1e-4
    across = basis.vectors[0] + outside
    scores = scores_without(
        model, items(), adapter, torch.stack([basis.vectors[0], outside, across])
    )
    assert not torch.allclose(scores[2], whole, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scores[1], whole, rtol=1e-3, atol=1e-3)
    if family != "gemma3_text":  # behind a norm, rank 1 is more than one direction
        torch.testing.assert_close(scores[0], base, rtol=1e-3, atol=1e-3)
    both = scores_without(model, items(), adapter, 3 * basis.vectors[:1])
    torch.testing.assert_close(both[0], scores[0], rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="any norm but 0"):
        scores_without(model, items(), adapter, torch.zeros(1, model.d_model))
