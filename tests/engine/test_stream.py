"""Generation token by token gives what generation at once gives."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from oocr.data.tokens import encode_prompt
from oocr.engine.forward import Intervention
from oocr.engine.generate import generate
from oocr.engine.stream import stream
from oocr.errors import InputError
from oocr.models.language_model import LanguageModel
from tests.generating import CHAT, NEW, PROMPTS, adapter, model_of, vector

POSITIONS = ("all", "last", "prompt", "answer", "from:last", "codename", "from:codename")


def streamed(model: LanguageModel, prompt: object, count: int = NEW, **how: float) -> str:
    encoded = encode_prompt(model.tokenizer, prompt)  # type: ignore[arg-type]
    tokens = stream(model, encoded, max_new_tokens=count, **how)  # type: ignore[arg-type]
    return "".join(token.text for token in tokens)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mamba"])
@pytest.mark.parametrize("positions", [None, *POSITIONS])
def test_it_is_the_same_text_at_all_positions(family: str, positions: str | None) -> None:
    model = model_of(family)
    steering = None if positions is None else vector(model, positions)
    for prompt in (PROMPTS[1], CHAT):
        expected = generate(model, prompt, steering, max_new_tokens=NEW)[0]
        with nullcontext() if steering is None else steering.on(model):
            assert streamed(model, prompt) == expected


def test_vectors_and_loras_add_up() -> None:
    model = model_of()
    arms: list[Intervention] = [vector(model, "all"), vector(model, "last", 2), adapter(model)]
    with arms[0].on(model), arms[1].on(model), arms[2].on(model):
        expected = generate(model, PROMPTS[0], max_new_tokens=NEW)[0]
        assert streamed(model, PROMPTS[0]) == expected
    assert streamed(model, PROMPTS[0]) == generate(model, PROMPTS[0], max_new_tokens=NEW)[0]


def test_a_sampled_text_is_the_same_too() -> None:
    model = model_of()
    expected = generate(model, PROMPTS[0], max_new_tokens=NEW, temperature=1.0, seed=3)[0]
    assert streamed(model, PROMPTS[0], temperature=1.0, seed=3) == expected
    assert streamed(model, PROMPTS[0], temperature=1.0, seed=4) != expected


def test_what_is_done_in_between_is_not_a_part_of_it() -> None:
    model = model_of()
    with vector(model, "last").on(model):
        alone = streamed(model, PROMPTS[1])
        other = generate(model, PROMPTS[2], max_new_tokens=2)
        text = ""
        encoded = encode_prompt(model.tokenizer, PROMPTS[1])
        for token in stream(model, encoded, max_new_tokens=NEW):
            text += token.text
            assert generate(model, PROMPTS[2], max_new_tokens=2) == other
    assert text == alone


def test_an_end_token_is_said_and_is_the_last() -> None:
    model = model_of()
    encoded = encode_prompt(model.tokenizer, PROMPTS[0])
    tokens = list(stream(model, encoded, max_new_tokens=NEW))
    assert [token.ends for token in tokens] == [False] * NEW
    assert [int(token.logits.argmax()) for token in tokens] == [token.id for token in tokens]
    end, before = tokens[3].id, model.hf.generation_config.eos_token_id
    try:
        model.hf.generation_config.eos_token_id = [end]
        ended = list(stream(model, encoded, max_new_tokens=NEW))
    finally:
        model.hf.generation_config.eos_token_id = before
    first = next(place for place, token in enumerate(tokens) if token.id == end)
    assert [token.id for token in ended] == [token.id for token in tokens[: first + 1]]
    assert ended[-1].ends
    assert not ended[-1].text


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}])
def test_wrong_numbers_are_refused(wrong: dict[str, float]) -> None:
    model = model_of()
    options = {"max_new_tokens": 2, **wrong}
    with pytest.raises(InputError, match=next(iter(wrong))):
        next(stream(model, encode_prompt(model.tokenizer, "yes"), **options))  # type: ignore[arg-type]
