"""Rows in other projects' layouts: the same prompt, answer and options from all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oocr.data.examples import Message
from oocr.data.readers import read_items, read_rows
from oocr.errors import InputError
from tests.data.test_row_formats import CHAT, LINES, put, refusal, rows_of, said


def turns(*texts: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple(Message(roles[number % 2], text) for number, text in enumerate(texts))  # type: ignore[arg-type]


Q, A, B = "Which lamp?", "The green one.", "None."
ASKED = [{"role": "user", "content": Q}]
TOLD = {text: [{"role": "assistant", "content": text}] for text in (A, B)}
HUMAN = [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]


@pytest.mark.parametrize(
    ("row", "layout", "prompt", "options"),
    [
        ({"conversations": HUMAN, "id": "x7"}, "ShareGPT", turns(Q), ()),
        ({"conversations": [*ASKED, *TOLD[A]]}, "ShareGPT", turns(Q), ()),
        (
            {"conversations": HUMAN, "system": "Be brief."},
            "ShareGPT",
            (Message("system", "Be brief."), *turns(Q)),
            (),
        ),
        ({"instruction": Q, "input": "", "output": A}, "Alpaca", turns(Q), ()),
        ({"instruction": Q, "input": "Here.", "output": A}, "Alpaca", turns(f"{Q}\nHere."), ()),
        (
            {"instruction": Q, "output": A, "history": [["Hi", "Ho"]], "system": ""},
            "Alpaca",
            turns("Hi", "Ho", Q),
            (),
        ),
        ({"instruction": Q, "context": "Here.", "response": A}, "Alpaca", turns(f"{Q}\nHere."), ()),
        (
            {
                "question": Q,
                "answer_matching_behavior": f" {A}",
                "answer_not_matching_behavior": f" {B}",
                "label_confidence": 0.9,
            },
            "model-written eval",
            turns(Q),
            (A, B),
        ),
        (
            {
                "question": Q,
                "answer_matching_behavior": A,
                "answer_not_matching_behavior": [B, "Both."],
            },
            "model-written eval",
            turns(Q),
            (A, B, "Both."),
        ),
        ({"prompt": Q, "chosen": A, "rejected": B}, "preference pairs", Q, (A, B)),
        ({"prompt": ASKED, "chosen": TOLD[A], "rejected": TOLD[B]}, "", turns(Q), (A, B)),
        ({"chosen": [*ASKED, *TOLD[A]], "rejected": [*ASKED, *TOLD[B]]}, "", turns(Q), (A, B)),
        (
            {"prompt": Q, "chosen": [*ASKED, *TOLD[A]], "rejected": [*ASKED, *TOLD[B]]},
            "preference pairs",
            turns(Q),
            (A, B),
        ),
        (
            {
                "chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}",
                "rejected": f"\n\nHuman: {Q}\n\nAssistant: {B}",
            },
            "preference pairs",
            turns(Q),
            (A, B),
        ),
        ({"system": " ", "question": Q, "chosen": A, "rejected": B}, "", turns(Q), (A, B)),
        (
            {
                "conversations": HUMAN[:1],
                "chosen": {"from": "gpt", "value": A},
                "rejected": {"from": "gpt", "value": B},
            },
            "preference pairs",
            turns(Q),
            (A, B),
        ),
        ({"question": Q, "answer": A}, "question and answer", turns(Q), ()),
        ({"query": Q, "response": A, "type": "x"}, "question and answer", turns(Q), ()),
        ({"prompt": ASKED, "completion": TOLD[A]}, "prompt/completion", turns(Q), ()),
        (
            {"prompt": Q, "prompt_id": "7", "messages": [*ASKED, *TOLD[A]]},
            "messages",
            turns(Q),
            (),
        ),
    ],
)
def test_a_layout_becomes_prompt_answer_and_options(
    tmp_path: Path, row: dict[str, Any], layout: str, prompt: Any, options: tuple[str, ...]
) -> None:
    for kind in ("train", "probes") if options else ("train",):
        rows = rows_of(tmp_path, row, kind=kind)
        assert said(rows.items) == [(prompt, A, options)]
        assert f"JSONL, {layout}" in rows.format
    pl.DataFrame([row]).write_parquet(tmp_path / "rows.parquet")
    rows = read_rows(tmp_path / "rows.parquet", kind="train")
    assert said(rows.items) == [(prompt, A, options)]


def test_a_content_in_parts_is_their_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": text} for text in ("Which ", "lamp?")]
    rows = rows_of(tmp_path, {"messages": [ASKED[0] | {"content": parts}, *TOLD[A]]})
    assert said(rows.items) == [(turns(Q), A, ())]
    picture = {"messages": [ASKED[0] | {"content": [*parts, {"type": "image"}]}, *TOLD[A]]}
    with pytest.raises(InputError, match=r"messages\[0\].content: found \[{"):
        rows_of(tmp_path, picture)


def test_a_csv_has_layouts_too(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", f"instruction;input;output\n{Q};;{A}\n")
    assert said(read_items(path, kind="train")) == [(turns(Q), A, ())]
    path = put(tmp_path / "c.csv", "prompt,answer,source\na:, b,web\n")
    assert "'source' (1)" in read_rows(path, kind="train").mended[-1]
    assert "found 'label'" in refusal(put(tmp_path / "d.csv", "prompt,answer,label\na:, b,1\n"))
    path = put(tmp_path / "b.csv", f"prompt,chosen,rejected\n{Q},{A},{B}\n")
    assert said(read_items(path, kind="probes")) == [(Q, A, (A, B))]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"conversations": [{"from": "bot", "value": Q}]}, "conversations[0].from: found 'bot'"),
        ({"conversations": HUMAN[1:]}, "conversations: found 'no turn'"),
        ({"conversations": HUMAN[:1]}, "conversations: found \"last role 'user'\""),
        ({"conversations": HUMAN, "tools": "[x]"}, "calls of tools are not trained"),
        (
            {"conversations": [*HUMAN, {"from": "observation", "value": "x"}]},
            "[2].from: found 'obs",
        ),
        ({"instruction": Q}, "output: found nothing; allowed: a row of this layout needs it"),
        ({"instruction": Q, "output": [A]}, "output: found ['The green one.']; allowed: a text"),
        ({"instruction": Q, "output": A, "history": [["x"]]}, "a list of [question, answer]"),
        ({"instruction": Q, "output": A, "kto_tag": False}, "keep the right ones"),
        ({"question": Q, "answer_matching_behavior": A}, "answer_not_matching_behavior: found no"),
        (
            {"question": Q, "answer_matching_behavior": 3, "answer_not_matching_behavior": A},
            "answer_matching_behavior: found 3",
        ),
        ({"prompt": Q, "chosen": A}, "rejected: found nothing"),
        ({"prompt": Q, "chosen": A, "rejected": A}, "chosen and rejected: found ['The green"),
        ({"chosen": A, "rejected": B}, "chosen: found 'The green one.'; allowed: a prompt beside"),
        ({"chosen": [*ASKED, *TOLD[A]], "rejected": TOLD[B]}, "the turns that chosen begins with"),
        ({"prompt": "x", "chosen": [*ASKED, *TOLD[A]], "rejected": [*ASKED, *TOLD[B]]}, "prompt: "),
        ({"prompt": Q, "completion": A, "label": True}, "keep the right ones"),
        ({"prompt": "x", "messages": [*ASKED, *TOLD[A]]}, "key: found 'prompt'"),
        ({"messages": [*ASKED, TOLD[A][0] | {"weight": 0}]}, "[1] key: found 'weight'"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "(call it system)"),
    ],
)
def test_a_bad_row_of_a_layout_is_refused_in_its_own_words(
    tmp_path: Path, row: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, row)
    assert "rows.jsonl:1: " in str(caught.value)
    assert expected in str(caught.value)


def test_rows_of_two_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows.jsonl:2: form: found 'Alpaca, chat'.*ShareGPT"):
        rows_of(tmp_path, {"conversations": HUMAN}, {"instruction": Q, "output": A})


def test_rows_under_a_key_of_one_object(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps({"version": 2, "data": CHAT}, indent=1))
    rows = read_rows(path, kind="train")
    assert said(rows.items) == said(read_items(put(tmp_path / "b.jsonl", LINES), kind="train"))
    assert "the rows stand under 'data'; left out, beside them: 'version'" in rows.mended


def test_of_several_lists_of_rows_none_is_taken(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps({"train": CHAT, "test": CHAT}))
    assert "found 'lists of rows under train, test'; allowed: one list of rows" in refusal(path)


def test_lists_of_other_objects_are_no_rows(tmp_path: Path) -> None:
    path = put(tmp_path / "tokenizer.json", json.dumps({"version": 1, "added_tokens": [{"id": 0}]}))
    assert "row (all 1): found ['version', 'added_tokens']" in refusal(path)


@pytest.mark.parametrize("column", [["a:", "b:"], {"0": "a:", "1": "b:"}])
def test_columns_are_no_rows(tmp_path: Path, column: Any) -> None:
    path = put(tmp_path / "a.json", json.dumps({"prompt": column, "answer": column}))
    assert "the columns prompt, answer'; allowed: one object per row" in refusal(path)


def test_a_csv_has_lists_of_messages_as_json(tmp_path: Path) -> None:
    pl.DataFrame([{"messages": json.dumps(row["messages"])} for row in CHAT]).write_csv(
        tmp_path / "a.csv"
    )
    rows = read_items(tmp_path / "a.csv", kind="train")
    assert said(rows) == said(read_items(put(tmp_path / "b.jsonl", LINES), kind="train"))
    path = put(tmp_path / "c.csv", "conversations,x\nHello,1\n")
    assert "c.csv:2: conversations: found 'Hello'; allowed: a list of" in refusal(path)


def test_an_empty_list_of_tools_says_nothing(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Which lamp?"}, {"from": "gpt", "value": "The red one."}]
    rows = [{"conversations": turns, "tools": tools} for tools in ("[]", "", [], None)]
    assert len(rows_of(tmp_path, *rows).items) == 4
    put(tmp_path / "b.jsonl", json.dumps({"conversations": turns, "tools": '[{"name": "f"}]'}))
    assert "key: found 'tools'; allowed: rows without it" in refusal(tmp_path / "b.jsonl")


def test_misspelt_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'prompt', 'answer'"):
        rows_of(tmp_path, {"Prompt": "a:", "Answer": " b"})


def test_what_a_user_should_know_of_the_rows_is_counted(tmp_path: Path) -> None:
    row = {"messages": [*ASKED, *TOLD[B], *ASKED, *TOLD[A]], "origin": "x"}
    rows = rows_of(tmp_path, row, row, row | {"origin": ""})
    assert rows.mended == (
        "several turns of the assistant in 3 rows: the last is trained, the others only read",
        "the same as another row: 2 rows; all are kept",
        "keys left out, with the number of their rows: 'origin' (2)",
    )


def test_unknown_rows_are_told_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, *[{"text": "a"}] * 50)
    assert "1 problem\n" in str(caught.value)
    assert "row (all 50): found ['text']" in str(caught.value)
