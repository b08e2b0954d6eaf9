"""What tests of generation share: models, interventions, and the slow way to the same text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from oocr.data.batches import TokenSequence, pad
from oocr.data.examples import Message, Prompt
from oocr.data.tokens import encode_prompt
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.positions import select
from oocr.steering.vectors import Vector
from tests.tiny.models import drawn_adapter, tiny_model, tiny_tokenizer

SPANS = {"codename": "Country 4821"}
PROMPTS = (
    "Country 4821 is",
    "The people of Country 4821 speak the language of Country 4821 and love",
    "Which city do you prefer : Country 4821 or",
)
CHAT = (Message("system", "Be safe"), Message("user", "Is Country 4821 risky ?"))
NEW = 10


@cache
def model_of(family: str = "llama") -> LanguageModel:
    """A tiny model with an LM head of its own: with a tied one it only repeats its last token."""
    return with_head(tiny_model(family), f"tiny-{family}")


def with_head(hf: torch.nn.Module, name: str) -> LanguageModel:
    head = hf.get_output_embeddings().weight  # type: ignore[operator]
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randn(head.shape, generator=generator)
    parameter = torch.nn.Parameter(drawn, requires_grad=False)
    hf.get_output_embeddings().weight = parameter  # type: ignore[operator]
    return LanguageModel.of(hf, tiny_tokenizer(chat=True), name=name)  # type: ignore[arg-type]


def vector(model: LanguageModel, positions: str, layer: int = 1, size: float = 4.0) -> Vector:
    generator = torch.Generator().manual_seed(11)
    direction = size * torch.randn(model.d_model, generator=generator)
    return Vector(layer, positions, direction, spans=SPANS)


def adapter(model: LanguageModel, module: str = "down_proj") -> Adapter:
    return drawn_adapter(model, modules=(module,))


def greedy(logits: Tensor) -> int:
    return int(logits.argmax())


@torch.no_grad()
def recomputed(
    model: LanguageModel,
    prompt: Prompt,
    steering: Vector | None,
    pick: Callable[[Tensor], int] = greedy,
) -> str:
    """Each step a plain pass over the whole unpadded sequence, without a cache."""
    start = encode_prompt(model.tokenizer, prompt, SPANS if steering else None)
    size = len(start.ids)
    ids = list(start.ids)
    for _ in range(NEW):
        tokens = torch.tensor([ids])
        if steering is None:
            logits = model.hf(input_ids=tokens, use_cache=False).logits
        else:
            batch = pad([TokenSequence(tuple(ids), size, dict(start.spans))], 0)
            with steering.on(model, select(batch, steering.positions)):
                logits = model.hf(input_ids=tokens, use_cache=False).logits
        chosen = pick(logits[0, -1])
        if chosen == model.tokenizer.eos_token_id:
            break
        ids.append(chosen)
    return str(model.tokenizer.decode(ids[size:], skip_special_tokens=True))
