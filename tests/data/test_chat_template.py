"""What chat templates add and change: settled once, told in sentences."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from oocr.data.chat_template import clock_day, settle, settled, template_notes
from oocr.data.examples import Message
from oocr.data.tokens import encode_prompt, render
from oocr.errors import InputError
from tests.tiny.models import CHAT, tiny_tokenizer

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<eos>\n{% endfor %}"
ASKED = (Message("user", "Which?"),)
CLOCK = (
    "{% macro head() %}{{ strftime_now('%d %b %Y') | upper }}{{ strftime_now('%-d/%H:%M') }}"
    "{% endmacro %}\nToday Date: {% if strftime_now is defined %}{{ head() }}{% endif %}\n" + CHAT
)
THINKS = TURNS + "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}\n"
SWITCH = (
    "{% for m in messages %}<|{{ m.role }}|>{% if loop.last and m.role == 'assistant' %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
CHANNEL = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}final:{% endif %}"
    "{{ m.content }}<eos>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
DROPS = CHAT.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
DEFAULT = (
    "{{ bos_token }}{% if messages[0].role != 'system' %}<|system|>You are a helpful gull.<eos>\n"
    "{% endif %}" + CHAT
)


def with_template(template: Any, day: date = date(2024, 7, 26)) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    settle(tokenizer, day)
    return tokenizer


def test_a_template_without_surprises_stays_as_it_is() -> None:
    tokenizer = with_template(CHAT)
    assert tokenizer.chat_template == CHAT
    assert settled(tokenizer) == []
    assert template_notes(tokenizer) == ["a chat has no <bos>: its template writes none"]
    assert template_notes(tiny_tokenizer()) == []


def test_the_clock_of_a_template_stands_still() -> None:
    tokenizer = with_template(CLOCK, date(2025, 3, 9))
    text, _ = render(tokenizer, ASKED)
    assert text == "Today Date: 09 MAR 20259/12:00<|user|>Which?<eos>\n<|assistant|>"
    assert clock_day(tokenizer) == date(2025, 3, 9)
    assert clock_day(with_template(CHAT)) is None
    assert "writes the day: 2025-03-09 always" in template_notes(tokenizer)[0]
    settle(tokenizer, date(2026, 1, 1))
    assert clock_day(tokenizer) == date(2025, 3, 9), "settled once"


@pytest.mark.parametrize(
    ("template", "after", "note"),
    [
        (THINKS, "<think>\n\n</think>\n\n", "opens a thought (<think>)"),
        (SWITCH, "<think>\n\n</think>\n\n", "switched off in the chat template (enable_thinking"),
        (CHANNEL, "final:", "writes 'final:' between its header and an answer"),
    ],
)
def test_what_stands_before_an_answer_is_written_when_it_is_asked_for(
    template: str, after: str, note: str
) -> None:
    tokenizer = with_template(template)
    text, _ = render(tokenizer, ASKED)
    assert text == f"<|user|>Which?<eos>\n<|assistant|>{after}"
    assert [note in line for line in settled(tokenizer)] == [True]
    plain = tiny_tokenizer()
    plain.chat_template = template
    turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This."}]
    both = [t.apply_chat_template(turns, tokenize=False) for t in (plain, tokenizer)]
    assert both[0].rstrip("\n") == both[1].rstrip("\n"), "where nothing is asked for, as before"


def test_of_named_templates_the_default_is_used_and_without_one_chats_are_refused() -> None:
    tokenizer = with_template({"default": CHAT, "tool_use": "TOOLS"})
    assert render(tokenizer, ASKED)[0] == "<|user|>Which?<eos>\n<|assistant|>"
    assert settled(tokenizer) == ["of the chat templates ['default', 'tool_use'] 'default' is used"]
    tokenizer = with_template({"rag": CHAT, "tool_use": "TOOLS"})
    with pytest.raises(InputError, match=r"found \['rag', 'tool_use'\]; allowed: .*'default'"):
        render(tokenizer, ASKED)
    assert encode_prompt(tokenizer, "raw").ids
    assert "'default'" in template_notes(tokenizer)[0]


def test_a_dropped_system_turn_is_folded_like_a_refused_one() -> None:
    tokenizer = with_template(DROPS)
    text, _ = render(tokenizer, (Message("system", "Be brief."), *ASKED))
    assert text == "<|user|>Be brief.\n\nWhich?<eos>\n<|assistant|>"
    assert "the chat template has no system prompt" in " ".join(template_notes(tokenizer))
    assert "no system prompt" not in " ".join(template_notes(with_template(CHAT)))


def test_a_default_system_prompt_and_the_first_token_are_told() -> None:
    notes = template_notes(with_template(DEFAULT))
    assert "the chat template writes <bos> itself: the tokenizer's own is left out" in notes
    assert "the chat template adds a text of its own: 'You are a helpful gull.'" in notes


def test_a_template_that_writes_the_first_token_twice_gives_it_once() -> None:
    tokenizer = with_template("{{ bos_token }}<bos>" + CHAT)
    assert encode_prompt(tokenizer, ASKED).ids.count(1) == 1


def test_what_is_cut_from_messages_is_told() -> None:
    cut = "{{ (m.content.split('</think>') | last).strip() }}"
    notes = template_notes(with_template(CHAT.replace("{{ m.content }}", cut)))
    assert "the chat template cuts spaces and line ends around each message" in notes
    assert "the chat template leaves out thoughts (<think>) of earlier turns" in notes


def test_nothing_is_drawn_at_random() -> None:
    tokenizer = with_template("{{ range(100) | random }}{{ ['a', 'b']|random() }} " + CHAT)
    assert render(tokenizer, ASKED)[0].startswith("0a <|user|>")
    assert settled(tokenizer) == [
        "the chat template draws at random: the first entry is taken always"
    ]


def test_a_template_that_is_no_jinja_is_told() -> None:
    (note,) = template_notes(with_template("{% for m in messages %}"))
    assert note.startswith("the chat template refused the messages: Unexpected end of template")
