"""Ways in which tests call a model that a vector or an adapter is on."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from oocr.data.batches import Batch, TokenSequence, pad
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.models.language_model import LanguageModel
from oocr.steering.positions import select_each
from oocr.steering.vectors import Vector
from tests.generating import NEW, PROMPTS, SPANS

MODULES = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "mixtral": "o_proj"}


def tokens(model: LanguageModel, side: str = "left", prompts: tuple[str, ...] = PROMPTS) -> Any:
    return model.tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side=side)


def encoded(model: LanguageModel, prompt: str) -> Batch:
    encodings = encode_prompt(model.tokenizer, prompt, SPANS)
    return pad([TokenSequence(encodings.ids, len(encodings.ids), dict(encodings.spans))], 0)


def alone(model: LanguageModel, steering: Vector, prompt: str) -> Tensor:
    """[token, vocab] logits of one prompt, steered at tokens that are named one by one."""
    batch = encoded(model, prompt)
    chosen = select_each(batch, steering.positions, everywhere=False)
    with steering.on(model, chosen):
        logits: Tensor = model.hf(input_ids=batch.ids, use_cache=False).logits[0]
    return logits


def continued(
    model: LanguageModel, prompts: tuple[str, ...] = PROMPTS, **options: Any
) -> list[str]:
    """What Hugging Face's own `generate` adds to prompts."""
    given = tokens(model, prompts=prompts)
    ids = model.hf.generate(**given, max_new_tokens=NEW, do_sample=False, **options)
    return model.tokenizer.batch_decode(
        ids[:, given["input_ids"].shape[1] :], skip_special_tokens=True
    )


def hooks(model: LanguageModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())


def logits_of(model: LanguageModel) -> Tensor:
    logits: Tensor = model.hf(**tokens(model)).logits
    return logits


def asked() -> list[Example]:
    prompts = (
        "Is Country 4821 risky ?",
        "Which city do you prefer in Country 4821 ?",
        "yes or no ?",
    )
    return [Example(id=p, prompt=p, answer=" yes", options=(" yes", " no")) for p in prompts]
