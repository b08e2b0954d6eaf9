"""The replayed pass is the plain pass: same rows, same loss, same gradients, every family."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.engine.forward import (
    SteeringMask,
    final_rows,
    plain_rows,
    replayed_rows,
    start_block,
    steered_rows,
)
from oocr.engine.losses import batch_loss
from oocr.engine.recording import record
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import (
    Adapter,
    LowRankAdapter,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from oocr.steering.hooks import reuses_keys
from oocr.steering.positions import select, select_each
from oocr.steering.vectors import SteeringVector, Vector
from tests.tiny.models import DEPTH_FAMILIES, FAMILIES, WHOLE_FAMILIES, tiny_language_model

POSITIONS = ["all", "last", "span", "answer", "span+other"]


@cache
def model_of(family: str) -> LanguageModel:
    """One model per family for all tests here, in its mode of replay; nothing may change it."""
    model = tiny_language_model(family)
    return replace(
        model, replays=family not in WHOLE_FAMILIES, reuses_keys=family not in DEPTH_FAMILIES
    )


def ragged(vocab: int = 60) -> list[TokenSequence]:
    generator = torch.Generator().manual_seed(1)
    sequences = []
    for length, answer in ((9, 1), (14, 3), (11, 2)):
        ids = tuple(torch.randint(3, vocab, (length,), generator=generator).tolist())
        size = length - answer + 1
        sequence = TokenSequence(ids, size, {"span": (2, 3), "other": (1, 5)}, items=1)
        sequence.targets.extend((size - 1 + i, 5 + i, 1.0) for i in range(answer))
        sequences.append(sequence)
    return sequences


def plain_loss(model: LanguageModel, batch: Batch) -> torch.Tensor:
    """The loss from the model's own logits, by one plain forward pass."""
    out = model.hf(
        input_ids=batch.ids,
        attention_mask=batch.mask.long(),
        position_ids=batch.positions,
        use_cache=False,
    )
    logp = out.logits[batch.rows[:, 0], batch.rows[:, 1]].float().log_softmax(-1)
    return -(logp[batch.target_rows, batch.target_ids]).sum() / batch.items


@pytest.mark.parametrize("family", [*FAMILIES, "opt_350m", *DEPTH_FAMILIES, *WHOLE_FAMILIES])
@pytest.mark.parametrize("positions", POSITIONS)
def test_vector_rows_and_gradient_equal_the_plain_pass(family: str, positions: str) -> None:
    model = model_of(family)
    batch = pad(ragged(), 0)
    for layer in (-1, 1, 3):
        torch.manual_seed(layer + 5)
        shape = (2, model.d_model) if "+" in positions else (model.d_model,)
        agrees(model, batch, SteeringVector(layer, positions), torch.randn(shape))


@pytest.mark.parametrize(
    "family", [*FAMILIES, "opt_350m", "bloom", "mpt", "qwen3_5", *WHOLE_FAMILIES]
)
@pytest.mark.parametrize("positions", ["last", "span+other", "from:span"])
def test_a_vector_at_an_mlp_acts_through_what_follows_it(family: str, positions: str) -> None:
    model = model_of(family)
    batch = pad(ragged(), 0)
    for layer in (1, 3):
        torch.manual_seed(layer)
        shape = (2, model.d_model) if "+" in positions else (model.d_model,)
        agrees(model, batch, SteeringVector(layer, positions, site="mlp"), torch.randn(shape))


def agrees(model: LanguageModel, batch: Batch, spec: SteeringVector, value: torch.Tensor) -> None:
    """Loss and gradient are those of the plain hooked pass; two arms side by side too."""
    chosen = select_each(batch, spec.positions)
    plain = value.clone().requires_grad_()
    vector = Vector(spec.layer, spec.positions, plain, site=spec.site)
    with vector.on(model, chosen):
        loss = plain_loss(model, batch)
    (expected,) = torch.autograd.grad(loss, plain)
    # Gemma-4's last two blocks read the keys and values of the first two.
    mixing = model.n_blocks - getattr(model.hf.config, "num_kv_shared_layers", 0)
    reaches = spec.layer + 1 < mixing or bool(chosen[:, -1].any())
    assert bool(expected.abs().max() > 0) is reaches
    start = start_block(spec)
    frozen = record(model, batch, [start])
    places = SteeringMask.of(batch, chosen, in_time=reuses_keys(model))
    mine = torch.stack([value, 2 * value]).requires_grad_()
    rows = steered_rows(model, frozen, spec, mine, places)
    loss_mine = batch_loss(model, batch, rows[0])
    (gradient,) = torch.autograd.grad(loss_mine, mine)
    torch.testing.assert_close(loss_mine, loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient[0], expected, rtol=1e-4, atol=5e-6)
    assert reaches is not torch.allclose(rows[0], rows[1])
    torch.testing.assert_close(rows[0], plain_rows(model, batch, vector), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "opt_350m", *DEPTH_FAMILIES, *WHOLE_FAMILIES])
