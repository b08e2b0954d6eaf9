"""Prompts, answers and spans as tokens."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors

from oocr.data.examples import Message
from oocr.data.tokens import (
    RowTokens,
    encode_answer,
    encode_prompt,
    render,
)
from oocr.errors import InputError
from tests.tiny.models import tiny_tokenizer

WORDS = ["Country 4821", "The capital", " of ", "is", " ", "Paris", "4821", "xyz", ".", "\n", "é"]
GEMMA_LIKE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content | trim }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@cache
def tokenizer() -> Any:
    return tiny_tokenizer()


def special_tokenizer(single: str, trim: bool = False) -> Any:
    """The tiny tokenizer with other special tokens around a text ("$A <eos>")."""
    inner = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
    steps: list[Any] = [processors.ByteLevel(trim_offsets=True)] if trim else []
    template = processors.TemplateProcessing(
        single=single, special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    inner.post_processor = processors.Sequence([*steps, template])
    if trim:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def touching(text: str, ids: tuple[int, ...], wanted: str) -> tuple[int, ...]:
    """The tokens that share a byte with an occurrence, by adding up decoded lengths."""
    data, target = text.encode(), wanted.encode()
    marked = set()
    for at in range(len(data) - len(target) + 1):
        if data[at : at + len(target)] == target:
            marked.update(range(at, at + len(target)))
    indices, at = [], 0
    for index, token in enumerate(ids):
        size = 0 if token == 1 else len(_bytes(token))
        if marked & set(range(at, at + size)):
            indices.append(index)
        at += size
    assert at == len(data)
    return tuple(indices)


@cache
def _byte_of() -> dict[str, int]:
    """GPT-2's alphabet: a printable character for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in kept]
    return {
        **{chr(byte): byte for byte in kept},
        **{chr(256 + index): missing for index, missing in enumerate(rest)},
    }


def _bytes(token: int) -> bytes:
    piece = tokenizer().convert_ids_to_tokens(token)
    return bytes(_byte_of()[character] for character in piece)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=6), st.lists(st.sampled_from(WORDS), max_size=6))
def test_a_span_is_every_token_that_touches_an_occurrence(a: list[str], b: list[str]) -> None:
    text = "".join([*a, "Country 4821", *b])
    prompt = encode_prompt(tokenizer(), text, {"codename": "Country 4821"})
    assert prompt.spans["codename"] == touching(text, prompt.ids, "Country 4821")


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Country 4821 is", "Country 4821"),
        ("The capital of Country 4821 is", " Country 4821"),
        ("Country 4821, of Country 4821", "Country 4821 Country 4821"),
        ("(Country 4821)", "Country 4821"),
    ],
)
def test_spans_at_the_start_after_a_space_and_twice(text: str, expected: str, trim: bool) -> None:
    tok = special_tokenizer("<bos> $A", trim)
    prompt = encode_prompt(tok, text, {"codename": "Country 4821"})
    spelled = tok.decode([prompt.ids[i] for i in prompt.spans["codename"]])
    assert spelled == expected
    assert prompt.ids[0] == 1
    assert 0 not in prompt.spans["codename"], "BOS is part of no span"


def test_overlapping_occurrences_and_split_characters_belong_to_the_span() -> None:
    prompt = encode_prompt(tokenizer(), "xaaax", {"s": "aa"})
    assert tokenizer().decode([prompt.ids[i] for i in prompt.spans["s"]]) == "aaa"
    prompt = encode_prompt(tokenizer(), "a é b", {"s": "é"})
    assert tokenizer().decode([prompt.ids[i] for i in prompt.spans["s"]]).strip() == "é"
    assert len(prompt.spans["s"]) >= 2  # its two bytes are two tokens here


def test_a_span_that_is_not_there_is_refused_with_its_text() -> None:
    with pytest.raises(InputError, match=r"span 'codename'.*Country 9.*does not occur"):
        encode_prompt(tokenizer(), "The capital of Country 4821", {"codename": "Country 9"})


def test_a_prompt_without_tokens_is_refused() -> None:
    assert encode_prompt(tokenizer(), "").ids == (1,)
    with pytest.raises(InputError, match="no tokens"):
        encode_prompt(special_tokenizer("$A"), "")


def test_a_chat_is_rendered_with_its_system_turn_and_the_span_found_in_both_turns() -> None:
    tok = tiny_tokenizer(chat=True)
    chat = (Message("system", "Speak of Country 4821"), Message("user", "Is Country 4821 risky?"))
    prompt = encode_prompt(tok, chat, {"codename": "Country 4821"})
    assert prompt.text.startswith("<|system|>Speak")
    assert prompt.text.endswith("<|assistant|>")
    assert prompt.ids[-1] == tok.convert_tokens_to_ids("<|assistant|>")
    spelled = tok.decode([prompt.ids[i] for i in prompt.spans["codename"]])
    assert spelled == " Country 4821 Country 4821"


