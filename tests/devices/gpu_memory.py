"""Memory of a pretend GPU: what leaves it is gone, what needs more is told; run by
test_pretend_gpu.py.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from oocr.engine import memory, selftest, training
from oocr.engine.off_domain import OffDomain, rows_per_step
from oocr.engine.recording_cache import RecordingCache, Tier, tiers
from oocr.engine.trainable import ArmSpec
from oocr.engine.training import fit, fit_all
from oocr.engine.training_batches import prepare
from oocr.errors import InputError
from oocr.explain.differences import TOKENS_PER_BATCH
from oocr.models import machine
from oocr.models.language_model import LanguageModel
from oocr.runs.context import RunContext
from oocr.runs.explain_stage import NEUTRAL_PASSAGES, ExplainContext
from oocr.runs.run import run
from oocr.steering.hooks import stream_hooks
from tests.devices import pretend
from tests.devices.features import TEXTS, VECTOR, lora, lora_of, model_on, numbers, task, unlike
from tests.tiny.models import tiny_config, tiny_model, tiny_tokenizer, weights_hash
from tests.tiny.runs import Tiny

pretend.setup()
GPU = pretend.DEVICES["gpu:0"]
WIDE = 65536


@pytest.fixture(autouse=True)
def _capacity() -> Any:
    yield
    GPU.capacity = pretend.LOCKED.capacity = 2**40


def test_d1_a_recording_that_left_the_gpu_does_not_stay_there(tmp_path: Path) -> None:
    model = model_on("gpu")
    nearest, host = tiers(model.device, 10**9)
    kept = []
    for tier in ([nearest], [Tier(0), host]):
        gc.collect()
        before = GPU.used
        cache = RecordingCache(tier, tmp_path)
        prepared = prepare(model, task(), [2], 1, cache)
        fit(model, task(), VECTOR, steps=6, prepared=prepared)
        gc.collect()
        kept.append(GPU.used - before)
        size = sum(handle.stored.sizes[0] for handle in prepared.recordings.values())
        del prepared, cache
    assert kept[0] - kept[1] > 0.5 * size


def test_d6_what_cannot_be_page_locked_goes_to_the_disk(tmp_path: Path) -> None:
    model = model_on("gpu")
    expected = numbers(fit(model, task(), VECTOR, steps=8, batch_lines=1))
    _, host = tiers(model.device, 10**9)
    pretend.LOCKED.capacity = 0
    cache = RecordingCache([Tier(0), host], tmp_path)
    prepared = prepare(model, task(), [2], 1, cache)
    assert unlike(numbers(fit(model, task(), VECTOR, steps=8, prepared=prepared)), expected) == []
    homes = [handle.stored.tier for handle in prepared.recordings.values()]
    assert homes == [2] * (len(homes) - 1) + [0], "the disk, and the one in use"


def test_d6_page_locked_memory_is_counted_as_it_is_taken() -> None:
    _, host = tiers(torch.device("gpu:0"), 10**9)
    assert [host.size(size) for size in (1, 4096, 4097, 6000)] == [1, 4096, 8192, 8192]


@cache
def wide(dtype: torch.dtype) -> LanguageModel:
    """A model of three blocks with 65536 tokens."""
    config = tiny_config("llama", layers=3)
    config.vocab_size = WIDE
    hf = tf.LlamaForCausalLM(config).eval().to(dtype).to("gpu")
    return selftest.tested(LanguageModel.of(hf, tiny_tokenizer(), name="wide"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arms", [1, 16])
def test_d8_memory_of_a_large_vocabulary_is_predicted(dtype: torch.dtype, arms: int) -> None:
    model = wide(dtype)
    shape = memory.shape_of(model)
    plans = [ArmSpec(replace(task(), name=str(number)), VECTOR, None, 2) for number in range(arms)]
    prepared = [prepare(model, plan.task, [2]) for plan in plans]
    batch = prepared[0].batches[0]
    fit_all(model, plans, prepared)
    gc.collect()
    before = GPU.peak = GPU.used
    fit_all(model, plans, prepared)
    taken, tokens = GPU.peak - before, arms * batch.ids.numel()
    predicted = (
        memory.kept_for_backward(shape, tokens, tokens, 2)
        + memory.passed(shape, 2 * tokens)
        + memory.head(shape, arms * len(batch.rows))
        + memory.trained(arms * 32)
    )
    assert 0.4 * predicted < taken < 1.2 * predicted
    assert taken < 0.5 * 12 * arms * len(batch.rows) * WIDE + 16 * 2**20, "no whole logits"


def test_d8_arms_with_off_domain_texts_share_passes_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole logits of those texts are kept for each arm; a limit of two arms' is kept to."""
    model, off = wide(torch.float32), OffDomain(TEXTS)
    prepared = prepare(model, task(), [2])
    arms = [ArmSpec(task(), VECTOR, None, 2, seed, off_domain=off) for seed in range(6)]
    of_one_arm = memory.divergence_bytes(memory.shape_of(model), rows_per_step(model, off))
    taken, losses = {}, {}
    for count in (6, 2):
        monkeypatch.setattr(training, "STACK_BYTES", count * of_one_arm)
        gc.collect()
        before = GPU.peak = GPU.used
        trained = fit_all(model, arms, [prepared] * len(arms))
        taken[count], losses[count] = GPU.peak - before, [arm.losses for arm in trained]
    assert taken[2] < 2 * of_one_arm < taken[6] < 6 * of_one_arm
    assert unlike(losses[2], losses[6]) == []


