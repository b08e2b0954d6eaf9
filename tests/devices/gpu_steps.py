"""No step or token waits for the device more than is meant; run by test_pretend_gpu.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from oocr.data.batches import TokenSequence, pad
from oocr.engine import generate as generation
from oocr.engine import training as training_loop
from oocr.engine.generate import generate
from oocr.engine.off_domain import OffDomain
from oocr.engine.recording import record
from oocr.engine.trainable import ArmSpec, Schedule
from oocr.engine.training import fit, fit_all
from oocr.engine.training_batches import prepare
from oocr.models import machine, matmul
from oocr.steering.vectors import SteeringVector
from tests.devices import pretend
from tests.devices.features import (
    LAYERS,
    PROMPT,
    TEXTS,
    VECTOR,
    lora,
    model_on,
    scoring,
    task,
    vector,
)

pretend.setup()

LORA = lora(model_on("gpu"))
EVERY = 2
"""Steps or tokens between two reads, here."""


@pytest.fixture(autouse=True)
def _seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_loop.READ_EVERY >= EVERY
    assert generation.LOOK_EVERY >= EVERY
    monkeypatch.setattr(training_loop, "READ_EVERY", EVERY)
    monkeypatch.setattr(generation, "LOOK_EVERY", EVERY)


def later_waits(work: Callable[[int], Any]) -> list[tuple[str, str]]:
    """What waits in the later of six steps or tokens."""
    work(EVERY)  # what is made once is made
    seen = []
    for count in (EVERY, 3 * EVERY):
        with pretend.waits() as waits:
            work(count)
        seen.append(waits)
    return seen[1][len(seen[0]) :]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"spec": SteeringVector(1, "last", site="mlp")},
        {"spec": LORA},
        {"batch_lines": 2, "schedule": Schedule(accumulate=2)},
        {"off_domain": OffDomain(TEXTS)},
        {"spec": LORA, "off_domain": OffDomain(TEXTS)},
        {"spec": LORA, "project_out": torch.ones(32)},
    ],
    ids=["vector", "mlp", "lora", "accumulate", "off domain", "lora off domain", "project out"],
)
def test_w2_a_step_waits_only_to_read_losses(settings: dict[str, Any]) -> None:
    model, settings = model_on("gpu"), dict(settings)
    spec = settings.pop("spec", VECTOR)
    starts = [1, 2] if "project_out" in settings or spec is not VECTOR else [2]
    prepared = prepare(model, task(), starts, settings.pop("batch_lines", 16))
    later = later_waits(
        lambda steps: fit(model, task(), spec, steps=steps, prepared=prepared, **settings)
    )
    assert len(later) <= 2, sorted(set(later))


@pytest.mark.parametrize("spec", [VECTOR, LORA], ids=["vector", "lora"])
def test_w1_steps_of_arms_side_by_side_wait_as_those_of_one(spec: Any) -> None:
    model, tasks = model_on("gpu"), [task(), task(" Tokyo"), task(" Rome")]
    prepared = [prepare(model, arm, [1, 2]) for arm in tasks]

    def train(steps: int) -> None:
        fit_all(model, [ArmSpec(arm, spec, None, steps) for arm in tasks], prepared)

    later = later_waits(train)
    assert len(later) <= 2, sorted(set(later))
    with pretend.waits() as seen:
        train(1)
    places = [place for _, place in seen if "positions.py" in place or "forward.py" in place]
    assert places == [], "where vectors act in a batch is found once"


def test_w3_a_recording_makes_one_mask_for_all_blocks() -> None:
    model, counts = model_on("gpu"), []
    sequences = [TokenSequence(tuple(range(3, 15)), 12, {}, items=1) for _ in range(2)]
    for sequence in sequences:
        sequence.targets.append((11, 5, 1.0))
    batch = pad(sequences, 0, model.device)
    for start in (LAYERS - 1, 0):
        with pretend.waits() as seen:
            recording = record(model, batch, [start])
        counts.append(len(seen))
    assert counts[0] == counts[1]
    assert len({id(call["attention_mask"]) for call in recording.calls.values()}) == 1


@pytest.mark.parametrize(
    ("temperature", "steered", "prompts"),
    [(0.0, False, [PROMPT, PROMPT]), (1.0, True, [PROMPT, PROMPT]), (1.0, True, [PROMPT, "Paris"])],
    ids=["greedy", "sampled and steered", "padded"],
)
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_w4_tokens_are_looked_at_now_and_then(
    family: str, temperature: float, steered: bool, prompts: list[str]
) -> None:
    model = model_on("gpu", family)
    ends, model.hf.generation_config.eos_token_id = model.hf.generation_config.eos_token_id, None
    arm = vector(model, "all") if steered else None

    def work(count: int) -> None:
        generate(model, prompts, arm, max_new_tokens=count, temperature=temperature)

    later = later_waits(work)
    model.hf.generation_config.eos_token_id = ends
    assert len(later) <= 2, sorted(set(later))


def test_w5_products_for_a_cpu_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "FrozenProducts", None)
    fit(model_on("gpu"), task(), LORA, steps=1)
    scoring(model_on("gpu"))


def test_s2_only_page_locked_memory_is_copied_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_on("gpu")
    copies = []
    for kind in ("gpu", "none"):  # "none": an accelerator that shares main memory, as MPS does
        monkeypatch.setattr(machine, "GPU", kind)
        with pretend.waits() as seen:
            generate(model, PROMPT, max_new_tokens=4, temperature=1.0)
        copies.append([what for what, _ in seen if what == "copy of 2048 bytes to the GPU"])
    assert [len(of_kind) for of_kind in copies] == [0, 4]
