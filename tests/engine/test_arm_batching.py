"""Arms that are trained side by side are what each is alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from oocr.engine import selftest
from oocr.engine.recording_cache import RecordingCache
from oocr.engine.trainable import ArmSpec
from oocr.engine.training import Trained, fit, fit_all
from oocr.engine.training_batches import prepare
from oocr.errors import InputError
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import SteeringVector
from oocr.tasks.task import Task
from tests.engine.test_training import (
    LORA,
    PROMPTS,
    VECTOR,
    capital_task,
    choice_task,
    item,
    model_of,
    same,
)
from tests.tiny.models import tensors_of


def other_answers(count: int) -> list[Task]:
    """Tasks with the same prompts and different answers."""
    return [capital_task(answer) for answer in (" Paris", " Tokyo", " Rome", " Berlin")[:count]]


def close(a: Trained, b: Trained) -> None:
    torch.testing.assert_close(torch.tensor(a.losses), torch.tensor(b.losses), rtol=1e-4, atol=1e-5)
    assert a.learning_rate == b.learning_rate
    assert dict(a.final.about) == dict(b.final.about)
    assert list(a.snapshots) == list(b.snapshots)
    pairs = [(a.final, b.final), *((a.snapshots[s], b.snapshots[s]) for s in a.snapshots)]
    for tensor, other in pairs:
        for x, y in zip(tensors_of(tensor), tensors_of(other), strict=True):
            torch.testing.assert_close(x, y, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("kind", ["vector", "adapter"])
def test_arms_trained_side_by_side_are_what_each_is_alone(family: str, kind: str) -> None:
    model, counted = model_of(family), []
    names = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h"}
    lora = LowRankAdapter(layers=(1, 2), rank=2, alpha=3, modules=(names.get(family, "down_proj"),))
    spec = SteeringVector(layer=1, positions="codename") if kind == "vector" else lora
    known = RecordingCache()
    fits, prepared = [], []
    for seed, task in enumerate([*other_answers(3), choice_task()]):
        fits.append(ArmSpec(task, spec, 0.01 * (seed + 1), 5, seed, (2, 4)))
        prepared.append(prepare(model, task, [1, 2], shared=known))
    blocks = model.anatomy.blocks
    handle = blocks[3].register_forward_hook(lambda _m, _i, out: counted.append(1))
    together = fit_all(model, fits, prepared)
    handle.remove()
    assert len(counted) == 5, "one pass a step for four arms"
    for arm, done in zip(fits, together, strict=True):
        alone = fit(
            model,
            arm.task,
            arm.spec,
            learning_rate=arm.learning_rate,
            steps=arm.steps,
            seed=arm.seed,
            snapshots=arm.snapshots,
        )
        close(done, alone)
    assert len({trained.losses for trained in together}) == 4


@pytest.mark.parametrize("family", ["qwen3_5", "mamba"])
def test_loras_where_keys_cannot_be_reused_are_trained_one_after_the_other(family: str) -> None:
    """Blocks run for one arm's batch at a time there, and an arm's LoRA is in its own batch."""
    model = selftest.tested(model_of(family))
    assert model.replays
    assert not model.reuses_keys
    modules = {"qwen3_5": "down_proj", "mamba": "in_proj"}[family]
    spec = LowRankAdapter(layers=(1,), rank=2, modules=(modules,))
    arms = [ArmSpec(task, spec, 0.01, 3, seed) for seed, task in enumerate(other_answers(3))]
    trained = fit_all(model, arms, [prepare(model, arm.task, [1]) for arm in arms])
    for arm, done in zip(arms, trained, strict=True):
        close(done, fit(model, arm.task, spec, learning_rate=0.01, steps=3, seed=arm.seed))


@pytest.mark.parametrize("spec", [VECTOR, LORA])
def test_arms_that_see_other_tokens_are_trained_apart(
    spec: SteeringVector | LowRankAdapter,
) -> None:
    """Other prompts, another order of batches, another site: all in one call."""
    model, known = model_of(), RecordingCache()
    other = Task(name="x", member="x", train=(item("0", PROMPTS[0], " Paris"),))
    elsewhere = (
        SteeringVector(layer=1, positions="last")
        if isinstance(spec, SteeringVector)
        else LowRankAdapter(layers=(1,), rank=3)
    )
    tasks = [capital_task(), capital_task(), other, capital_task()]
    specs = [spec, spec, spec, elsewhere]
    fits = [
        ArmSpec(t, s, None, 3, seed) for seed, (t, s) in enumerate(zip(tasks, specs, strict=True))
    ]
    prepared = [prepare(model, task, [1, 2], 1, known) for task in tasks]
    for arm, done in zip(fits, fit_all(model, fits, prepared), strict=True):
        close(done, fit(model, arm.task, arm.spec, steps=3, seed=arm.seed, batch_lines=1))


def test_side_by_side_with_dropout_each_arm_keeps_its_own_draws() -> None:
    model, task = model_of(), capital_task()
    spec = LowRankAdapter(layers=(1,), rank=2, dropout=0.5)
    prepared = prepare(model, task, [1])
    fits = [ArmSpec(task, spec, 0.01, 4, seed) for seed in (0, 1)]
    for arm, done in zip(fits, fit_all(model, fits, [prepared, prepared]), strict=True):
        assert same(
            done.final, fit(model, task, spec, learning_rate=0.01, steps=4, seed=arm.seed).final
        )


def test_after_training_side_by_side_no_hook_stays_even_after_an_error() -> None:
    model, task = model_of(), capital_task()
    prepared = prepare(model, task, [1])
    before = [len(m._forward_hooks) for m in model.hf.modules()]
    huge = replace(LORA, alpha=1e38)
    wrong = [ArmSpec(task, huge, 1e30, 3, seed=seed) for seed in (0, 1)]
    with pytest.raises(InputError, match="capital: the loss became"):
        fit_all(model, wrong, [prepared, prepared])
    assert [len(m._forward_hooks) for m in model.hf.modules()] == before