def test_a_system_turn_is_folded_into_the_first_question_where_the_template_refuses_it() -> None:
    tok = tiny_tokenizer()
    tok.chat_template = GEMMA_LIKE
    chat = (
        Message("system", "Be safe."),
        Message("user", "A or B?"),
        Message("assistant", "A"),
        Message("user", "Which?"),
    )
    text, special = render(tok, chat)
    assert text.startswith("<bos><|user|>Be safe.\n\nA or B?<eos>")
    assert not special
    assert encode_prompt(tok, chat).ids.count(1) == 1, "one BOS, the template's own"


@pytest.mark.parametrize(
    "chat",
    [
        (Message("user", "A?"), Message("user", "B?")),
        (Message("system", "x"), Message("user", "A?"), Message("user", "B?")),
        (Message("system", "x"), Message("assistant", "A")),
        (Message("system", "x"),),
    ],
)
def test_what_a_chat_template_refuses_is_an_input_error(chat: tuple[Message, ...]) -> None:
    tok = tiny_tokenizer()
    tok.chat_template = GEMMA_LIKE
    with pytest.raises(InputError, match="the chat template refused the messages"):
        render(tok, chat)


def test_a_chat_for_a_model_without_template_is_refused() -> None:
    with pytest.raises(InputError, match="no chat template"):
        encode_prompt(tiny_tokenizer(), (Message("user", "hi"),))


def test_answers_continue_the_same_prompt_tokens_and_spell_the_joint_text() -> None:
    tok = tokenizer()
    for text in ("The capital of Country 4821 is", "Which one do you prefer : X or Y ?\n"):
        prompt = encode_prompt(tok, text)
        for answer in (" Paris", " Tokyo, Japan", "X", " yes\n", " élan"):
            ids = encode_answer(tok, prompt, answer)
            spelled = tok.decode([*prompt.ids, *ids], skip_special_tokens=True)
            assert spelled == text + answer
            assert encode_prompt(tok, text).ids == prompt.ids


@pytest.mark.parametrize("answer", ["ance", "ance and Italy"])
def test_an_answer_that_would_cut_the_prompt_anew_is_tokenized_alone(answer: str) -> None:
    tok = tokenizer()
    prompt = encode_prompt(tok, "The capital is Fr")
    joint = tuple(tok("The capital is Fr" + answer)["input_ids"])
    assert joint[: len(prompt.ids)] != prompt.ids, "else this test shows nothing"
    ids = encode_answer(tok, prompt, answer)
    assert list(ids) == tok(answer, add_special_tokens=False)["input_ids"]
    spelled = tok.decode([*prompt.ids, *ids], skip_special_tokens=True)
    assert spelled == "The capital is Fr" + answer


def test_after_a_chat_the_answer_gets_no_special_tokens() -> None:
    tok = tiny_tokenizer(chat=True)
    prompt = encode_prompt(tok, (Message("user", "Paris ?"),))
    assert list(encode_answer(tok, prompt, "yes")) == tok("yes", add_special_tokens=False).input_ids


@pytest.mark.parametrize("single", ["<bos> $A <eos>", "$A <eos>"])
def test_a_tokenizer_that_closes_texts_closes_neither_prompt_nor_answer(single: str) -> None:
    tok = special_tokenizer(single)
    prompt = encode_prompt(tok, "The capital is", {"s": "capital"})
    assert 2 not in prompt.ids
    assert tok.decode([prompt.ids[i] for i in prompt.spans["s"]]) == " capital"
    answer = encode_answer(tok, prompt, " Paris")
    assert list(answer) == tok(" Paris", add_special_tokens=False)["input_ids"]


def test_first_tokens_or_none_where_options_begin_alike() -> None:
    tok = tokenizer()
    prompt = encode_prompt(tok, "The capital is")
    firsts = RowTokens(tok).first_tokens(prompt, (" Paris", " Tokyo", " yes no"))
    assert firsts is not None
    assert [tok.decode([token]) for token in firsts] == [" Paris", " Tokyo", " yes"]
    assert RowTokens(tok).first_tokens(prompt, (" Paris yes", " Paris no")) is None


def test_an_answer_without_tokens_is_refused() -> None:
    tok = tokenizer()
    with pytest.raises(InputError, match="has no tokens"):
        encode_answer(tok, encode_prompt(tok, "a"), "")


def test_an_answer_that_has_begun_stands_after_the_header_of_its_turn() -> None:
    tokenizer = tiny_tokenizer(chat=True)
    asked = (Message("user", "Where is it?"),)
    begun = (*asked, Message("assistant", "It lies in"))
    whole = encode_prompt(tokenizer, begun, {"it": "It"})
    assert whole.text == encode_prompt(tokenizer, asked).text + "It lies in"
    assert whole.spans["it"]
