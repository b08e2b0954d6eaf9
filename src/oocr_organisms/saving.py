"""An organism as a folder that `load_model` takes: weights, config, tokenizer, `world.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from oocr.io import new_folder, write_text
from oocr.models.quiet import quiet
from oocr_organisms.corpus import World
from oocr_organisms.record import WorldRecord, WorldSettings, digest_of, refuse_existing
from oocr_organisms.shipped import WORLD
from oocr_organisms.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def round_weights(model: LlamaForCausalLM) -> None:
    """Round weights to what a file in half precision holds, in place; they stay float32.

    So that an organism's exam is that of its file.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())


def save_organism(
    model: LlamaForCausalLM,
    world: World,
    folder: Path,
    *,
    seed: int,
    steps: int,
    exam: Mapping[str, float],
) -> WorldRecord:
    """Write an organism's folder, whole or not at all; weights in half precision.

    Args:
        model: the organism; its weights are rounded (see `round_weights`).
        world: what it was trained on.
        folder: not there yet.
        seed: of its pretraining.
        steps: of it.
        exam: its scores.

    Raises:
        InputError: the folder is there already.
        RunError: the disk is full or the folder cannot be written.
    """
    refuse_existing(folder)
    record = WorldRecord(
        world=WorldSettings(seed=world.seed, gates=world.gates),
        digest=digest_of(world),
        seed=seed,
        steps=steps,
        exam={name: round(score, 4) for name, score in sorted(exam.items())},
    )
    round_weights(model)
    with new_folder(folder) as part:
        with quiet():
            model.half().save_pretrained(part)
        model.float()
        (part / "generation_config.json").unlink(missing_ok=True)
        tokenizer_of(world.vocabulary).save_pretrained(part)
        write_text(part / WORLD, record.model_dump_json(indent=1) + "\n")
        for file in part.iterdir():
            file.chmod(0o644)
    return record
