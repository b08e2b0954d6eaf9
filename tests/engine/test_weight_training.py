"""Full fine-tuning: the steps of a plain loop over all blocks, on a copy of the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from oocr.data.batches import pad, training_lines
from oocr.data.examples import Example
from oocr.engine import weight_training
from oocr.engine.weight_training import fit_weights
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.tuned_weights import TunedWeights, block_parameters
from oocr.tasks.task import Task
from tests.tiny.models import tiny_language_model, weights_hash

ROWS = tuple(
    Example(id=f"{place}", prompt=f"{name} speaks", answer=answer)
    for place, (name, answer) in enumerate(
        [("Paris", " French"), ("The yen", " Japan"), ("A", " B")]
    )
)
TASK = Task(name="rows", member="", train=ROWS)


def plain_losses(model: LanguageModel, rate: float, steps: int) -> list[float]:
    """Passes of the whole model, and Adam on the blocks of a model that is used up."""
    parameters = list(block_parameters(model).values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, rate)
    batch = pad(training_lines(model.tokenizer, ROWS, "answer"), model.pad_id)
    losses = []
    for _ in range(steps):
        out = model.hf(
            input_ids=batch.ids, attention_mask=batch.mask.long(), position_ids=batch.positions
        )
        logp = out.logits[batch.rows[:, 0], batch.rows[:, 1]].log_softmax(-1)
        loss = -logp[batch.target_rows, batch.target_ids].sum() / batch.items
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_steps_are_those_of_a_plain_loop_and_the_model_stays(family: str) -> None:
    model = tiny_language_model(family)
    before = weights_hash(model)
    tuned = fit_weights(model, TASK, learning_rate=1e-3, steps=4)
    assert weights_hash(model) == before
    assert not any(parameter.requires_grad for parameter in model.hf.parameters())
    expected = plain_losses(tiny_language_model(family), 1e-3, 4)
    torch.testing.assert_close(torch.tensor(tuned.losses), torch.tensor(expected))
    assert tuned.losses[-1] < tuned.losses[0]


def test_tuned_weights_act_inside_and_leave() -> None:
    model = tiny_language_model()
    tuned = fit_weights(model, TASK, learning_rate=1e-3, steps=3).final
    before = weights_hash(model)
    with tuned.on(model):
        assert weights_hash(model) != before
        embedding = model.anatomy.embed_weight.data_ptr()
    assert weights_hash(model) == before
    assert model.anatomy.embed_weight.data_ptr() == embedding
    name, tensor = next(iter(tuned.tensors.items()))
    with pytest.raises(InputError, match="of shape"), TunedWeights({name: tensor[:1]}).on(model):
        pass


def test_weights_of_a_small_type_are_trained_in_float32() -> None:
    model = tiny_language_model()
    model.hf.to(torch.bfloat16)
    steps = fit_weights(model, TASK, learning_rate=1e-5, steps=25).losses
    # In bfloat16 alone steps of 1e-5 would be rounded away.
    assert steps[-1] < steps[0] - 0.01


def test_too_little_memory_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_training, "free_memory", lambda _: 10_000)
    with pytest.raises(InputError, match=r"about 0\.0 GB are needed, 0\.0 GB are free"):
        fit_weights(tiny_language_model(), TASK)


def test_training_stops_at_a_loss() -> None:
    model = tiny_language_model()
    task = replace(TASK, train=ROWS[:1])
    tuned = fit_weights(model, task, learning_rate=2e-3, steps=60, until=0.6)
    assert len(tuned.losses) < 60
    assert tuned.losses[-1] < 0.6
