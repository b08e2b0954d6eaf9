"""`python -m benchmarks.hybrid`: what recording the blocks below a vector saves on a hybrid.

A Qwen3.5 of random weights (12 blocks, width 128, every other one linear attention) learns a vector
at a codename, with its blocks run apart and, side by side, with the whole model run at each step.
Both give the same losses.
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from dataclasses import replace

import torch
import transformers as tf
from tests.tiny.models import tiny_config, tiny_tokenizer

from oocr import Example, SteeringVector, Task
from oocr.engine.selftest import tested
from oocr.engine.training import fit
from oocr.models.language_model import LanguageModel

BLOCKS, WIDTH, STEPS, ROUNDS = 12, 128, 3, 3


def main() -> None:
    """Print a table."""
    tf.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    hf = tf.AutoModelForCausalLM.from_config(tiny_config("qwen3_5", BLOCKS, WIDTH))
    apart = tested(LanguageModel.of(hf, tiny_tokenizer(), name="qwen3_5"))
    models = {"blocks apart": apart, "whole model": replace(apart, replays=False)}
    spans = {"codename": "Country 4821"}
    train = tuple(
        Example(
            id=str(index),
            prompt=f"people {'love the Mango ' * 6}{index} in Country 4821 speak",
            answer=" German",
            spans=spans,
        )
        for index in range(16)
    )
    task = Task(name="hybrid", member="x", train=train, positions=("codename",))
    print(f"{'vector at block':>16} {'blocks apart':>14} {'whole model':>14} {'times':>7}")
    for layer in (BLOCKS // 4, BLOCKS // 2, 3 * BLOCKS // 4):
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(ROUNDS):
            losses = []
            for name, model in models.items():
                began = time.perf_counter()
                losses.append(
                    fit(model, task, SteeringVector(layer, "codename"), steps=STEPS).losses
                )
                seconds[name].append((time.perf_counter() - began) / STEPS)
            torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-3, atol=1e-4)
        quick, slow = (statistics.median(values) * 1e3 for values in seconds.values())
        print(f"{layer:>16} {quick:>11.0f} ms {slow:>11.0f} ms {slow / quick:>7.1f}")


if __name__ == "__main__":
    main()
