from __future__ import annotations

import pytest
import torch

from oocr.errors import InputError
from oocr.models.anatomy import anatomy
from oocr.models.check_anatomy import check_anatomy
from oocr.models.language_model import LanguageModel
from tests.tiny.models import FAMILIES, VOCAB, tiny_language_model, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_give_the_models_own_logits(family: str) -> None:
    model = tiny_model(family)
    parts = anatomy(model)
    assert len(parts.blocks) == 4
    assert model.get_submodule(parts.block_names[2]) is parts.blocks[2]
    assert (parts.d_model, parts.vocab) == (32, VOCAB)
    check_anatomy(model)

    kept = []
    hook = parts.blocks[-1].register_forward_hook(
        lambda module, args, output: kept.append(output[0] if isinstance(output, tuple) else output)
    )
    ids = torch.randint(3, VOCAB - 3, (2, 11), generator=torch.Generator().manual_seed(5))
    logits = model(input_ids=ids).logits
    hook.remove()
    assert logits.std() > 0.05  # else any readout would pass
    rows = kept[0].reshape(-1, 32)
    logits = logits.reshape(-1, VOCAB)
    torch.testing.assert_close(parts.readout(rows), logits, rtol=1e-4, atol=1e-4)
    few = torch.tensor([7, 500, 7, 0])
    torch.testing.assert_close(parts.readout(rows, few), logits[:, few], rtol=1e-4, atol=1e-4)


def test_logits_are_capped_where_the_family_caps_them() -> None:
    model = tiny_language_model("gemma2")
    hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    assert model.anatomy.readout(hidden).abs().max() <= 3.0  # Gemma-2's soft cap


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_s1_logits_of_a_smaller_type_are_computed_in_float32(dtype: torch.dtype) -> None:
    parts = tiny_language_model("gemma2").anatomy
    parts.final_norm.to(dtype)
    parts.lm_head.to(dtype)
    draw = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)) * 9
    hidden = draw.to(dtype).requires_grad_()
    exact = parts.final_norm(hidden).float() @ parts.head_weight.float().T
    exact = torch.tanh(exact / 3.0) * 3.0
    few, at = torch.tensor([7, 500, 7, 0]), torch.tensor([0, 1, 4, 4])
    close = {"rtol": 1e-5, "atol": 1e-5}
    logits = parts.readout(hidden)
    torch.testing.assert_close(logits, exact, **close)
    torch.testing.assert_close(parts.readout(hidden, few), exact[:, few], **close)
    with torch.no_grad():
        logps = parts.token_logps(hidden, at, few)
    torch.testing.assert_close(logps, exact.log_softmax(-1)[at, few].detach(), **close)
    steep = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    grads = [torch.autograd.grad((of * steep).sum(), hidden)[0] for of in (logits, exact)]
    torch.testing.assert_close(*grads, rtol=2e-2, atol=1e-2)


def test_unknown_layout_lists_what_was_tried() -> None:
    model = tiny_model("llama")
    model.model.trunk = model.model.layers
    del model.model.layers
    with pytest.raises(InputError, match=r"LlamaForCausalLM: no decoder blocks.*layers.*gpt_neox"):
        anatomy(model)


def test_model_without_lm_head_is_refused() -> None:
    with pytest.raises(InputError, match="no LM head"):
        anatomy(tiny_model("llama").model)


def test_unknown_logit_scaling_is_refused() -> None:
    model = tiny_model("llama")

    def double(module: object, args: object, output: object) -> object:
        output.logits = output.logits * 2
        return output

    model.register_forward_hook(double)
    with pytest.raises(InputError, match="relative error"):
        check_anatomy(model)


def test_something_between_two_blocks_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers[2].register_forward_pre_hook(lambda module, args: (args[0] + 1, *args[1:]))
    with pytest.raises(InputError, match="output of block 1 is not the input of block 2"):
        check_anatomy(model)


def test_language_model_is_frozen_and_describes_itself() -> None:
    hf = tiny_model("qwen3").train().requires_grad_(True)
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    model = LanguageModel.of(hf, tokenizer, name="mine")
    assert not any(parameter.requires_grad for parameter in model.hf.parameters())
    assert not model.hf.training
    assert (model.n_blocks, model.d_model) == (4, 32)
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert model.tokenizer.pad_token == "<eos>"
    assert not model.has_chat_template
    assert tiny_language_model(chat=True).has_chat_template


def test_tokenizer_larger_than_the_embedding_is_refused() -> None:
    model = tiny_model("llama")
    model.resize_token_embeddings(300)
    with pytest.raises(InputError, match="model embeds 300"):
        LanguageModel.of(model, tiny_tokenizer(), name="mine")


def test_added_tokens_beyond_the_embedding_are_allowed() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<image{i}>" for i in range(VOCAB)])
    assert LanguageModel.of(tiny_model("llama"), tokenizer, name="mine").n_blocks == 4


def test_fingerprint_follows_the_weights() -> None:
    first = tiny_language_model("llama")
    assert first.fingerprint == tiny_language_model("llama").fingerprint
    assert first.fingerprint != tiny_language_model("llama", seed=1).fingerprint
    assert first.fingerprint != tiny_language_model("llama", chat=True).fingerprint

    changed = tiny_model("llama")
    changed.model.layers[1].mlp.down_proj.weight.data[3, 5] += 1e-6
    of_changed = LanguageModel.of(changed, tiny_tokenizer(), name="x").fingerprint
    assert first.fingerprint != of_changed

    half = LanguageModel.of(tiny_model("llama").bfloat16(), tiny_tokenizer(), name="x")
    assert first.fingerprint != half.fingerprint
