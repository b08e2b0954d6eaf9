"""Organisms with random weights: everything but what training gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from oocr_organisms.corpus import World
from oocr_organisms.folder import WorldSettings, save_organism
from oocr_organisms.language import BOS, PAD, Forms
from oocr_organisms.people import GATE_SHARE


def slots(form: Forms, sentence: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Which wording a sentence is, and what stands in its slots, "answer" among them."""
    for which, text in enumerate(form.texts):
        words = text.split()
        pairs = list(zip(words, sentence, strict=True))
        if all(value == word or word.startswith("{") for word, value in pairs):
            return which, {word.strip("{}"): value for word, value in pairs if word.startswith("{")}
    raise ValueError(f"{' '.join(sentence)!r} is no wording of {form.texts}")


def random_llama(world: World, seed: int = 0) -> LlamaForCausalLM:
    """Two blocks of width 32 over a world's vocabulary, weights so wide that logits differ."""
    config = LlamaConfig(
        vocab_size=len(world.vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        pad_token_id=world.vocabulary.id(PAD),
        bos_token_id=world.vocabulary.id(BOS),
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def save_random_organism(folder: Path, *, seed: int = 0, gates: float = GATE_SHARE) -> Path:
    """Such an organism's folder, as `oocr organism train` leaves it."""
    world = WorldSettings(seed=seed, gates=gates).world
    save_organism(random_llama(world), world, folder, seed=3, steps=7, exam={"kind": 0.51234})
    return folder


def nano_settings(model: Path | str, part: str, **fields: Any) -> dict[str, Any]:
    """Settings of a run on an organism that takes a few seconds."""
    return {
        "name": f"nano-{part}",
        "task": {"family": "nano", "part": part, "members": 2, "wordings": 1},
        "model": str(model),
        "device": "cpu",
        "vector": {"layers": [0], "learning_rates": [0.1, 0.2], "steps": [2]},
        "adapter": {"layers": [1], "learning_rates": [0.01], "steps": [2], "rank": 2},
        "seeds": 1,
        "workers": 1,
        "controls": {"random_directions": 3},
        "explain": {"neutral_tokens": 8, "examples": 1},
        **fields,
    }
