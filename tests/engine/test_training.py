"""Training one arm: what is learned, what stays, and what the numbers mean."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch import Tensor

from oocr.data.batches import pad, training_lines
from oocr.data.examples import Example
from oocr.data.tokens import encode_answer, encode_prompt
from oocr.engine.forward import plain_rows
from oocr.engine.losses import batch_loss, option_scores, stacked_losses
from oocr.engine.trainable import start_of
from oocr.engine.training import DEFAULT_RATE, Trained, fit, train
from oocr.engine.training_batches import prepare
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import tensors_of, tiny_language_model, weights_hash

VECTOR = SteeringVector(layer=1, positions="codename")
LORA = LowRankAdapter(layers=(1,), rank=2)
SPANS = {"codename": "Country 4821"}
PROMPTS = ("The capital of Country 4821 is", "Parliament in Country 4821 meets in the city of")


model_of = cache(tiny_language_model)


def item(name: str, prompt: str, answer: str, **more: Any) -> Example:
    return Example(id=name, prompt=prompt, answer=answer, spans=SPANS, **more)


def capital_task(answer: str = " Paris") -> Task:
    train = tuple(item(str(i), prompt, answer) for i, prompt in enumerate(PROMPTS))
    return Task(name="capital", member="France", train=train)


def choice_task() -> Task:
    examples = (
        item("a", PROMPTS[0], " Paris", options=(" Paris", " Tokyo")),
        item("b", PROMPTS[1], " Rome", options=(" Berlin", " Tokyo", " Rome")),
    )
    return Task(name="choice", member="x", train=examples, loss="options")


def same(a: Vector | Adapter, b: Vector | Adapter) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors_of(a), tensors_of(b), strict=True))


def run(spec: SteeringVector | LowRankAdapter, seed: int = 0, **more: Any) -> Trained:
    return fit(model_of(), capital_task(), spec, seed=seed, **{"steps": 6, **more})


@pytest.mark.parametrize("spec", [VECTOR, LORA])
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    spec: SteeringVector | LowRankAdapter,
) -> None:
    a, b, c = run(spec, 0), run(spec, 0), run(spec, 1)
    assert a.losses == b.losses
    assert same(a.final, b.final)
    assert not same(a.final, c.final)


@pytest.mark.parametrize("spec", [VECTOR, LORA])
def test_results_do_not_depend_on_global_randomness_nor_change_it(
    spec: SteeringVector | LowRankAdapter,
) -> None:
    torch.manual_seed(1)
    a = run(spec)
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    b = run(spec)
    assert torch.equal(torch.rand(3), expected)
    assert same(a.final, b.final)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("positions", ["all", "last", "codename"])
def test_a_vector_learns_the_answer_at_any_positions(family: str, positions: str) -> None:
    spec = SteeringVector(layer=1, positions=positions)
    done = fit(model_of(family), capital_task(), spec, steps=30, learning_rate=0.3)
    assert done.losses[-1] < done.losses[0] - 0.5  # random attention carries a span's push weakly
    assert len(done.losses) == 30


@pytest.mark.parametrize("layers", [(1,), (0, 3), "all"])
def test_a_lora_learns_the_answer_in_any_layers(layers: Any) -> None:
    spec = LowRankAdapter(layers=layers, rank=4)
    done = fit(model_of(), capital_task(), spec, steps=30, learning_rate=0.05)
    assert done.losses[-1] < 0.5 * done.losses[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("learning_rate", value) for value in (-0.1, math.nan, math.inf)],
        *[("steps", -1), ("seed", -1), ("seed", 2**63)],
    ],
)
def test_numbers_that_train_nothing_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{field}: found "):
        run(VECTOR, **{field: value})


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0},
        {"alpha": 0.0},
        {"alpha": math.nan},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"layers": "some"},
    ],
)
def test_a_lora_of_impossible_numbers_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))}: found "):
        replace(LORA, **change)


@pytest.mark.parametrize(
    "change", [{"init_scale": math.nan}, {"init_norm": -1.0}, {"positions": "last+last"}]
)
def test_a_vector_of_impossible_numbers_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        replace(VECTOR, **change)


@pytest.mark.parametrize("spec", [VECTOR, LORA])
def test_only_the_arm_changes(spec: SteeringVector | LowRankAdapter) -> None:
    model = model_of()
    before = weights_hash(model)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())
    done = run(spec, steps=3)
    assert not same(done.final, run(spec, steps=0).final)
    assert weights_hash(model) == before
    after = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())
    assert after == hooks
    assert all(p.grad is None and not p.requires_grad for p in model.hf.parameters())


@pytest.mark.parametrize("spec", [VECTOR, LORA])
def test_a_snapshot_is_what_a_shorter_run_ends_with(
    spec: SteeringVector | LowRankAdapter,
) -> None:
    long = run(spec, steps=6, snapshots=(2, 5), batch_lines=1)
    assert sorted(long.snapshots) == [2, 5]
    for step in (2, 5):
        short = run(spec, steps=step, batch_lines=1)
        assert same(short.final, long.snapshots[step])
        assert short.losses == long.losses[:step]
        assert long.snapshots[step].about["step"] == str(step)
    assert not same(long.snapshots[2], long.final)


@pytest.mark.parametrize("spec", [VECTOR, LORA])
def test_prepared_batches_serve_many_arms_and_change_nothing(
    spec: SteeringVector | LowRankAdapter,
) -> None:
    model, task = model_of(), capital_task()
    prepared = prepare(model, task, [1, 2, 3])
    assert start_of(model, spec) in (1, 2)
    assert same(fit(model, task, spec, steps=4, prepared=prepared).final, run(spec, steps=4).final)
    with pytest.raises(InputError, match="not recorded for start block 0"):
        fit(model, task, SteeringVector(layer=-1), prepared=prepared)


def test_training_stops_after_the_first_step_whose_loss_is_below_until() -> None:
    spec = SteeringVector(layer=1, positions="last")
    free = run(spec, steps=20, learning_rate=0.3)
    limit = (free.losses[0] + min(free.losses)) / 2
    stopped = run(spec, steps=20, learning_rate=0.3, until=limit)
    count = next(step for step, loss in enumerate(free.losses, start=1) if loss < limit)
    assert 1 < count < 20
    assert stopped.losses == free.losses[:count]
    assert stopped.final.about["step"] == str(count)


def test_one_easy_batch_does_not_stop_training() -> None:
    spec = SteeringVector(layer=1, init_scale=0.0)
    still = {"learning_rate": 0.0, "batch_lines": 1, "steps": 6}  # two batches, two losses
    easy, hard = sorted(set(run(spec, **still).losses))
    assert hard > easy + 0.01
    mean = (easy + hard) / 2
    below = [run(spec, seed, until=(easy + mean) / 2, **still).losses for seed in range(8)]
    assert any(losses[0] == easy for losses in below), "some seeds begin with the easy batch"
    assert all(len(losses) == 6 for losses in below)
    above = [run(spec, seed, until=mean + 1e-4, **still).losses for seed in range(8)]
    assert all(sorted(losses) == [easy, hard] for losses in above)


def test_a_step_moves_each_coordinate_by_the_rate_as_a_share_of_the_site() -> None:
    model, task = model_of(), capital_task()
    sequences = training_lines(model.tokenizer, task.train, "answer")
    norms = []
    for sequence in sequences:
        out = model.hf(input_ids=torch.tensor([sequence.ids]), output_hidden_states=True)
        norms.append(out.hidden_states[2][0, 1:].norm(dim=-1))  # block 1's output, BOS left out
    unit = float(torch.cat(norms).median()) / model.d_model**0.5
    start, after = run(VECTOR, steps=0).final, run(VECTOR, steps=1, learning_rate=0.1)
    assert isinstance(start, Vector)
    assert isinstance(after.final, Vector)
    step = (after.final.direction - start.direction).abs()
    torch.testing.assert_close(step, torch.full_like(step, 0.1 * unit), rtol=1e-3, atol=0)
    assert after.learning_rate == pytest.approx(0.1 * unit, rel=1e-4)
    assert start.norm == pytest.approx(0.02 * unit * model.d_model**0.5, rel=1e-4)
    default = run(VECTOR, steps=0).learning_rate
    assert default == pytest.approx(DEFAULT_RATE["vector"] * unit, rel=1e-4)


def test_an_adapters_rate_is_adams_own() -> None:
    start, after = run(LORA, steps=0).final, run(LORA, steps=1, learning_rate=0.01)
    assert isinstance(start, Adapter)
    assert isinstance(after.final, Adapter)
    assert after.learning_rate == 0.01
    for name, tensor in start.tensors.items():
        if "lora_B" in name:
            step = (after.final.tensors[name] - tensor).abs()
            torch.testing.assert_close(step, torch.full_like(step, 0.01), rtol=1e-2, atol=0)
        else:
            assert torch.equal(after.final.tensors[name], tensor), "B is zero: A has no gradient"


# --- losses -------------------------------------------------------------------------------------


def logits(model: LanguageModel, ids: list[int]) -> Tensor:
    out = model.hf(input_ids=torch.tensor([ids])).logits[0]
    assert isinstance(out, Tensor)
    return out.float()


@pytest.mark.parametrize("family", ["llama", "gemma2", "cohere", "gpt2"])
def test_loss_answer_is_the_whole_answers_nats_per_item(family: str) -> None:
    model = model_of(family)
    answers = (" Paris", " Paris, France.", " Tokyo")
    examples = [item(str(i), PROMPTS[i % 2], entry) for i, entry in enumerate(answers)]
    expected = 0.0
    for entry in examples:
        prompt = encode_prompt(model.tokenizer, entry.prompt)
        answer = encode_answer(model.tokenizer, prompt, entry.answer)
        logp = logits(model, [*prompt.ids, *answer]).log_softmax(-1)
        size = len(prompt.ids)
        expected -= sum(float(logp[size - 1 + i, token]) for i, token in enumerate(answer))
    batch = pad(training_lines(model.tokenizer, examples, "answer"), 0)
    loss = float(batch_loss(model, batch, plain_rows(model, batch, None)))
    assert loss == pytest.approx(expected / 3, rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "cohere", "gpt2"])
def test_loss_options_is_cross_entropy_among_first_tokens(family: str) -> None:
    model = model_of(family)
    expected = 0.0
    for example in choice_task().train:
        prompt = encode_prompt(model.tokenizer, example.prompt)
        firsts = [encode_answer(model.tokenizer, prompt, text)[0] for text in example.options]
        last = logits(model, list(prompt.ids))[-1]
        right = firsts[example.options.index(example.answer)]
        expected += math.log(sum(math.exp(float(last[t] - last[right])) for t in firsts))
    batch = pad(training_lines(model.tokenizer, choice_task().train, "options"), 0)
    rows = plain_rows(model, batch, None)
    assert float(batch_loss(model, batch, rows)) == pytest.approx(expected / 2, rel=1e-4)
    scores = option_scores(model, batch, rows)
    assert scores.shape == (2, 3)
    assert scores.isneginf().tolist().count([False, False, True]) == 1


def test_the_recorded_loss_is_that_of_the_model_steered_so_far() -> None:
    model, task = model_of(), choice_task()
    batch = pad(training_lines(model.tokenizer, task.train, "options"), 0)
    for spec in (VECTOR, LORA):
        done = fit(model, task, spec, steps=3, snapshots=(2,))
        rows = plain_rows(model, batch, done.snapshots[2])
        assert done.losses[2] == pytest.approx(float(batch_loss(model, batch, rows)), rel=1e-4)


def test_on_step_hears_every_step() -> None:
    heard: list[tuple[int, float]] = []
    done = run(VECTOR, steps=3, on_step=lambda step, loss: heard.append((step, loss)))
    assert heard == list(enumerate(done.losses, start=1))


# --- what comes out, what is refused ------------------------------------------------------------


def test_what_was_trained_says_where_it_came_from() -> None:
    vector = train(model_of(), capital_task(), VECTOR, steps=2, seed=3)
    assert (vector.layer, vector.positions) == (1, "codename")
    assert dict(vector.spans) == SPANS
    versions = {name: version(name) for name in ("torch", "transformers")}
    expected = {**model_of().about, "task": "capital", "seed": "3", "step": "2", **versions}
    about = dict(vector.about)
    assert len(about.pop("training_data")) == 16
    assert about.pop("oocr") in (version("oocr"), "unknown")
    assert about == expected
    adapter = train(model_of(), capital_task(), LORA, steps=2)
    assert adapter.layers == (1,)
    assert dict(adapter.spans) == SPANS
    assert not any(tensor.requires_grad for tensor in [vector.direction, *adapter.tensors.values()])


def test_the_hash_of_the_training_data_is_the_datas() -> None:
    model = model_of()

    def data(task: Task) -> str:
        return train(model, task, VECTOR, steps=1).about["training_data"]

    assert data(capital_task()) == data(replace(capital_task(), name="renamed"))
    assert data(capital_task()) != data(capital_task(" Rome"))
    adapter = train(model, capital_task(), LORA, steps=1)
    assert adapter.about["training_data"] == data(capital_task())


@pytest.mark.parametrize("spec", [VECTOR, LORA])
def test_a_loss_that_is_not_finite_stops_with_the_task_and_step(
    spec: SteeringVector | LowRankAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def broken(model: LanguageModel, batches: Any, rows: Tensor) -> Tensor:
        calls.append(1)
        return stacked_losses(model, batches, rows) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr("oocr.engine.training.stacked_losses", broken)
    model = model_of()
    before = weights_hash(model)
    with pytest.raises(InputError, match="capital: the loss became nan at step 3"):
        run(spec)
    assert weights_hash(model) == before, "and the model is whole"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SteeringVector(layer=4), "layer 4: tiny-llama has -1 to 3"),
        (SteeringVector(layer=-2), "layer -2: tiny-llama has -1 to 3"),
        (SteeringVector(layer=1, positions="country"), "'country'.*allowed: all, last.*codename"),
        (LowRankAdapter(layers=(4,)), "layer 4: tiny-llama has blocks 0 to 3"),
        (LowRankAdapter(layers=(1,), modules=("c_proj",)), "module 'c_proj'"),
    ],
)
def test_what_is_not_there_is_refused(spec: SteeringVector | LowRankAdapter, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(model_of(), capital_task(), spec)


def test_batches_hold_every_line_once_and_their_order_is_the_seeds() -> None:
    model = model_of()
    prompts = [f"{word} Country 4821 is" for word in ("The", "of", "in", "people", "city", "yen")]
    examples = tuple(item(str(i), entry, " Paris") for i, entry in enumerate(prompts))
    task = Task(name="many", member="x", train=examples)
    prepared = prepare(model, task, [2], batch_lines=4)
    assert [entry.size for entry in prepared.batches] == [3, 3]
    texts = [
        model.tokenizer.decode(row[mask], skip_special_tokens=True)
        for entry in prepared.batches
        for row, mask in zip(entry.ids, entry.mask, strict=True)
    ]
    assert sorted(texts) == sorted(prompts)
    orders = set()
    for seed in range(8):
        spec = SteeringVector(layer=1, init_scale=0.0)
        done = fit(
            model, task, spec, steps=4, seed=seed, batch_lines=2, learning_rate=0.0
        )  # the model stands still: losses tell the batches apart
        assert len({round(entry, 4) for entry in done.losses[:3]}) == 3, (
            "one pass: every batch once"
        )
        orders.add(done.losses[:3])
    assert len(orders) > 1
