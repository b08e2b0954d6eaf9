"""A file's format, by what it holds and then by its name, and its rows before they are read."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from oocr.data.csv_table import (
    SEPARATORS,
    CsvCells,
    check_header,
    header_of,
    read_table,
    separator_of,
)
from oocr.data.foreign_csv import csv_layout
from oocr.data.foreign_rows import ROW_LAYOUTS, layout_of
from oocr.data.json_rows import Row, json_rows
from oocr.data.row_keys import FORMS, MEANT, OPTIONAL, ROW_KEYS, form_of, misspelt
from oocr.data.source_file import Problems, Text, decoded, file_bytes
from oocr.errors import InputError
from oocr.hub_files import located
from oocr.words import first_line

ENDINGS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "JSON"),
    **dict.fromkeys((".csv", ".tsv"), "CSV"),
    **dict.fromkeys((".yaml", ".yml"), "YAML"),
    ".parquet": "Parquet",
    **dict.fromkeys((".txt", ".md"), "text"),
}
"""Ending of a file's name -> the format that it promises."""
PACKED = (".gz", ".bz2", ".xz")
"""Endings that follow the format's."""


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows before their keys are looked at, each with its line, and where faults are noted."""

    format: str
    rows: list[Row]
    problems: Problems
    mended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file's format, its text (of Parquet: none), and its rows (of YAML and plain text: none)."""

    path: Path
    format: str
    source: Text
    raw: RawRows


def open_source(path: str | os.PathLike[str]) -> SourceFile:
    """A file, its rows and their format: what it holds says which, then its name.

    Raises:
        InputError: it cannot be read, or it holds none of the formats.
    """
    path = located(path)
    data, problems = file_bytes(path), Problems(path)
    named = ENDINGS.get(ending_of(path))
    raw = RawRows("", [], problems)
    held: str | None = "Parquet"
    if data.startswith(b"PAR1"):
        source, raw = Text(""), RawRows("Parquet", _parquet_rows(data, problems), problems)
    elif named == "Parquet":
        raise InputError(f"{path}: file: found no Parquet, which begins with PAR1; is it damaged?")
    else:
        source = decoded(path, data)
        held = _format_of(source.text, named)
    del data  # as large as the text
    if held is None:
        raise InputError(
            f"{path}: file: found neither JSON, nor Parquet, nor a CSV or YAML with keys of rows; "
            f"allowed: {', '.join(ENDINGS)}"
        )
    if held == "JSON":
        raw = _unwrapped(RawRows(*json_rows(source.text, problems), problems))
    elif held == "CSV":
        raw = _csv_rows(source.text, problems)
    if held != named:
        words = f"its name ends in {path.suffix or 'nothing'}, but it holds {held}"
        source = replace(source, mended=(*source.mended, words))
    return SourceFile(path, held, source, raw)


def ending_of(path: Path) -> str:
    """The ending that names the format, in small letters, without that of a packer."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in PACKED), "")


def _format_of(text: str, named: str | None) -> str | None:
    """The format of a text, or the named one where nothing in it says otherwise."""
    start = text.lstrip()[:1000]
    if named == "YAML" or (named == "JSON" and start.startswith(("{", "["))):
        return named
    if start.startswith(('{"', "{\n", "[{", "[\n")):
        return "JSON"
    if named != "text" and re.match(r"-\s+\w+:", start):
        return "YAML"
    header = {name.lower() for name in header_of(text)}
    if named != "CSV" and (len(header & _KNOWN) > 1 or csv_layout(text) is not None):
        return "CSV"
    return named


_KNOWN = {*ROW_KEYS, "text", *(key for layout in ROW_LAYOUTS for key in layout.keys)}


def _unwrapped(raw: RawRows) -> RawRows:
    """The rows that stand under the only list of a file's only object ({"data": […]})."""
    if len(raw.rows) != 1 or raw.problems.lines:
        return raw
    line, wrapper = raw.rows[0]
    if form_of(wrapper) or layout_of(wrapper):
        if len(wrapper) > 1 and all(_is_column(value) for value in wrapper.values()):
            allowed = 'one object per row (in pandas: to_json(orient="records", lines=True))'
            raw.problems.add(line, "file", f"the columns {', '.join(wrapper)}", allowed)
            raw.problems.raise_if_any()
        return raw
    lists = {key: value for key, value in wrapper.items() if _is_list_of_rows(value)}
    if len(lists) > 1:
        allowed = "one list of rows; save each in a file of its own"
        raw.problems.add(0, "file", f"lists of rows under {', '.join(lists)}", allowed)
        raw.problems.raise_if_any()
    if not lists:
        return raw
    ((key, rows),) = lists.items()
    raw.problems.unit = "row"
    beside = ", ".join(repr(other) for other in wrapper if other != key)
    words = f"the rows stand under {key!r}" + f"; left out, beside them: {beside}" * bool(beside)
    return replace(raw, rows=list(enumerate(rows, start=1)), mended=(words,))