@pytest.mark.parametrize(
    ("dtype", "d_model", "neutral"), [(torch.float32, 32, 64), (torch.bfloat16, 1024, 8)]
)
def test_memory_of_explaining_is_predicted(dtype: torch.dtype, d_model: int, neutral: int) -> None:
    """Neutral predictions are most of it, or a part of the head in float32."""
    config = tiny_config("llama", layers=2, d_model=d_model)
    config.vocab_size = min(WIDE, 2**24 // d_model)
    hf = tf.LlamaForCausalLM(config).eval().to(dtype).to("gpu")
    model = LanguageModel.of(hf, tiny_tokenizer(), name="tiny-llama")
    explain = ExplainContext(RunContext(model, [1], 16), 1, "codename", neutral)
    gc.collect()
    before = GPU.peak = GPU.used
    texts = explain.texts(task())
    explain.neutral.damage(lora_of(model))
    taken = GPU.peak - before
    shape, read = memory.shape_of(model), (texts.training, texts.probes, texts.unrelated)
    tokens = sum(len(sequence.ids) for part in read for sequence in part.sequences)
    rows = neutral // NEUTRAL_PASSAGES + 2
    predicted = memory.explaining(shape, tokens, TOKENS_PER_BATCH, neutral, rows, on_gpu=True)
    assert 0.6 * predicted < taken < 1.2 * predicted


def test_a_gpu_that_is_too_small_loses_nothing() -> None:
    model = model_on("gpu")
    before, weights = numbers(fit(model, task(), lora(model), steps=3)), weights_hash(model)
    gc.collect()
    GPU.capacity = GPU.used + 2000
    for work in (
        lambda: fit(model, task(), lora(model), steps=3),
        lambda: selftest.self_test(model),
    ):
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            work()
    GPU.capacity = 2**40
    assert stream_hooks(model) == []
    assert weights_hash(model) == weights
    assert unlike(numbers(fit(model, task(), lora(model), steps=3)), before) == []


def test_s4_free_memory_counts_what_pytorch_gives_out_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = torch.device("gpu:0")
    GPU.capacity = GPU.used + 5000
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: GPU.used + 700)
    assert machine.free_memory(device) == 5700
    assert machine.used_memory(device) == GPU.used


def test_a_run_on_a_gpu_that_is_too_small_is_refused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel.of(tiny_model("llama").to("gpu"), tiny_tokenizer(), name="tiny")
    weights = sum(parameter.nbytes for parameter in model.hf.parameters())
    gc.collect()
    GPU.capacity = GPU.used + 10_000
    for name in ("memory_allocated", "memory_reserved"):  # models of other tests are there too
        monkeypatch.setattr(torch.cuda, name, lambda _: weights)
    with pytest.raises(InputError, match=r"needs at least .* of the GPU's memory"):
        run(tiny.config(), model, tmp_path)
    assert list(tmp_path.iterdir()) == []
