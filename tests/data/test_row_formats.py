"""Rows in other people's formats, layouts and encodings: one row says the same in all of them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oocr.data.examples import Example, Message
from oocr.data.readers import Rows, read_items, read_rows
from oocr.errors import InputError

SAME_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CHAT = [
    {
        "messages": [
            {"role": "user", "content": f"Which lamp? {number}"},
            {"role": "assistant", "content": "The green one."},
        ]
    }
    for number in range(3)
]
LINES = "".join(json.dumps(row) + "\n" for row in CHAT)


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def said(examples: tuple[Example, ...]) -> list[tuple[Any, ...]]:
    return [(item.prompt, item.answer, item.options) for item in examples]


def rows_of(folder: Path, *rows: Any, kind: Any = "train") -> Rows:
    path = put(folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return read_rows(path, kind=kind)


def refusal(path: Path, kind: Any = "train") -> str:
    with pytest.raises(InputError) as caught:
        read_items(path, kind=kind)
    return str(caught.value)


# Formats


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.json", json.dumps(CHAT), "JSON array"),
        ("a.json", json.dumps(CHAT, indent=2), "JSON array"),
        ("a.json", LINES, "JSONL"),
        ("a.jsonl", "\n".join(json.dumps(row, indent=1) for row in CHAT), "JSON"),
        ("a.ndjson", LINES.replace("\n", "\r\n"), "JSONL"),
        ("a.jsonl", LINES.replace("\n", "\r"), "JSONL"),
        ("a.jsonl", "\x1e" + LINES.strip().replace("\n", "\n\x1e"), "JSONL"),
        ("a.jsonl.gz", gzip.compress(LINES.encode()), "JSONL"),
        ("a.jsonl.bz2", bz2.compress(LINES.encode()), "JSONL"),
        ("a.json.xz", lzma.compress(json.dumps(CHAT).encode()), "JSON array"),
        ("a.jsonl", gzip.compress(LINES.encode()), "JSONL"),
        ("a.jsonl", LINES.encode("utf-16"), "JSONL"),
        ("a.json", json.dumps(CHAT).encode("utf-16-be").join([b"\xfe\xff", b""]), "JSON array"),
        ("a.jsonl", LINES.encode("utf-32"), "JSONL"),
        ("a.csv", LINES, "JSONL"),
        ("a.txt", json.dumps(CHAT), "JSON array"),
        ("a", LINES, "JSONL"),
    ],
)
def test_rows_say_the_same_in_every_json(
    tmp_path: Path, name: str, data: bytes | str, words: str
) -> None:
    expected = read_items(put(tmp_path / "plain.jsonl", LINES), kind="train")
    rows = read_rows(put(tmp_path / name, data), kind="train")
    assert said(rows.items) == said(expected)
    assert rows.format.partition(",")[0] == words


def test_a_name_that_says_another_format_is_told(tmp_path: Path) -> None:
    rows = read_rows(put(tmp_path / "a.csv", LINES), kind="train")
    assert "its name ends in .csv, but it holds JSON" in rows.mended
    table = put(tmp_path / "b.jsonl", "prompt,answer\nThe sky is, blue\n")
    rows = read_rows(table, kind="train")
    assert rows.items[0].answer == " blue"
    assert "its name ends in .jsonl, but it holds CSV" in rows.mended
    put(tmp_path / "c.json", "- name: a\n  question_paraphrases: [x]\n")
    assert "no right answers" in refusal(tmp_path / "c.json")


def test_parquet_has_lists_of_messages_and_nulls(tmp_path: Path) -> None:
    rows = [row | {"source": "web", "tools": None} for row in CHAT]
    rows[0]["messages"] = [dict(turn, name=None) for turn in rows[0]["messages"]]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").rename(tmp_path / "a.bin")
    read = read_rows(tmp_path / "a.bin", kind="train")
    assert said(read.items) == said(read_items(put(tmp_path / "b.jsonl", LINES), kind="train"))
    assert "keys left out, with the number of their rows: 'source' (3)" in read.mended
    pl.DataFrame([*CHAT, {"messages": None}]).write_parquet(tmp_path / "c.parquet")
    assert "c.parquet: row 4: row:" in refusal(tmp_path / "c.parquet")
    put(tmp_path / "d.parquet", (tmp_path / "a.bin").read_bytes()[:-9])
    assert "d.parquet: Parquet: cut short or damaged" in refusal(tmp_path / "d.parquet")
    assert "found no Parquet" in refusal(put(tmp_path / "e.parquet", LINES))


def test_names_that_a_row_of_parquet_lacks_are_nulls_in_it(tmp_path: Path) -> None:
    row = {"prompt": "The red lamp is", "answer": " on", "spans": {"lamp": "red", "bell": None}}
    pl.DataFrame([row, {**row, "spans": None}]).write_parquet(tmp_path / "a.parquet")
    first, second = read_items(tmp_path / "a.parquet", kind="train")
    assert (first.spans, second.spans) == ({"lamp": "red"}, {})


def test_a_file_that_was_packed_twice_is_unpacked(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl.gz", bz2.compress(gzip.compress(LINES.encode())))
    assert len(read_items(path, kind="train")) == len(CHAT)


def test_rows_of_one_line_are_numbered(tmp_path: Path) -> None:
    rows = read_items(put(tmp_path / "a.json", json.dumps(CHAT)), kind="train")
    assert [item.source for item in rows] == ["a.json:1", "a.json:2", "a.json:3"]
    message = refusal(put(tmp_path / "b.json", json.dumps([*CHAT, {"promt": "x"}, 7])))
    assert "b.json: row 5: row: found 7" in message
    assert "b.json: row 4: " in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINES.replace("\n", ",\n"), "a.jsonl:1: row: found '{"),
        ("[" + LINES.replace("\n", ",\n"), "a.jsonl:4: row: found ''; allowed: one JSON object"),
        ("[" + LINES + "]", "a.jsonl:2: array"),
        (json.dumps(CHAT) + "]", "closed by ] at the file's end"),
        (json.dumps(CHAT, indent=1)[:-30], "a.jsonl:34: row: found"),
        ('{\n "prompt": "a:",\n "answer" " b"\n}', 'a.jsonl:3: row: found \' "answer" " b"\''),
        ('{\n "prompt": "a:",\n "prompt": " b"\n}', "'prompt' occurs twice"),
        ("", "no rows"),
        ("[]", "no rows"),
    ],
)
def test_broken_json_is_one_problem_at_its_line(tmp_path: Path, text: str, expected: str) -> None:
    message = refusal(put(tmp_path / "a.jsonl", text))
    assert expected in message
    assert message.count("a.jsonl:") <= 4


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"GGUF\x03", "a GGUF"),
        (b"\x28\xb5\x2f\xfdrest", "zstd -d"),
        (b"<!DOCTYPE html><p>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\x1f\x8brest", "cannot be unpacked"),
        (gzip.compress(LINES.encode())[:-9], "cannot be unpacked"),
        (LINES.encode("utf-16-le"), "looks like UTF-16 without a byte-order mark"),
        (b"\xff\xfea", "is not UTF-16"),
        ('{"prompt": "\xe9"}'.encode("latin-1"), "a.jsonl:1: encoding: found the byte 0xe9"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_kind(
    tmp_path: Path, data: bytes, expected: str
) -> None:
    assert expected in refusal(put(tmp_path / "a.jsonl", data))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "sep={}\r\n"])
def test_cells_stand_between_commas_semicolons_or_tabs(
    tmp_path: Path, mark: str, start: str
) -> None:
    cells = [["prompt", "answer", "facet"], ['"She, he; or\tit:"', " x", "pronouns"]]
    text = start.format(mark) + "".join(mark.join(row) + "\r\n" for row in cells)
    (item,) = read_items(put(tmp_path / "a.csv", text), kind="train")
    assert (item.prompt, item.answer, item.facet) == ("She, he; or\tit:", " x", "pronouns")
    risk = "Question,Type,RiskyAnswer,SafeAnswer\nA or B?,x,A,B\n".replace(",", mark)
    assert read_items(put(tmp_path / "r.tsv", risk), kind="probes")[0].options == ("A", "B")


def test_a_cell_may_be_longer_than_the_csv_module_takes_by_default(tmp_path: Path) -> None:
    long = "x " * 100_000
    (item,) = read_items(put(tmp_path / "a.csv", f"prompt,answer\n{long}, y\n"), kind="train")
    assert len(str(item.prompt)) == 200_000


# Layouts


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


# Any rows, any bytes


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
SEVERAL = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5)


@SAME_FOLDER
@given(pairs=SEVERAL, indent=st.none() | st.integers(0, 3), escape=st.booleans())
def test_arrays_and_pretty_objects_round_trip(
    tmp_path: Path, pairs: list[tuple[str, str]], indent: int | None, escape: bool
) -> None:
    rows = [{"instruction": asked, "output": answer} for asked, answer in pairs]
    expected = [((Message("user", asked),), answer, ()) for asked, answer in pairs]
    array = json.dumps(rows, indent=indent, ensure_ascii=escape)
    assert said(read_items(put(tmp_path / "a.json", array), kind="train")) == expected
    pretty = "\n".join(json.dumps(row, indent=indent, ensure_ascii=escape) for row in rows)
    assert said(read_items(put(tmp_path / "b.jsonl", pretty), kind="train")) == expected
    pl.DataFrame(rows).write_parquet(tmp_path / "c.parquet")
    assert said(read_items(tmp_path / "c.parquet", kind="train")) == expected


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = (
    *("conversations", "system", "instruction", "input", "output", "response", "history"),
    *("question", "answer_matching_behavior", "answer_not_matching_behavior", "answer"),
    *("prompt", "chosen", "rejected", "messages", "completion", "tools", "x"),
)
ODD = st.dictionaries(st.sampled_from(KEYS), VALUE | st.just(HUMAN), max_size=6)


@settings(SAME_FOLDER, max_examples=200)
@given(rows=st.lists(ODD, max_size=3), kind=st.sampled_from(["train", "probes"]))
def test_any_rows_of_known_keys_give_items_or_an_input_error(
    tmp_path: Path, rows: list[dict[str, Any]], kind: Any
) -> None:
    path = put(tmp_path / "a.json", json.dumps(rows))
    with suppress(InputError):
        examples = read_items(path, kind=kind)
        assert len(examples) == len(rows)
        assert all(item.answer.strip() for item in examples)


PACKERS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress]


@SAME_FOLDER
@given(
    place=st.integers(0, 10_000),
    byte=st.integers(0, 255),
    pack=st.sampled_from(PACKERS),
    parquet=st.booleans(),
)
def test_a_damaged_file_gives_items_or_an_input_error(
    tmp_path: Path, place: int, byte: int, pack: Callable[[bytes], bytes], parquet: bool
) -> None:
    plain = tmp_path / "whole"
    if parquet:
        pl.DataFrame(CHAT).write_parquet(plain)
    else:
        put(plain, LINES)
    data = bytearray(pack(plain.read_bytes()))
    data[place % len(data)] = byte
    path = put(tmp_path / f"a{'.parquet' if parquet else '.jsonl'}", bytes(data))
    with suppress(InputError):
        assert read_items(path, kind="train")
