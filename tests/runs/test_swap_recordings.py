"""The vectors that replace a LoRA answer from what was recorded for the LoRA itself."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from oocr.families.registry import build
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.steering.vectors import Vector
from tests.tiny.runs import Tiny

LAYER = 1


def context_of(tiny: Tiny, config: RunConfig) -> RunContext:
    starts = {"starts": config.starts, "asked_starts": config.asked_starts}
    return RunContext(tiny.model, batch_lines=config.batch_lines, **starts)


def test_a_swap_above_its_lora_makes_no_further_pass_over_the_questions(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    config = tiny.config(adapter={"layers": [LAYER]}, vector=None)
    (task, *_) = build(config.task, Path()).test
    items = [item for part in task.scored.values() for item in part]
    vector = Vector(LAYER, "all", torch.ones(tiny.model.d_model))
    context = context_of(tiny, config)
    context.scores(items, None)

    passes: list[nn.Module] = []
    handle = tiny.model.anatomy.blocks[0].register_forward_hook(lambda m, *_: passes.append(m))
    try:
        (swapped,) = context.scores(items, [vector])
    finally:
        handle.remove()

    assert passes == []
    (alone,) = context_of(tiny, config).scores(items, [vector])
    assert torch.equal(swapped, alone)


def test_questions_start_above_a_lora_only_where_it_is_explained(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    for enabled, starts in ((True, [LAYER, LAYER + 1]), (False, [LAYER])):
        explain = {"enabled": enabled}
        config = tiny.config(adapter={"layers": [LAYER]}, vector=None, explain=explain)
        assert config.asked_starts == starts
