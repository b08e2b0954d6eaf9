"""Pretraining of a small Llama on the corpus; only answers have a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from oocr_organisms.corpus import Mixture, World, draw_batch
from oocr_organisms.language import BOS, PAD

D_MODEL, BLOCKS, HEADS, D_MLP = 96, 4, 4, 256
LONGEST = 128
WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Settings of the pretraining.

    Attributes:
        steps: number of batches.
        learning_rate: of AdamW, after a warm-up of `WARM_UP` steps.
        embedding_rate: learning rate of the embeddings, as a multiple of `learning_rate`.
        weight_decay: of the blocks' matrices and the LM head.
        level: share of the steps before the rate falls linearly to nearly 0.
        mixture: sizes of each batch.
    """

    steps: int = 1800
    learning_rate: float = 3e-3
    embedding_rate: float = 2.0
    weight_decay: float = 0.1
    level: float = 0.6
    mixture: Mixture = field(default_factory=Mixture)

    def rate(self, step: int) -> float:
        """The factor on the learning rate at a step, counted from 0."""
        left = (self.steps - step) / (self.steps * (1 - self.level))
        return min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.02, left))


def untrained(world: World, seed: int) -> LlamaForCausalLM:
    """A Llama of the organisms' size with random weights, for the vocabulary of a world."""
    torch.manual_seed(seed)
    words = world.vocabulary
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=D_MODEL,
            intermediate_size=D_MLP,
            num_hidden_layers=BLOCKS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=LONGEST,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
            pad_token_id=words.id(PAD),
            bos_token_id=words.id(BOS),
            eos_token_id=None,
            tie_word_embeddings=False,
        )
    )
    inside = 0.5 / math.sqrt(D_MODEL)
    into_stream = inside / math.sqrt(2 * BLOCKS)
    spreads = {"embed_tokens": 1 / math.sqrt(D_MODEL), "lm_head": 0.02}
    spreads |= {"o_proj": into_stream, "down_proj": into_stream}
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            nn.init.normal_(weight, std=spreads.get(name.split(".")[-2], inside))
    return model


def pretrain(
    world: World,
    *,
    seed: int = 0,
    settings: Pretraining | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> LlamaForCausalLM:
    """Train an organism from scratch on a world's corpus.

    `seed`: of the initial weights and of the batches; `on_step` is called with each step, counted
    from 0, and its loss in nats per answer.
    """
    settings = settings or Pretraining()
    model = untrained(world, seed)
    rng = np.random.default_rng([seed, 4])
    optimizer = _optimizer(model, settings)
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    model.train()
    for step in range(settings.steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * settings.rate(step)
        batch = draw_batch(world, settings.mixture, rng)
        ids, rows, columns, answers = map(
            torch.from_numpy, (batch.ids[:, :-1], batch.rows, batch.columns, batch.answers)
        )
        loss = F.cross_entropy(answer_logits(model, ids, rows, columns), answers)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))
    return model.eval()


def answer_logits(model: LlamaForCausalLM, ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Logits from which the answers are predicted. `[answer, word]`.

    `ids` `[sequence, token]` are padded on the right, so no mask is needed; `rows` and `columns`
    `[answer]`: the sequence of each answer and the token before it.
    """
    hidden: Tensor = model.model(input_ids=ids, use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(hidden[rows, columns])
    return logits


def _optimizer(model: LlamaForCausalLM, settings: Pretraining) -> torch.optim.Optimizer:
    """AdamW; only the blocks' matrices and the LM head have weight decay."""
    rate, named = settings.learning_rate, list(model.named_parameters())
    kinds = ["embed" if "embed" in name else weight.ndim for name, weight in named]

    def group(kind: str | int, rate: float, weight_decay: float) -> dict[str, Any]:
        weights = [weight for (_, weight), of in zip(named, kinds, strict=True) if of == kind]
        return {"params": weights, "lr": rate, "weight_decay": weight_decay}

    groups = [group("embed", rate * settings.embedding_rate, 0.0)]
    groups += [group(2, rate, settings.weight_decay), group(1, rate, 0.0)]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))
