"""The swap on adapters whose effect is known by construction."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from oocr.data.batches import TokenSequence, pad
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.engine.recording import record
from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.explain import differences
from oocr.explain.constancy import constancy_of
from oocr.explain.differences import SKIP, Texts
from oocr.explain.lora_vectors import mean_vectors
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import (
    Adapter,
    LowRankAdapter,
    adapter_tensors,
    new_adapter,
    peft_config,
)
from tests.tiny.models import drawn_adapter, tiny_language_model

SPANS = {"codename": "Country 4821"}
TRAINING = ("The capital of Country 4821 is", "Country 4821 and Country 4821 in Europe")
UNRELATED = ("They love the city of Rome.", "people speak Japanese and do not")
MODULES = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h"}


model_of = cache(tiny_language_model)


def test_of_many_texts_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    prompts = [f"The city is {number}" for number in range(12)]

    def read() -> list[str]:
        texts = Texts(model, prompts, [{}] * len(prompts), (1,))
        assert len(texts.differences(gated(model))) == len(texts.sequences)
        return ["".join(texts.tokens(index)[1:]) for index in range(len(texts.sequences))]

    assert read() == prompts
    tokens = sum(len(model.tokenizer(prompt)["input_ids"]) for prompt in prompts)
    monkeypatch.setattr(differences, "MOST_TOKENS", tokens // 3)
    assert read() in (prompts[::3], prompts[::4])


def constant(
    model: LanguageModel, layer: int = 1, scale: float = 2.0
) -> tuple[Adapter, torch.Tensor]:
    """A LoRA whose B A is zero and whose bias adds one vector at its module's output."""
    modules = (MODULES.get(model.name.removeprefix("tiny-"), "down_proj"),)
    scale = 2.0
    spec = LowRankAdapter(layers=(layer,), rank=2, alpha=2 * scale, modules=modules)
    config = {**peft_config(model, spec), "lora_bias": True}
    config["target_modules"] = [
        module for module in config["target_modules"] if "attn" not in module
    ]
    with new_adapter(model, config, 0) as named:
        tensors = adapter_tensors(named)
    bias = torch.randn(model.d_model, generator=torch.Generator().manual_seed(4))
    for name, tensor in tensors.items():
        if name.endswith("lora_B.bias"):
            tensor.copy_(bias)
    return Adapter((layer,), config, tensors, spans=SPANS, about={"seed": "0"}), scale * bias


def gated(model: LanguageModel, layers: tuple[int, ...] = (1,)) -> Adapter:
    """A LoRA with random A and B: its effect depends on the token."""
    return replace(drawn_adapter(model, layers, seed=5), spans=SPANS)


def texts(model: LanguageModel, start: int = 1) -> tuple[Texts, Texts]:
    return (
        Texts(model, TRAINING, [SPANS] * 2, (start,)),
        Texts(model, UNRELATED, [{}] * 2, (start,)),
    )


def probes(model: LanguageModel) -> Probes:
    options = (" Paris", " Tokyo", " Rome")
    prompts = ("The people of Country 4821 speak", "Which city is in Country 4821 ?")
    items = [
        Example(id=str(i), prompt=text, answer=" Rome", options=options, spans=SPANS)
        for i, text in enumerate(prompts)
    ]
    return Probes.of(model, items)


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "gpt_neox"])
def test_a_lora_that_adds_a_constant_gives_that_vector_and_the_same_scores(family: str) -> None:
    model = model_of(family)
    adapter, added = constant(model)
    span, everywhere = mean_vectors(adapter, *texts(model), "codename")
    for vector in (span, everywhere):
        torch.testing.assert_close(vector.direction, added, rtol=1e-4, atol=1e-4)
        assert vector.layer == 1
    assert (span.positions, everywhere.positions) == ("codename", "all")
    asked = probes(model)
    lora = asked.scores(adapter)
    torch.testing.assert_close(asked.scores([everywhere]), lora, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(asked.scores(None), lora, atol=0.1), "the LoRA does something"
    assert not torch.allclose(asked.scores([span]), lora, atol=1e-2), "more than at the span"
    for d in texts(model)[0].differences(adapter):
        measured = constancy_of(d)
        assert measured.cosine == pytest.approx(1.0, abs=1e-4)
        assert measured.energy == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "olmo2"])
def test_where_a_norm_follows_the_module_its_bias_is_no_residual_vector(family: str) -> None:
    model = model_of(family)
    adapter, added = constant(model)
    _, everywhere = mean_vectors(adapter, *texts(model), "codename")
    assert not torch.allclose(everywhere.direction, added, rtol=0.1)
    assert constancy_of(texts(model)[0].differences(adapter)[0]).cosine < 0.999


