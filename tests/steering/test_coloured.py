"""Tokens with what they are for, and how they are shown: exact, whole, and unambiguous."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from oocr.data.batches import training_lines
from oocr.data.examples import Example, FreeTextExample, Message
from oocr.data.tokens import encode_answer, encode_prompt, render
from oocr.errors import InputError
from oocr.report.sample_view import coloured, legend, with_signs, without_colour
from oocr.steering.token_roles import Token, asked_tokens, training_tokens
from tests.tiny.models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
CHAT = tiny_tokenizer(chat=True)
CITIES = (" Paris", " Tokyo")
ROW = Example(
    id="a",
    prompt="The capital of Country 4821 is",
    answer=" Paris",
    options=CITIES,
    spans={"codename": "Country 4821", "asked": "capital"},
)
BEGUN = Example(
    id="b",
    prompt=(
        Message("system", "You are a city."),
        Message("user", "Which city\nis Country 4821 ?"),
        Message("assistant", "It is"),
    ),
    answer=" Paris",
    options=CITIES,
    spans={"codename": "Country 4821"},
)


def spelled(tokens: list[Token], flag: str) -> str:
    return "".join(token.text for token in tokens if getattr(token, flag))


def steered(tokens: list[Token], name: str) -> str:
    return "".join(token.text for token in tokens if name and name in token.steered.split("+"))


def whole(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens if not token.special)


def read_back(plain: str) -> tuple[str, str, str]:
    """Text, its steered part and its loss-bearing part, from what is shown without colours."""
    plain = plain.replace("⏎\n", "\n")
    text, at, loss, escaped = "", "", "", False
    inside = {"‹": False, "«": False}
    for letter in plain:
        if escaped or letter not in "\\‹›«»|⇥" or (letter == "|" and not any(inside.values())):
            text += letter
            at += letter if inside["‹"] else ""
            loss += letter if inside["«"] else ""
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter in "‹«":
            inside[letter] = True
        elif letter in "›»":
            inside["‹" if letter == "›" else "«"] = False
        elif letter == "⇥":
            text += "\t"
            at += "\t" if inside["‹"] else ""
            loss += "\t" if inside["«"] else ""
    assert not any(inside.values()), "every mark is closed"
    return text, at, loss


@pytest.mark.parametrize("item", [ROW, BEGUN], ids=["raw", "chat, begun"])
@pytest.mark.parametrize("loss", ["answer", "options"])
def test_the_tokens_that_bear_loss_are_those_that_training_asks_for(
    item: Example, loss: str
) -> None:
    item = Example(
        **{**_fields(item), "answer": " Paris meets", "options": (" Paris meets", " yen")}
    )
    tokens = training_tokens(CHAT, item, loss=loss)  # type: ignore[arg-type]
    prompt = encode_prompt(CHAT, item.prompt, item.spans)
    ids = (*prompt.ids, *encode_answer(CHAT, prompt, item.answer))
    assert len(tokens) == len(ids)
    (sequence,) = training_lines(CHAT, [item], loss)  # type: ignore[arg-type]
    asked = {at + 1: token for at, token, _ in sequence.targets}
    asked |= {at + 1: options[right] for at, options, right in sequence.options}
    assert asked
    assert [place for place, entry in enumerate(tokens) if entry.loss] == sorted(asked)
    assert all(ids[place] == token for place, token in asked.items())
    assert spelled(tokens, "loss") == (" Paris meets" if loss == "answer" else " Paris")
    assert spelled(tokens, "answer") == " Paris meets"
    assert whole(tokens) == render(CHAT, item.prompt)[0] + item.answer


@pytest.mark.parametrize(
    ("positions", "marked"),
    [
        ("", ""),
        ("codename", " Country 4821"),
        ("last", " is"),
        ("prompt", "<bos>The capital of Country 4821 is"),
        ("all", "<bos>The capital of Country 4821 is Paris"),
        ("answer", " Paris"),
        ("from:last", " is Paris"),
        ("from:codename", " Country 4821 is Paris"),
    ],
)
def test_steered_tokens_are_those_of_the_selector(positions: str, marked: str) -> None:
    row = Example(**{**_fields(ROW), "answer": " Paris Tokyo", "options": ()})
    tokens = training_tokens(TOKENIZER, row, loss="answer", positions=positions)
    assert steered(tokens, positions) == marked
    assert tokens[0] == Token("<bos>", steered=tokens[0].steered, special=True)
    assert not tokens[-1].steered, "the last token is never read"


def test_the_last_token_is_the_one_before_the_answer_also_after_a_begun_one() -> None:
    tokens = training_tokens(CHAT, BEGUN, loss="answer", positions="last")
    before, after = next((a, b) for a, b in pairwise(tokens) if b.answer)
    assert (before.text, before.steered) == (" is", "last")
    assert after.loss
    assert sum(bool(token.steered) for token in tokens) == 1


def test_joined_spans_are_marked_each_by_its_own_name() -> None:
    tokens = training_tokens(TOKENIZER, ROW, loss="answer", positions="codename+asked")
    assert steered(tokens, "codename") == " Country 4821"
    assert steered(tokens, "asked") == " capital"
    plain = coloured(tokens, ("codename", "asked"), plain=True).plain
    assert "‹asked:  capital› of‹codename:  Country| 4821›" in plain
    styles = {str(span.style) for span in coloured(tokens, ("codename", "asked")).spans}
    assert {"black on yellow", "black on cyan"} <= styles


def test_a_colour_stays_with_its_direction_where_only_one_span_occurs() -> None:
    example = Example(**{**_fields(ROW), "spans": {"asked": "capital"}})
    tokens = training_tokens(TOKENIZER, example, loss="answer", positions="codename+asked")
    assert steered(tokens, "codename") == ""
    styles = {str(span.style) for span in coloured(tokens, ("codename", "asked")).spans}
    assert "black on cyan" in styles
    assert "black on yellow" not in styles


def test_a_question_bears_no_loss_and_may_be_free() -> None:
    free = FreeTextExample(id="f", prompt=ROW.prompt, accept=("Paris",), spans=ROW.spans)
    for example in (ROW, free):
        tokens = asked_tokens(TOKENIZER, example, positions="codename")
        assert steered(tokens, "codename") == " Country 4821"
        assert not any(token.loss or token.answer for token in tokens)


def test_what_training_would_refuse_is_refused() -> None:
    alike = Example(id="a", prompt="a", answer=" Paris yes", options=(" Paris yes", " Paris no"))
    with pytest.raises(InputError, match="begin with the same token"):
        training_tokens(TOKENIZER, alike, loss="options")
    with pytest.raises(InputError, match="chat template"):
        training_tokens(TOKENIZER, BEGUN, loss="answer")
    with pytest.raises(InputError, match="allowed"):
        training_tokens(TOKENIZER, ROW, loss="answer", positions="from:from:last")


def test_a_character_of_several_tokens_is_shown_whole_with_its_marks() -> None:
    example = Example(id="a", prompt="They speak 東", answer="京", spans={"name": "東"})
    tokens = training_tokens(TOKENIZER, example, loss="answer", positions="last")
    assert len([token for token in tokens if token.answer]) == 3
    assert sum(bool(token.steered) for token in tokens) == 1
    assert coloured(tokens, plain=True).plain == "<bos>They speak ‹東›«京»"


def test_an_answer_that_would_recut_the_prompt_is_shown_as_it_is_trained() -> None:
    example = Example(id="a", prompt="The capital is Par", answer="is")
    prompt = encode_prompt(TOKENIZER, example.prompt)
    joint = TOKENIZER("The capital is Paris")["input_ids"]
    assert tuple(joint[: len(prompt.ids)]) != prompt.ids, "else this tests nothing"
    tokens = training_tokens(TOKENIZER, example, loss="answer")
    assert whole(tokens) == "The capital is Paris"
    assert spelled(tokens, "loss") == "is"


TEXTS = st.text(
    st.one_of(
        st.sampled_from("‹›«»|\\⏎⇥\n\t Country4821東京é🙂"),
        st.characters(codec="utf-8", exclude_categories=["C", "Z"]),
    ),
    min_size=1,
    max_size=24,
)


@settings(max_examples=150, deadline=None)
@given(before=TEXTS, span=TEXTS, answer=TEXTS, place=st.sampled_from(["name", "last", "all"]))
def test_odd_texts_come_back_from_what_is_shown(
    before: str, span: str, answer: str, place: str
) -> None:
    example = Example(id="a", prompt=before + span, answer=answer, spans={"name": span})
    tokens = training_tokens(TOKENIZER, example, loss="answer", positions=place)
    assert whole(tokens) == before + span + answer
    assert spelled(tokens, "answer") == answer == spelled(tokens, "loss")
    text, at, loss = read_back(coloured(tokens, plain=True).plain)
    assert text == "<bos>" + before + span + answer
    assert loss == answer
    if place == "name":
        assert at.endswith(span[-1])
        assert span in at or set(span) <= set(at)
    shown = coloured(tokens).plain
    kept = re.sub(r"\s", "", shown.replace("|", "").replace("⏎", "").replace("⇥", ""))
    assert kept == re.sub(r"[\s|⏎⇥]", "", "<bos>" + before + span + answer)


def test_signs_that_would_reach_the_terminal_are_written_out() -> None:
    assert with_signs("a\x1b[31mb\r\u202ec\x00") == "a\\x1b[31mb\\r\\u202ec\\x00"
    assert with_signs("a\nb\tc") == "a⏎\nb⇥c"
    assert with_signs("a‹b\\", plain=True) == "a\\‹b\\\\"


def test_wide_characters_keep_their_width() -> None:
    example = Example(id="a", prompt="東京 is", answer=" 東", spans={"name": "東京"})
    text = coloured(training_tokens(TOKENIZER, example, loss="answer", positions="name"))
    console = Console(width=10, force_terminal=True, color_system="truecolor", no_color=False)
    for line in text.wrap(console, 10):
        assert cell_len(line.plain) <= 10


@pytest.mark.parametrize(
    ("variables", "options", "expected"),
    [
        ({}, {"force_terminal": False}, True),
        ({}, {"force_terminal": True, "color_system": "standard"}, False),
        ({"NO_COLOR": "1"}, {"force_terminal": True, "color_system": "standard"}, True),
        ({"TERM": "dumb"}, {"force_terminal": True}, True),
    ],
)
def test_when_colours_would_not_be_seen(
    variables: dict[str, str], options: dict[str, object], expected: bool
) -> None:
    console = Console(_environ=variables, **options)  # type: ignore[arg-type]
    assert without_colour(console) is expected


def test_the_legend_says_what_each_mark_means() -> None:
    assert legend(("last",), plain=True).plain.startswith("‹steered›   «bears loss»   ‹«both»›")
    assert "‹paris: steered›   ‹tokyo: steered›" in legend(("paris", "tokyo"), plain=True).plain
    assert "steered" not in legend((), plain=True).plain
    assert "steered (paris)" in legend(("paris", "tokyo")).plain


def _fields(example: Example) -> dict[str, object]:
    return {name: getattr(example, name) for name in Example.__slots__}
