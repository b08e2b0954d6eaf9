"""Rows of JSON: an object per line, one array of objects, or objects over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from oocr.data.source_file import NO_VALUE, Problems, unique_keys

Row = tuple[int, dict[str, object]]
"""A row's line (or its number, see `Problems.unit`) and its fields."""


def json_rows(text: str, problems: Problems) -> tuple[str, list[Row]]:
    """How the text is laid out, and its objects; what is no object is noted."""
    start = text.lstrip()
    if start.startswith("["):
        return "JSON array", _objects(list(_values(text, problems, array=True)), problems)
    if start.startswith("{") and _over_lines(start):
        return "JSON", _objects(list(_values(text, problems, array=False)), problems)
    return "JSONL", list(_by_line(text, problems))


def one_object(text: str) -> dict[str, object] | None:
    """The object that is all of a text; None: it is another text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _over_lines(start: str) -> bool:
    """Whether the first object goes on in the next line, as pretty-printers write it."""
    first, _, rest = start.partition("\n")
    return bool(re.fullmatch(r'\{\s*("[^"]*"\s*:.*[,\[{]\s*)?', first) and rest.strip())


def _by_line(text: str, problems: Problems) -> Iterator[Row]:
    for line, raw in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 is text
        if not raw.strip():
            continue
        try:
            row = _DECODER.decode(raw.lstrip("\x1e"))  # RFC 7464 begins each with this mark
        except (ValueError, RecursionError) as error:
            hint = "; one object per line, no commas after them" * raw.rstrip().endswith(",")
            problems.add(line, "row", raw, f"one JSON object ({error}){hint}")
        else:
            yield from _objects([(line, row)], problems)


def _values(text: str, problems: Problems, *, array: bool) -> Iterator[tuple[int, object]]:
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


def _objects(values: list[tuple[int, object]], problems: Problems) -> list[Row]:
    """The values that are objects of valid text; numbered, where a line holds several."""
    lines = [line for line, _ in values]
    if len(set(lines)) < len(lines):
        problems.unit = "row"
        values = [(number, value) for number, (_, value) in enumerate(values, start=1)]
    rows: list[Row] = []
    for line, value in values:
        if not isinstance(value, dict):
            problems.add(line, "row", value, "one JSON object per row")
            continue
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            problems.add(line, "row", value, r"valid Unicode (half of a \u pair stands alone)")
        else:
            rows.append((line, value))
    return rows


def _skip(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return blank.end() if blank else place


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


_BLANK = re.compile(r"\s*")
_DECODER = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=_no_constant)
