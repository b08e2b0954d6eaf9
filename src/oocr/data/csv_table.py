"""One reader of CSV: rows by column name, each with the line that it begins in."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence

from oocr.data.source_file import NO_VALUE, Problems, unknown_key

CsvCells = dict[str, str]
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

csv.field_size_limit(2**31 - 1)  # a cell may hold a book; the largest that every platform takes


def separator_of(text: str) -> str:
    """The separator of a table's cells: the one that divides its header into most names."""
    if named := _EXCEL.match(text):
        return named[1]
    parts = {mark: len(_header(text, mark)) for mark in SEPARATORS}
    return max(parts, key=lambda mark: parts[mark])


def header_of(text: str) -> tuple[str, ...]:
    """The names of a CSV's columns, without spaces and quotes around them; empty: no row."""
    return _header(text, separator_of(text))


def _header(text: str, separator: str) -> tuple[str, ...]:
    lines = io.StringIO(_lines(text[:_HEAD]), newline="")
    for cells in csv.reader(lines, skipinitialspace=True, delimiter=separator):
        if any(cell.strip() for cell in cells):
            return tuple(cell.strip() for cell in cells)
    return ()


def read_table(
    text: str,
    problems: Problems,
    header_fits: Callable[[tuple[str, ...], int], bool],
    *,
    trim: bool = False,
) -> tuple[list[tuple[int, CsvCells]], int]:
    """Rows with their first lines, and how many lines had stray spaces; blank rows are left out.

    Args:
        text: the file's text.
        problems: where faults are noted.
        header_fits: given the columns and their line, says whether rows can be read.
        trim: drop spaces around cells and around their quotes; otherwise cells are kept as they
            are, and a space between a comma and a quote is a fault.
    """
    before, mark = len(problems.lines), separator_of(text)
    plain: set[tuple[str, ...]] = set()
    if trim:  # a lenient reader below, so quotes are checked here
        for _ in _records(re.sub(rf'" +(?=[{mark}\n]|\Z)', '"', _lines(text)), problems, trim):
            pass
        if len(problems.lines) > before:
            return [], 0
        plain = set(map(tuple, csv.reader(io.StringIO(_lines(text), newline=""), delimiter=mark)))
    header: tuple[str, ...] | None = None
    rows: list[tuple[int, CsvCells]] = []
    stray = 0
    for line, raw in _records(text, problems, trim, strict=not trim):
        stripped = tuple(cell.strip() for cell in raw)
        cells = stripped if trim else tuple(raw)
        if not any(stripped):
            continue
        stray += trim and cells not in plain
        if header is None:
            header = stripped
            if not header_fits(header, line):
                return [], 0
        elif len(cells) != len(header):
            allowed = f"{len(header)}, as in the header (put cells that hold {mark!r} in quotes)"
            problems.add(line, "row", f"{len(cells)} cells", allowed)
        elif not trim and (loose := [c for c in cells if _LOOSE.fullmatch(c) and mark + c in text]):
            problems.add(line, "row", loose[0], f"no space between {mark!r} and a quote")
        else:
            rows.append((line, dict(zip(header, cells, strict=True))))
    return rows, stray


def check_header(
    header: Sequence[str],
    line: int,
    problems: Problems,
    needed: Sequence[str],
    optional: Sequence[str] = (),
) -> bool:
    """Whether a header has the needed columns, each once, and no other than the optional ones.

    An optional "span.NAME" stands for any name after the dot.
    """
    before = len(problems.lines)
    allowed = (*needed, *optional)
    prefixes = tuple(name.removesuffix("NAME") for name in optional if name.endswith(".NAME"))
    for name in dict.fromkeys(header):
        if name not in allowed and (not name.startswith(prefixes) or name in prefixes):
            problems.add(line, "column", name, unknown_key(name, allowed))
        elif header.count(name) > 1:
            problems.add(line, "header", name, "each column once")
    if not set(needed) <= set(header):
        problems.add(line, "header", header, f"the columns {', '.join(needed)}")
    return len(problems.lines) == before


def _records(
    text: str, problems: Problems, trim: bool, *, strict: bool = True
) -> Iterator[tuple[int, list[str]]]:
    stream = io.StringIO(_lines(text), newline="")
    reader = csv.reader(stream, strict=strict, skipinitialspace=trim, delimiter=separator_of(text))
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        problems.add(line, "row", NO_VALUE, f"well-formed CSV ({error})")


def _lines(text: str) -> str:
    """The text with one kind of line ends, Excel's line that names the separator left blank."""
    return _EXCEL.sub("\n", text.replace("\r\n", "\n"))


_LOOSE = re.compile(r' +".+" *')
"""A cell with spaces before its quotes, which a strict reader does not accept as quotes."""
_HEAD = 100_000
"""Characters in which a header stands."""
_EXCEL = re.compile(r"\Asep=([,;\t])\r?\n", re.IGNORECASE)
