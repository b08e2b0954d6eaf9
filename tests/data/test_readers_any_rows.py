"""Round trips, arbitrary bytes and a large file through `read_items`."""

from __future__ import annotations

import csv
import json
import math
import string
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oocr.data.examples import Example, Message
from oocr.data.readers import read_items
from oocr.errors import InputError
from tests.data.test_readers import SAME_FOLDER, chat, write

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
CELL = st.text(string.ascii_letters + string.digits + " .,;\"'\nßé中", max_size=10)
WORD = CELL.map(str.strip).filter(bool)


@st.composite
def items(draw: st.DrawFn, *, text: Any, form: str, trimmed: bool) -> list[Example]:
    messages = []
    for number in range(draw(st.integers(1, 4))):
        body = draw(text)
        turns = [Message("system", draw(text))] if draw(st.booleans()) else []
        turns += [Message("user", draw(text)), Message("assistant", draw(text))]
        prompt = f"{body}:" if form == "raw" else (*turns, Message("user", body))
        options = tuple(f" {option}" for option in draw(st.lists(text, max_size=3, unique=True)))
        values = st.lists(st.floats(-1, 1), min_size=len(options), max_size=len(options))
        label = CELL.map(str.strip) if trimmed else st.just("") | TEXT
        messages.append(
            Example(
                id=f"i{number}",
                prompt=prompt,
                answer=draw(st.sampled_from(options)) if options else " " + draw(text),
                options=options,
                values=tuple(draw(values)) if draw(st.booleans()) else (),
                spans={"who": body} if draw(st.booleans()) else {},
                facet=draw(label),
                group=draw(label),
                template=draw(label),
                tags={"order": draw(text)} if draw(st.booleans()) else {},
            )
        )
    return messages


def columns(item: Example) -> dict[str, Any]:
    names = ("id", "options", "values", "spans", "facet", "group", "template", "tags")
    row = {name: getattr(item, name) for name in names}
    return {name: value for name, value in row.items() if value}


def same(read: tuple[Example, ...], written: list[Example]) -> bool:
    fields = ("id", "prompt", "answer", "options", "values", "spans", "facet", "group", "template")
    return len(read) == len(written) and all(
        getattr(example, name) == getattr(other, name)
        for example, other in zip(read, written, strict=True)
        for name in (*fields, "tags")
    )


@SAME_FOLDER
@given(written=items(text=TEXT, form="chat", trimmed=False), escape=st.booleans())
def test_chat_jsonl_round_trip(tmp_path: Path, written: list[Example], escape: bool) -> None:
    rows = []
    for item in written:
        assert not isinstance(item.prompt, str)
        turns = [(message.role, message.content) for message in item.prompt]
        row = chat(*turns, ("assistant", item.answer), **columns(item))
        rows.append(json.dumps(row, ensure_ascii=escape))
    path = tmp_path / "a.jsonl"
    path.write_bytes("\n".join(rows).encode())
    assert same(read_items(path, kind="train"), written)


@SAME_FOLDER
@given(written=items(text=TEXT, form="raw", trimmed=False), key=st.sampled_from(["a", "c"]))
def test_prompt_answer_jsonl_round_trip(tmp_path: Path, written: list[Example], key: str) -> None:
    name = {"a": "answer", "c": "completion"}[key]
    rows = [
        {"prompt": example.prompt, name: example.answer, **columns(example)} for example in written
    ]
    assert same(read_items(write(tmp_path, "a.jsonl", *rows), kind="train"), written)


@SAME_FOLDER
@given(written=items(text=WORD, form="raw", trimmed=True), crlf=st.booleans())
def test_csv_round_trip(tmp_path: Path, written: list[Example], crlf: bool) -> None:
    path = tmp_path / "a.csv"
    names = ("id", "facet", "group", "template")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n" if crlf else "\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["prompt", "answer", "options", "values", "span.who", "tag.order", *names])
        for example in written:
            options = "|".join(option.strip() for option in example.options)
            values = " | ".join(repr(value) for value in example.values)
            extra = [example.spans.get("who", ""), example.tags.get("order", "")]
            labels = [getattr(example, name) for name in names]
            writer.writerow([example.prompt, example.answer, options, values, *extra, *labels])
    assert same(read_items(path, kind="train"), written)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "prompt", "answer", "role", "content", "options", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ODD_ROW = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.just("text")
        for name in ("messages", "prompt", "answer", "completion", "options", "values", "spans")
    },
)


@settings(SAME_FOLDER, max_examples=200)
@given(
    data=st.binary(max_size=80)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.text('promt,answe|"\r\n ;{}[]:', max_size=60).map(str.encode)
    | st.text('ab |"\r\n,', max_size=60).map(
        lambda text: b"prompt,answer,options\n" + text.encode()
    )
    | ODD_ROW.map(lambda row: json.dumps(row).encode())
    | JSON.map(lambda row: json.dumps(row).encode()),
    ending=st.sampled_from([".jsonl", ".csv"]),
    kind=st.sampled_from(["train", "probes"]),
)
def test_any_bytes_give_items_or_an_input_error(
    tmp_path: Path, data: bytes, ending: str, kind: Any
) -> None:
    path = tmp_path / f"fuzz{ending}"
    path.write_bytes(data)
    try:
        examples = read_items(path, kind=kind)
    except InputError:
        examples = ()
    for item in examples:
        assert item.answer.strip()
        assert all(math.isfinite(value) for value in item.values)
        assert len(item.options) >= 2 or kind == "train"


def test_a_large_file_takes_three_times_its_size(tmp_path: Path) -> None:
    """The text, its rows, and what each row needs beside them; in 200 MB as in these three."""
    path = tmp_path / "rows.jsonl"
    row = json.dumps({"prompt": "lamp " * 200, "answer": " green"})
    path.write_text(f"{row}\n" * 3000)
    tracemalloc.start()
    items = read_items(path, kind="train")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(items) == 3000
    assert peak < 3.5 * path.stat().st_size
    with path.open("a") as file:
        file.write(row[:-1])
    with pytest.raises(InputError, match=r"rows\.jsonl:3001: row: found .*one JSON object"):
        read_items(path, kind="train")
