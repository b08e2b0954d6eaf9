"""Rows held against a model: all that it cannot read, and what was mended or is to know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import transformers as tf

from oocr.data.check_rows import (
    ModelLimits,
    Row,
    check_rows,
    check_tokenizer,
    tokenizer_notes,
)
from oocr.data.examples import Example, FreeTextExample, Message
from oocr.data.tokens import encode_answer, encode_prompt
from oocr.errors import InputError
from tests.tiny.models import CHAT, VOCAB, tiny_tokenizer

LIMITS = ModelLimits("tiny", embedded=VOCAB, longest=12, trained=8)


def example(**fields: Any) -> Example:
    given = {"id": "a", "prompt": "The capital is", "answer": " Paris", "source": "a.jsonl:1"}
    return Example(**(given | fields))


def told(*rows: Row, tokenizer: Any = None, limits: ModelLimits | None = LIMITS) -> str:
    return "\n".join(check_rows(tokenizer or tiny_tokenizer(), rows, limits).all)


def refused(*rows: Row, tokenizer: Any = None) -> str:
    with pytest.raises(InputError) as caught:
        check_rows(tokenizer or tiny_tokenizer(), rows, LIMITS)
    return str(caught.value)


def test_rows_that_a_model_can_read_need_no_words() -> None:
    options = (" Paris", " Tokyo")
    rows = [
        Row.trained(example(), "answer"),
        Row.trained(example(options=options), "options"),
        Row.asked(example(options=options)),
        Row.asked(FreeTextExample(id="b", prompt="The", accept=("Paris",), max_tokens=3)),
    ]
    assert told(*rows) == ""


def test_all_rows_with_tokens_beyond_the_embedding_are_named_in_order() -> None:
    tokenizer = tiny_tokenizer()
    count = len(tokenizer)
    tokenizer.add_tokens(["<lamp>"])
    limits = replace(LIMITS, embedded=count)
    rows = [
        Row("a.jsonl:10", "Is <lamp> red?"),
        Row("a.jsonl:2", "Is it red?", answers=("<lamp>",)),
        Row("a.jsonl:3", "Is it red?"),
    ]
    with pytest.raises(InputError) as caught:
        check_rows(tokenizer, rows, limits)
    first, *lines = str(caught.value).splitlines()
    assert first == "tiny cannot read these rows: 2 problems"
    assert [line.split(": ")[0].strip() for line in lines] == ["a.jsonl:2", "a.jsonl:10"]
    assert f"token: found '<lamp>' ({count}); allowed: 0 to {count - 1}" in lines[0]
    notes = tokenizer_notes(tokenizer, limits)
    assert "and not 1 added token" in notes[0]
    assert tokenizer_notes(tokenizer, replace(limits, embedded=count + 1)) == []


def test_positions_count_what_is_read() -> None:
    prompt = "A B X or Y ? The A B X"
    size = len(encode_prompt(tiny_tokenizer(), prompt).ids)
    limits = replace(LIMITS, longest=size, trained=None)
    fits = Row("a.jsonl:1", prompt, answers=(" Paris",))
    tokens = encode_answer(tiny_tokenizer(), encode_prompt(tiny_tokenizer(), prompt), " Paris A B")
    assert told(fits, replace(fits, answers=(), new=1), limits=limits) == ""
    for longer, found in (
        (replace(fits, answers=(" Paris A B",)), size + len(tokens) - 1),
        (replace(fits, answers=(), new=2), size + 1),
        (replace(fits, prompt=f"A {prompt}", answers=(), most=size + 1), size + 1),
    ):
        with pytest.raises(InputError, match=rf"tokens: found {found}; allowed: up to {size}"):
            check_rows(tiny_tokenizer(), [longer], limits)
    cut = replace(fits, prompt=f"A {prompt}", answers=(), most=size)
    assert (
        told(cut, limits=limits) == f"only the first {size} tokens of a text are read (a.jsonl:1)"
    )
    choice = replace(fits, answers=(" Paris A", " Tokyo B"), compared="text")
    assert told(choice, limits=limits) == "", "only first tokens are asked for"
    made_for = replace(limits, longest=None, trained=size - 1)
    note = (
        f"more than the {size - 1} tokens that the model was made for (2 rows, the first a.jsonl:1)"
    )
    assert told(fits, replace(fits, where="a.jsonl:2"), limits=made_for) == note


def test_options_that_begin_alike() -> None:
    options = (" Paris yes", " Paris no")
    same = example(answer=options[0], options=options)
    text = refused(
        Row.trained(same, "options"), Row.trained(replace(same, source="a.jsonl:2"), "options")
    )
    assert text.count("of which two begin with the same token") == 2
    assert "compared by their whole texts" in told(Row.asked(same))
    last = replace(same, answer=" A yes", options=(" A yes", " B yes"), scored_by="last_token")
    assert "tie: last tokens are compared" in told(Row.asked(last))


def test_a_text_that_begins_with_the_first_token_gets_no_second_one() -> None:
    tokenizer = tiny_tokenizer()
    written = encode_prompt(tokenizer, "<bos>The capital is", {"s": "capital"})
    plain = encode_prompt(tokenizer, "The capital is", {"s": "capital"})
    assert (written.ids, written.spans) == (plain.ids, plain.spans)
    assert encode_answer(tokenizer, written, " Paris") == encode_answer(tokenizer, plain, " Paris")
    notes = check_rows(tokenizer, [Row("a.jsonl:1", "<bos>The capital is")], LIMITS)
    assert notes.mended == (
        "the text begins with <bos>: the tokenizer's own is left out (a.jsonl:1)",
    )
    assert notes.known == ()


def test_what_is_to_know_of_texts() -> None:
    row = Row("a.jsonl:1", "The capital <eos> is", {"s": "apit"}, (" <|user|>",))
    notes = told(row, limits=None)
    assert "special tokens stand in the text and are read as such: <eos>, <|user|>" in notes
    assert "the span 's' begins or ends inside a token" in notes
    assert "span" not in told(Row("a.jsonl:1", "The capital is", {"s": "capital"}))


def test_messages_that_a_template_changes() -> None:
    tokenizer = tiny_tokenizer()
    cut = "{{ (m.content.split('</think>') | last).strip() }}"
    tokenizer.chat_template = CHAT.replace("{{ m.content }}", cut)
    spaces = Row("a.jsonl:1", (Message("user", " Which? "),))
    thought = Row(
        "a.jsonl:2",
        (
            Message("user", "A?"),
            Message("assistant", "<think>\nB\n</think>\n\nC"),
            Message("user", "D?"),
        ),
    )
    limits = replace(LIMITS, longest=None, trained=None)
    notes = told(spaces, thought, tokenizer=tokenizer, limits=limits)
    assert "around messages are cut by the chat template (a.jsonl:1)" in notes
    assert "thoughts in earlier turns are left out by the chat template (a.jsonl:2)" in notes
    tokenizer.chat_template = CHAT.replace("{{ m.content }}", "{{ m.content | upper }}")
    assert "a.jsonl:1: message 1: found ' Which? '; allowed: a text that" in refused(
        spaces, tokenizer=tokenizer
    )


def test_a_row_without_tokens_and_one_that_the_template_refuses_are_both_named() -> None:
    text = refused(Row("a.jsonl:1", "x", {"s": "y"}), Row("a.jsonl:2", (Message("user", "x"),)))
    assert "a.jsonl:1: span 's' ('y') does not occur" in text
    assert "a.jsonl:2: the prompt is a chat, but this model has no chat template" in text


def test_a_tokenizer_of_python_only_finds_spans_by_its_decoded_tokens() -> None:
    tokenizer = tf.ByT5Tokenizer()
    check_tokenizer(tokenizer, "tiny", VOCAB)
    prompt = encode_prompt(tokenizer, "a café, a sea", {"place": "café", "sea": "sea"})
    assert prompt.ids[-1] != tokenizer.eos_token_id
    assert prompt.spans == {"place": (2, 3, 4, 5, 6), "sea": (11, 12, 13)}
    assert "exists in Python only" in tokenizer_notes(tokenizer, LIMITS)[0]
    long_limits = replace(LIMITS, longest=None, trained=None)
    row = Row("a.jsonl:1", "a café", {"place": "café"}, (" yes",))
    assert told(row, tokenizer=tokenizer, limits=long_limits) == ""


class Lowercase(tf.ByT5Tokenizer):
    """One that does not give a text back."""

    def tokenize(self, text: str, **_kwargs: Any) -> list[str]:
        """Bytes of the text in small letters."""
        return [chr(byte) for byte in text.lower().encode()]


def test_a_tokenizer_that_gives_neither_offsets_nor_the_text_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"tiny: the tokenizer \(Lowercase\) exists in Python only"
    ):
        check_tokenizer(Lowercase(), "tiny", VOCAB)
    with pytest.raises(InputError, match="the tokenizer has 256 tokens, the model embeds 100"):
        check_tokenizer(tf.ByT5Tokenizer(), "tiny", 100)
