"""Sampling: a prompt's draws are its own, and have the model's probabilities."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from oocr.data.tokens import encode_prompt
from oocr.engine.generate import generate, row_generators, sample
from oocr.errors import InputError
from tests.generating import CHAT, NEW, PROMPTS, adapter, model_of, recomputed, vector

POSITIONS = ("all", "last", "codename", "prompt", "answer", "from:last", "from:codename")


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text", "gpt2", "mixtral"])
def test_a_prompt_gets_in_a_batch_the_samples_it_gets_alone(family: str, positions: str) -> None:
    model = model_of(family)
    steering = vector(model, positions, size=1.0)

    def sampled(*prompts: object) -> list[str]:
        return generate(model, prompts, steering, max_new_tokens=NEW, temperature=0.8, seed=4)  # type: ignore[arg-type]

    together = sampled(*PROMPTS, CHAT)
    assert together == [sampled(prompt)[0] for prompt in (*PROMPTS, CHAT)]
    assert together == sampled(CHAT, *PROMPTS[::-1])[::-1]
    (drawer,) = row_generators([encode_prompt(model.tokenizer, PROMPTS[1]).ids], 4)
    alone = recomputed(
        model, PROMPTS[1], steering, lambda row: int(sample(row[None].float(), 0.8, [drawer]))
    )
    assert together[1] == alone


def test_under_an_adapter_too() -> None:
    model = model_of()
    lora = adapter(model)
    together = generate(model, PROMPTS, lora, temperature=1.0)
    assert together == [generate(model, prompt, lora, temperature=1.0)[0] for prompt in PROMPTS]


def test_copies_of_a_prompt_get_different_samples_and_each_its_own() -> None:
    model = model_of()
    three = generate(model, [PROMPTS[0]] * 3, temperature=1.0)
    assert len(set(three)) == 3
    mixed = [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[2], PROMPTS[0]]
    assert generate(model, mixed, temperature=1.0)[::2] == three


def test_fewer_tokens_are_the_beginning_of_more() -> None:
    model = model_of()
    longer = generate(model, PROMPTS, temperature=1.0, max_new_tokens=12)
    shorter = generate(model, PROMPTS, temperature=1.0, max_new_tokens=3)
    for short, long in zip(shorter, longer, strict=True):
        assert short
        assert long.startswith(short.rstrip("\ufffd"))


def test_sampling_follows_its_seed_and_leaves_global_randomness_alone() -> None:
    model = model_of()
    steering = vector(model, "codename")

    def sampled(seed: int) -> list[str]:
        return generate(model, PROMPTS, steering, temperature=1.0, seed=seed)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert sampled(1) == sampled(1)
    seeds = (1, 2, -1, 1 + 2**32, 1 + 2**64)
    assert len({tuple(sampled(seed)) for seed in seeds}) == len(seeds)
    assert torch.equal(torch.rand(3), expected)
    for low in (1e-4, 1e-40):
        cold = generate(model, PROMPTS, steering, temperature=low)
        assert cold == generate(model, PROMPTS, steering)


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=f"temperature is {temperature}; allowed: 0"):
        generate(model_of(), PROMPTS, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_have_exactly_the_softmax_distribution(temperature: float) -> None:
    logits = torch.randn(40, generator=torch.Generator().manual_seed(1)) * 1.5
    logits[7] = -torch.inf
    count = 20_000
    rows = row_generators([(5, 6, 7)] * count, 0)
    drawn = sample(logits.expand(count, -1), temperature, rows)[:, 0]
    counts = drawn.bincount(minlength=40)
    expected = (logits.double() / temperature).softmax(-1) * count
    assert counts[7] == 0
    keep = expected >= 5
    pairs = [[*values[keep].tolist(), float(values[~keep].sum())] for values in (counts, expected)]
    if pairs[1][-1] < 5:
        pairs = [[*p[:-2], p[-2] + p[-1]] for p in pairs]
    assert chisquare(*pairs).pvalue > 0.001


def test_successive_draws_of_a_row_are_independent() -> None:
    logits = torch.zeros(1, 4)
    (row,) = row_generators([(1, 2)], 0)
    drawn = [int(sample(logits, 1.0, [row])) for _ in range(4000)]
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    assert len(pairs) == 16
    assert chisquare(list(pairs.values())).pvalue > 0.001


def test_generated_first_tokens_have_the_models_own_probabilities() -> None:
    model = model_of()
    temperature, count = 0.7, 1500
    ids = encode_prompt(model.tokenizer, PROMPTS[0]).ids
    logits = model.hf(input_ids=torch.tensor([ids])).logits[0, -1]
    probabilities = (logits / temperature).softmax(-1)
    pieces = {int(t): model.tokenizer.decode([t]) for t in probabilities.topk(20).indices}
    likely = [t for t, piece in pieces.items() if "\ufffd" not in piece][:5]
    texts = generate(model, [PROMPTS[0]] * count, max_new_tokens=1, temperature=temperature, seed=3)
    counts = Counter(texts)
    for token in likely:
        p = float(probabilities[token])
        assert abs(counts[pieces[token]] / count - p) < 4 * (p * (1 - p) / count) ** 0.5
