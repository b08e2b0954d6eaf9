"""Arbitrary rows and damaged files in other formats: items, or an `InputError`."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from oocr.data.examples import Message
from oocr.data.readers import read_items
from oocr.errors import InputError
from tests.data.test_row_formats import CHAT, LINES, SAME_FOLDER, put, said
from tests.data.test_row_layouts import HUMAN

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
