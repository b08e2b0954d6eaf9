"""Rows of JSON: an object per line, one array of objects, or objects over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from oocr.data.source_file import NO_VALUE, Problems, unique_keys

Values = Iterator[tuple[int, object]]
Row = tuple[int, dict[str, object]]
"""A row's line (or its number, see `Problems.unit`) and its fields."""


def json_rows(text: str, problems: Problems) -> tuple[str, list[Row]]:
    """The layout of the text, and its objects; other values are noted as problems."""
    words, values = "JSONL", _by_line(text, problems)
    if text.lstrip().startswith("["):
        words, values = "JSON array", _numbered(_values(text, problems, array=True), problems)
    elif _OVER_LINES.match(text):
        words, values = "JSON", _numbered(_values(text, problems, array=False), problems)
    escapes = bool(_SURROGATE.search(text))
    rows: list[Row] = []
    for line, value in values:
        if not isinstance(value, dict):
            problems.add(line, "row", value, "one JSON object per row")
        elif escapes and _has_half_pair(value):
            problems.add(line, "row", value, r"valid Unicode (half of a \u pair stands alone)")
        else:
            rows.append((line, value))
    return words, rows


def _numbered(values: Values, problems: Problems) -> Values:
    """The values, by number and not by line where a line holds several."""
    listed = list(values)
    if len({line for line, _ in listed}) < len(listed):
        problems.unit = "row"
        listed = [(number, value) for number, (_, value) in enumerate(listed, start=1)]
    return iter(listed)


def _has_half_pair(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def one_object(text: str) -> dict[str, object] | None:
    """The object that is all of a text; None: it is another text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _by_line(text: str, problems: Problems) -> Values:
    for line, match in enumerate(_LINE.finditer(text), start=1):
        raw = match[1]
        if not raw.strip():
            continue
        try:
            yield line, _DECODER.decode(raw.lstrip("\x1e"))  # RFC 7464 begins each with this mark
        except (ValueError, RecursionError) as error:
            hint = "; one object per line, no commas after them" * raw.rstrip().endswith(",")
            problems.add(line, "row", raw, f"one JSON object ({error}){hint}")


def _values(text: str, problems: Problems, *, array: bool) -> Values:
    """Values one after the other, or in an array with commas between them, with their lines."""
    place = text.index("[") + 1 if array else 0
    line, counted, separator = 1, 0, ""
    while True:
        place = _skip(text, place)
        line, counted = line + text.count("\n", counted, place), place
        at_end = place == len(text)
        if at_end or (array and text[place] == "]"):
            if array and (at_end or _skip(text, place + 1) < len(text)):
                seen = NO_VALUE if at_end else text[place + 1 :].strip()
                problems.add(
                    line, "array", seen, "one array of rows, closed by ] at the file's end"
                )
            return
        if separator and text[place] != separator:
            problems.add(line, "array", text[place : place + 60], "a comma between rows")
            return
        try:
            value, place = _DECODER.raw_decode(text, _skip(text, place + len(separator)))
        except (ValueError, RecursionError) as error:
            at = getattr(error, "lineno", line)
            problems.add(at, "row", text.split("\n", at)[at - 1], f"one JSON object ({error})")
            return
        yield line, value
        separator = "," if array else ""


def _skip(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return blank.end() if blank else place


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


_BLANK = re.compile(r"\s*")
_LINE = re.compile(r"([^\n]*)\n?")  # not splitlines: U+2028 is text; not split: a copy of all
_OVER_LINES = re.compile(r'\s*\{[^\S\n]*("[^"\n]*"[^\S\n]*:.*[,\[{][^\S\n]*)?\n\s*\S')
"""A first object that continues in the next line, as in pretty-printed JSON."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=_no_constant)