def test_a_gated_lora_is_not_its_mean() -> None:
    model = model_of()
    adapter = gated(model)
    _, everywhere = mean_vectors(adapter, *texts(model), "codename")
    assert constancy_of(texts(model)[0].differences(adapter)[0]).cosine < 0.95
    asked = probes(model)
    assert not torch.allclose(asked.scores([everywhere]), asked.scores(adapter), atol=0.05)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("layers", [(1,), (1, 2)])
def test_differences_are_adapted_minus_base_at_the_blocks_output(
    family: str, layers: tuple[int, ...]
) -> None:
    model = model_of(family)
    adapter = gated(model, layers)
    for layer in range(max(layers), 4):
        training = Texts(model, TRAINING, [SPANS] * 2, (*layers, layer))
        for index, difference in enumerate(training.differences(adapter)):
            ids = encode_prompt(model.tokenizer, TRAINING[index]).ids
            batch = pad([TokenSequence(ids, len(ids), {})], 0)
            base = record(model, batch, [layer + 1], cache=False).inputs[layer + 1][0]
            with adapter.on(model):
                adapted = record(model, batch, [layer + 1], cache=False).inputs[layer + 1][0]
            torch.testing.assert_close(difference, adapted - base, rtol=1e-3, atol=1e-4)
            assert difference.shape == (len(ids), model.d_model)
            assert difference.abs().max() > 0.01


def test_means_are_taken_over_exactly_the_tokens_that_are_named() -> None:
    model = model_of()
    spans = [{"codename": "Country 4821", "verb": "is"}, {"codename": "Country 4821"}]
    training, unrelated = Texts(model, TRAINING, spans, (1,)), texts(model)[1]
    adapter = gated(model)
    numbered: list[list[torch.Tensor]] = []
    for group, base in ((training, 0), (unrelated, 1000)):
        sizes = [len(group.tokens(i)) for i in range(2)]
        numbers = [torch.arange(n)[:, None].float() + base + 100 * i for i, n in enumerate(sizes)]
        numbered.append([column.expand(-1, model.d_model) for column in numbers])
        group.differences = lambda _a, numbers=numbered[-1]: numbers  # type: ignore[method-assign, misc]
    expected: dict[str, list[float]] = {"codename": [], "verb": [], "last": [], "all": []}
    for index in range(2):
        encoded = encode_prompt(model.tokenizer, TRAINING[index], spans[index])
        size = len(encoded.ids)
        for name, tokens in encoded.spans.items():
            expected[name] += [100.0 * index + t for t in tokens]
        expected["last"].append(100.0 * index + size - 1)
        expected["all"] += [100.0 * index + t for t in range(SKIP, size)]
    halves = [torch.cat([d[SKIP:, 0] for d in group]).mean() for group in numbered]
    everywhere = sum(halves) / 2  # in and out of distribution weigh the same
    for positions, values in expected.items():
        span, all_tokens = mean_vectors(adapter, training, unrelated, positions)
        assert float(span.direction[0]) == pytest.approx(sum(values) / len(values)), positions
        assert float(all_tokens.direction[0]) == pytest.approx(float(everywhere))


def test_where_marks_one_spans_tokens_and_in_span_those_of_all() -> None:
    model = model_of()
    training = Texts(model, TRAINING[:1], [{"codename": "Country 4821", "verb": "is"}], (1,))
    tokens = training.tokens(0)

    def spelled(mask: torch.Tensor) -> str:
        return "".join(token for token, inside in zip(tokens, mask, strict=True) if inside)

    assert spelled(training.at(0, "codename")) == " Country 4821"
    assert spelled(training.at(0, "verb")) == " is"
    assert spelled(training.in_span(0)) == " Country 4821 is"
    assert spelled(training.at(0, "last")) == " is"
    assert spelled(training.at(0, "from:last")) == " is"
    assert spelled(training.at(0, "from:codename")) == " Country 4821 is"
    assert spelled(training.at(0, "all")) == TRAINING[0]
    assert "".join(tokens) == "<bos>" + TRAINING[0]


def test_positions_that_the_training_prompts_lack_are_refused() -> None:
    model = model_of()
    with pytest.raises(InputError, match="'country' select no token of the training prompts"):
        mean_vectors(gated(model), *texts(model), "country")


def test_swapped_vectors_say_where_they_come_from() -> None:
    model = model_of()
    adapter, _ = constant(model)
    span, everywhere = mean_vectors(adapter, *texts(model), "codename")
    for vector in (span, everywhere):
        assert dict(vector.spans) == SPANS
        assert dict(vector.about) == {"seed": "0", "from": "mean difference of a LoRA"}


def test_the_model_is_untouched() -> None:
    model = model_of()
    before = {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}
    mean_vectors(gated(model), *texts(model), "codename")
    after = model.hf.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
