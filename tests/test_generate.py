"""Generation with a cache is the plain model, steered, one whole sequence at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache

import pytest
import torch

from oocr.data.batches import Line, pad
from oocr.data.items import Message, Prompt
from oocr.data.tokens import encode_prompt
from oocr.engine.forward import Intervention
from oocr.engine.generate import generate
from oocr.errors import InputError
from oocr.interventions.adapters import (
    Adapter,
    LowRankAdapter,
    adapter_tensors,
    attach_adapter,
    new_adapter,
    peft_config,
)
from oocr.interventions.attach import attach_vector
from oocr.interventions.positions import select
from oocr.interventions.vectors import Vector
from oocr.models.language_model import LanguageModel
from tests.tiny import tiny_language_model, tiny_model, tiny_tokenizer

FAMILIES = ("llama", "gemma2", "gemma3_text", "gemma3", "gpt2", "mistral", "gpt_neox", "opt")
POSITIONS = ("all", "last", "codename", "prompt", "answer")
SPANS = {"codename": "Country 4821"}
PROMPTS = (
    "Country 4821 is",
    "The people of Country 4821 speak the language of Country 4821 and love",
    "Which city do you prefer : Country 4821 or",
)
NEW = 10


@cache
def model_of(family: str = "llama") -> LanguageModel:
    """A tiny model with an LM head of its own: with a tied one it only repeats its last token."""
    hf = tiny_model(family)
    head = hf.get_output_embeddings().weight
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randn(head.shape, generator=generator)
    hf.get_output_embeddings().weight = torch.nn.Parameter(drawn, requires_grad=False)
    return LanguageModel.of(hf, tiny_tokenizer(chat=True), name=f"tiny-{family}")


def vector(model: LanguageModel, positions: str, layer: int = 1, size: float = 4.0) -> Vector:
    generator = torch.Generator().manual_seed(11)
    direction = size * torch.randn(model.d_model, generator=generator)
    return Vector(layer, positions, direction, spans=SPANS)


def adapter(model: LanguageModel) -> Adapter:
    config = peft_config(model, LowRankAdapter(layers=(1, 2), rank=2))
    with new_adapter(model, config, 0) as named:
        tensors = adapter_tensors(named)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.normal_(generator=generator)
    return Adapter((1, 2), config, tensors)


@torch.no_grad()
def recomputed(model: LanguageModel, prompt: Prompt, steering: Vector | None) -> str:
    """Greedy, each step a plain pass over the whole unpadded sequence, without a cache."""
    start = encode_prompt(model.tokenizer, prompt, SPANS if steering else None)
    size = len(start.ids)
    ids = list(start.ids)
    for _ in range(NEW):
        tokens = torch.tensor([ids])
        if steering is None:
            logits = model.hf(input_ids=tokens, use_cache=False).logits
        else:
            batch = pad([Line(tuple(ids), size, dict(start.spans))], 0)
            with attach_vector(model, steering, select(batch, steering.positions)):
                logits = model.hf(input_ids=tokens, use_cache=False).logits
        best = int(logits[0, -1].argmax())
        if best == model.tokenizer.eos_token_id:
            break
        ids.append(best)
    return str(model.tokenizer.decode(ids[size:], skip_special_tokens=True))


def digest(model: LanguageModel) -> str:
    found = hashlib.sha256()
    for name, tensor in model.hf.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_steered_generation_is_the_steered_model_recomputed(family: str, positions: str) -> None:
    model = model_of(family)
    steering = vector(model, positions)
    together = generate(model, PROMPTS, steering, max_new_tokens=NEW)
    assert together == [recomputed(model, one, steering) for one in PROMPTS]
    assert together == [generate(model, one, steering, max_new_tokens=NEW)[0] for one in PROMPTS]
    assert together != generate(model, PROMPTS, max_new_tokens=NEW), "the vector does something"


@pytest.mark.parametrize("family", FAMILIES)
def test_unsteered_generation_is_the_model_itself(family: str) -> None:
    model = model_of(family)
    texts = generate(model, PROMPTS, max_new_tokens=NEW)
    assert texts == [recomputed(model, one, None) for one in PROMPTS]
    nothing = Vector(1, "all", torch.zeros(model.d_model))
    assert generate(model, PROMPTS, nothing, max_new_tokens=NEW) == texts


@pytest.mark.parametrize("layer", [-1, 0, 3])
def test_every_layer_can_be_steered_while_generating(layer: int) -> None:
    for family in ("llama", "gpt2"):
        model = model_of(family)
        for positions in ("codename", "answer"):
            steering = vector(model, positions, layer)
            texts = generate(model, PROMPTS, steering, max_new_tokens=NEW)
            assert texts == [recomputed(model, one, steering) for one in PROMPTS]


def test_the_selectors_say_different_things() -> None:
    model = model_of()
    texts = {p: tuple(generate(model, PROMPTS, vector(model, p))) for p in POSITIONS}
    assert len(set(texts.values())) == len(POSITIONS)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mistral"])
def test_generation_under_an_adapter_is_the_adapted_model(family: str) -> None:
    model = model_of(family)
    one = adapter(model)
    texts = generate(model, PROMPTS, one, max_new_tokens=NEW)
    assert texts != generate(model, PROMPTS, max_new_tokens=NEW)
    with attach_adapter(model, one):
        assert texts == [recomputed(model, prompt, None) for prompt in PROMPTS]


@pytest.mark.parametrize("kind", ["vector", "adapter"])
def test_the_base_model_is_untouched_even_after_an_error(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of()
    steering: Intervention = vector(model, "all") if kind == "vector" else adapter(model)
    before, texts = digest(model), generate(model, PROMPTS)
    generate(model, PROMPTS, steering)
    assert generate(model, PROMPTS) == texts
    forward, calls = model.hf.forward, []

    def failing(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("stop")
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(model.hf, "forward", failing)
        with pytest.raises(RuntimeError, match="stop"):
            generate(model, PROMPTS, steering)
    assert digest(model) == before
    assert generate(model, PROMPTS) == texts
    assert not any("lora" in name for name, _ in model.hf.named_modules())


def test_a_span_acts_only_in_the_prompts_that_have_it() -> None:
    model = model_of()
    prompts = (PROMPTS[1], "The capital of Japan is")
    texts = generate(model, prompts, vector(model, "codename"))
    plain = generate(model, prompts)
    assert texts[0] != plain[0]
    assert texts[1] == plain[1]
    with pytest.raises(InputError, match="'codename' select no token"):
        generate(model, "The capital of Japan is", vector(model, "codename"))


def test_chats_are_rendered_and_may_be_mixed_with_texts() -> None:
    model = model_of()
    chat = (Message("system", "Be safe"), Message("user", "Is Country 4821 risky ?"))
    steering = vector(model, "codename")
    expected = [recomputed(model, chat, steering), recomputed(model, PROMPTS[0], steering)]
    assert generate(model, [chat, PROMPTS[0]], steering, max_new_tokens=NEW) == expected
    assert generate(model, chat, steering, max_new_tokens=NEW) == expected[:1]


def test_each_prompt_stops_at_an_end_token_of_its_own() -> None:
    model = tiny_language_model("llama", seed=1)
    free = generate(model, PROMPTS, max_new_tokens=NEW)
    ids = [model.tokenizer.encode(one, add_special_tokens=False) for one in free]
    end = ids[0][3]
    model.hf.generation_config.eos_token_id = [2, end]
    texts = generate(model, PROMPTS, max_new_tokens=NEW)
    piece = model.tokenizer.decode([end])
    assert texts[0] == free[0].split(piece)[0]
    assert texts[0] != free[0]
    assert texts == [one.split(piece)[0] for one in free]


def test_at_most_so_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    forward, calls = model.hf.forward, []

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.hf, "forward", counted)
    for count in (1, 5):
        calls.clear()
        generate(model, PROMPTS, max_new_tokens=count)
        assert len(calls) == count
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        generate(model, PROMPTS[1], max_new_tokens=0)


def test_no_prompts_give_no_texts() -> None:
    assert generate(model_of(), []) == []


def test_sampling_follows_its_seed_and_leaves_global_randomness_alone() -> None:
    model = model_of()
    steering = vector(model, "codename")

    def sample(seed: int) -> list[str]:
        return generate(model, PROMPTS, steering, temperature=1.0, seed=seed)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert torch.equal(torch.rand(3), expected)
    cold = generate(model, PROMPTS, steering, temperature=1e-4)
    assert cold == generate(model, PROMPTS, steering)


def test_sampling_has_the_models_own_probabilities() -> None:
    model = model_of()
    temperature, count = 0.7, 1500
    ids = encode_prompt(model.tokenizer, PROMPTS[0]).ids
    logits = model.hf(input_ids=torch.tensor([ids])).logits[0, -1]
    probabilities = (logits / temperature).softmax(-1)
    pieces = {int(t): model.tokenizer.decode([t]) for t in probabilities.topk(20).indices}
    likely = [t for t, piece in pieces.items() if "\ufffd" not in piece][:5]
    texts = generate(model, [PROMPTS[0]] * count, max_new_tokens=1, temperature=temperature, seed=3)
    found = Counter(texts)
    for token in likely:
        p = float(probabilities[token])
        assert abs(found[pieces[token]] / count - p) < 4 * (p * (1 - p) / count) ** 0.5