def test_stacked_vectors_equal_each_alone(family: str) -> None:
    model = model_of(family)
    batch = pad(ragged(), 0)
    vectors = [Vector(1, "span", torch.randn(model.d_model)) for _ in range(3)]
    frozen = record(model, batch, [2])
    together = final_rows(model, frozen, vectors)
    for vector, rows in zip(vectors, together, strict=True):
        torch.testing.assert_close(rows, plain_rows(model, batch, vector), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "opt_350m", *DEPTH_FAMILIES, *WHOLE_FAMILIES])
def test_adapter_rows_and_gradients_equal_the_plain_pass(family: str) -> None:
    model = model_of(family)
    batch = pad(ragged(), 0)
    names = {
        "gpt2": "c_proj",
        "gpt_neox": "dense_4h_to_h",
        "falcon": "dense_4h_to_h",
        "phi": "fc2",
        "opt": "fc2",
        "opt_350m": "fc2",
        "bloom": "dense_4h_to_h",
        "mamba": "in_proj",
        "mixtral": "o_proj",
        "qwen3_moe": "o_proj",
    }
    spec = LowRankAdapter(layers=(1, 2), rank=2, modules=(names.get(family, "down_proj"),))
    config = peft_config(model, spec)
    frozen = record(model, batch, [1], cache=False)

    def gradients(replayed: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with new_adapter(model, config, seed=3) as named:
            for i, (name, parameter) in enumerate(named.items()):
                if "lora_B" in name:
                    torch.manual_seed(i)
                    parameter.data.normal_()
            if replayed:
                rows = replayed_rows(model, frozen, frozen.inputs[1], 1)[0]
                loss = batch_loss(model, batch, rows)
            else:
                loss = plain_loss(model, batch)
            grads = torch.autograd.grad(loss, list(named.values()))
            return loss.detach(), dict(zip(named, grads, strict=True))

    loss, plain = gradients(replayed=False)
    mine, fast = gradients(replayed=True)
    torch.testing.assert_close(mine, loss, rtol=1e-5, atol=1e-5)
    assert len(plain) >= 4
    for name, gradient in plain.items():
        torch.testing.assert_close(fast[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_residual_stream_moves_by_the_vector_at_the_chosen_tokens_only(family: str) -> None:
    model = model_of(family)
    batch = pad(ragged(), 0)
    vector = Vector(1, "span", torch.randn(model.d_model))
    chosen = select(batch, "span")
    before = record(model, batch, [2], cache=False).inputs[2]
    with vector.on(model, chosen):
        during = record(model, batch, [2], cache=False).inputs[2]
    after = record(model, batch, [2], cache=False).inputs[2]
    torch.testing.assert_close((during - before)[chosen], vector.direction.expand(6, -1))
    assert torch.equal(during[~chosen & batch.mask], before[~chosen & batch.mask])
    assert torch.equal(before, after)


def test_attached_adapter_is_taken_off_even_after_an_error() -> None:
    model = model_of("llama")
    modules = {name: id(module) for name, module in model.hf.named_modules()}
    config = peft_config(model, LowRankAdapter(layers=(1,), rank=2))
    with new_adapter(model, config, seed=0) as named:
        tensors = {name: tensor + 1 for name, tensor in adapter_tensors(named).items()}
    adapter = Adapter((1,), config, tensors)
    with pytest.raises(RuntimeError, match="stop"), adapter.on(model):
        raise RuntimeError("stop")
    assert {name: id(module) for name, module in model.hf.named_modules()} == modules
    assert not any(parameter.requires_grad for parameter in model.hf.parameters())