def _is_column(value: object) -> bool:
    if isinstance(value, dict):
        return all(key.isdigit() for key in value) and bool(value)
    return isinstance(value, list) and not any(isinstance(cell, dict | list) for cell in value)


def _is_list_of_rows(value: object) -> TypeGuard[list[dict[str, object]]]:
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        return False
    return bool(form_of(value[0]) or layout_of(value[0]) or "text" in value[0])


def _parquet_rows(data: bytes, problems: Problems) -> list[Row]:
    """The rows of a Parquet file, numbered from 1."""
    import polars as pl

    problems.unit = "row"
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = first_line(error)
        raise InputError(f"{problems.path}: Parquet: cut short or damaged ({reason})") from error
    return list(enumerate(frame.iter_rows(named=True), start=1))


def _csv_rows(text: str, problems: Problems) -> RawRows:
    def fits(header: Sequence[str], line: int) -> bool:
        return _header_fits(header, line, problems)

    rows, _ = read_table(text, problems, fits)
    separator = separator_of(text)
    mended = () if separator == "," else (f"cells stand between {SEPARATORS[separator]}",)
    read = _filled if _has_other_keys(header_of(text)) else _csv_row
    return RawRows("CSV", [(line, read(cells)) for line, cells in rows], problems, mended)


def _filled(cells: CsvCells) -> dict[str, object]:
    """The cells that are not blank; lists of messages stand in them as JSON."""
    row: dict[str, object] = {name: cell for name, cell in cells.items() if cell.strip()}
    for name in LISTS & row.keys():
        with suppress(ValueError, RecursionError):
            row[name] = json.loads(cells[name])
    return row


LISTS = {"messages", "conversations", "conversation", "history"}
"""Columns whose cells are lists."""


def _has_other_keys(header: Sequence[str]) -> bool:
    if set(header) == {"text"} or "messages" in header:
        return True
    return layout_of(dict.fromkeys(header, "")) is not None


def _header_fits(header: Sequence[str], line: int, problems: Problems) -> bool:
    if _has_other_keys(header):
        return check_header(header, line, problems, (), header)
    before = len(problems.lines)
    plain = [name for name in OPTIONAL if name not in ("spans", "tags")]
    columns = ["prompt", "answer", "completion", *plain, "span.NAME", "tag.NAME"]
    others = [name for name in header if name not in MEANT and not name.startswith(PREFIXES)]
    spare = [name for name in others if not misspelt(name, columns, header)]
    if "completion" in header and "answer" in header:
        problems.add(line, "header", header, "either answer or completion")
    check_header(header, line, problems, (), (*columns, *spare))
    if "prompt" not in header or not {"answer", "completion"} & set(header):
        problems.add(line, "header", header, f"the columns {', '.join(FORMS['prompt/answer'])}")
    return len(problems.lines) == before


PREFIXES = ("span.", "tag.")
"""Of the columns that have a name of their own each."""


def _csv_row(cells: CsvCells) -> dict[str, object]:
    """The keys of a JSONL row; blank optional cells are not there."""
    row: dict[str, object] = {}
    more: dict[str, dict[str, str]] = {"spans": {}, "tags": {}}
    key = "completion" if "completion" in cells else "answer"
    answer = cells[key].rstrip()
    lead = answer[: len(answer) - len(answer.lstrip())]
    for name, cell in cells.items():
        prefix, _, inside = name.partition(".")
        if f"{prefix}s" in more and inside:
            more[f"{prefix}s"] |= {inside: cell} if cell else {}
        elif name in ("prompt", key):
            row[name] = answer if name == key else cell
        elif name == "options" and cell.strip():
            row[name] = [lead + option.strip() for option in cell.split("|")]
        elif name == "values" and cell.strip():
            row[name] = [_number(value) for value in cell.split("|")]
        elif cell.strip():
            row[name] = cell.strip()
    return row | {name: texts for name, texts in more.items() if texts}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
