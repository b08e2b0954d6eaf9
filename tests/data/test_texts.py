"""Texts that are only read: which files give which, and how bad ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oocr.data.examples import Message
from oocr.data.formats import open_source
from oocr.data.texts import read_texts, texts_alone
from oocr.errors import InputError


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_paragraphs_of_a_text_file_each_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("One\r\nline.\r\n\r\n\r\nTwo.\n\nTwo.\n\nThrée.".encode())
    assert tuple(read_texts(path).places) == ("One\nline.", "Two.", "Thrée.")


def test_prompts_are_followed_by_their_answers(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"prompt": "The capital is", "answer": " Paris"})
    assert tuple(read_texts(path).places) == ("The capital is Paris",)
    turns = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Paris"}]
    chat = (Message("user", "Where?"), Message("assistant", "Paris"))
    assert tuple(read_texts(jsonl(tmp_path / "b.jsonl", {"messages": turns})).places) == (chat,)
    path = jsonl(tmp_path / "c.jsonl", {"prompt": turns[:1], "completion": turns[1:]})
    assert tuple(read_texts(path).places) == (chat,)
    path = tmp_path / "d.csv"
    path.write_text('prompt,answer\nThe city is," Rome"\n', encoding="utf-8")
    assert tuple(read_texts(path).places) == ("The city is Rome",)


@pytest.mark.parametrize("key", ["text", "prompt"])
def test_rows_without_an_answer(tmp_path: Path, key: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", {key: "One."}, {key: "Two."}, {key: "One."})
    assert tuple(read_texts(path).places) == ("One.", "Two.")


def test_a_chat_without_an_answer(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
    expected = ((Message("system", "Be brief."), Message("user", "Where?")),)
    for key in ("messages", "prompt"):
        assert tuple(read_texts(jsonl(tmp_path / f"{key}.jsonl", {key: turns})).places) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"text": "a"}, {"text": " "}], ":2: text: found ' '"),
        ([{"text": "a"}, {"prompt": "b"}], ":2: text: found nothing"),
        ([{"prompt": "a"}, {"text": "b"}], "'prompt' alone, as in the first row"),
        ([{"text": ["a"]}], "allowed: a text"),
        ([{"prompt": [{"role": "robot", "content": "x"}]}], "prompt[0].role: found 'robot'"),
        ([{"prompt": [{"role": "user", "content": ""}]}], "prompt[0].content: found ''"),
        ([{"messages": []}], "at least one message"),
        ([{"messages": "x"}], "a list of messages"),
        ([{"story": "a"}], "row (all 1)"),
        ([], "no rows"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read_texts(jsonl(tmp_path / "a.jsonl", *rows))
    assert expected in str(caught.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 x")
    with pytest.raises(InputError, match=r"found neither JSON.*allowed: \.jsonl"):
        read_texts(tmp_path / "a.pdf")
    with pytest.raises(InputError, match="no such file"):
        read_texts(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("\n \n")
    with pytest.raises(InputError, match="has no text"):
        read_texts(tmp_path / "b.txt")


def test_texts_of_other_formats_and_wrong_names(tmp_path: Path) -> None:
    rows = [{"text": "One."}, {"text": "Two."}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("text\nOne.\nTwo.\n")
    jsonl(tmp_path / "b.txt", *rows)
    for name in ("a.json", "a.parquet", "a.csv", "b.txt"):
        assert tuple(read_texts(tmp_path / name).places) == ("One.", "Two.")
    path = jsonl(tmp_path / "c.jsonl", *(row | {"meta": {"url": "x"}} for row in rows))
    assert tuple(read_texts(path).places) == ("One.", "Two.")
    alone = texts_alone(open_source(path))
    assert alone is not None
    assert alone.mended == ("keys left out, with the number of their rows: 'meta' (2)",)
    assert read_texts(path).mended == alone.mended


def test_texts_that_occur_again_are_counted(tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("One.", "Two.", "One.", "Two.", "One.")]
    texts = read_texts(jsonl(tmp_path / "a.jsonl", *rows))
    assert texts.places == {"One.": "a.jsonl:1", "Two.": "a.jsonl:2"}
    assert texts.mended == ("3 texts left out, the same as one before",)
    rows = [{"prompt": "a", "answer": " b", "id": n, "meta": 1} for n in range(2)]
    assert "'meta' (2)" in "; ".join(read_texts(jsonl(tmp_path / "b.jsonl", *rows)).mended)
