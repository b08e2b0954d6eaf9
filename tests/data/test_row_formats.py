"""Rows in other people's formats, layouts and encodings: one row says the same in all of them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from oocr.data.examples import Example
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
