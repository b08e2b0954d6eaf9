r"""CSV tables with a fixed header, as other projects wrote them: stray spaces are dropped."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from oocr.data.problems import NO_VALUE, Problems, unknown_key

Cells = dict[str, str]


def header_of(text: str) -> tuple[str, ...]:
    """The names of a CSV's columns, spaces and quotes around them dropped; empty: no row."""
    for cells in csv.reader(io.StringIO(_lines(text), newline=""), skipinitialspace=True):
        if any(cell.strip() for cell in cells):
            return tuple(cell.strip() for cell in cells)
    return ()


def table(
    text: str, columns: Sequence[str], problems: Problems, *, optional: Sequence[str] = ()
) -> tuple[list[tuple[int, Cells]], tuple[str, ...]]:
    """Rows by column name, each with its first line, and what was mended.

    Spaces around cells and around their quotes are dropped; rows of nothing are passed over.

    Args:
        text: the file's text.
        columns: the columns that must be there, in any order; others are refused.
        problems: told what is wrong.
        optional: columns that may be there.
    """
    text = _lines(text)
    plain = {tuple(cells) for cells in csv.reader(io.StringIO(text, newline=""))}
    if not _closed(text, problems):
        return [], ()
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    header: tuple[str, ...] | None = None
    rows: list[tuple[int, Cells]] = []
    line, stray = 1, 0
    for raw in reader:
        start, line = line, reader.line_num + 1
        cells = tuple(cell.strip() for cell in raw)
        if not any(cells):
            continue
        stray += cells not in plain
        if header is None:
            header = cells
            if not _header_ok(header, start, columns, optional, problems):
                return [], ()
        elif len(cells) != len(header):
            problems.add(
                start,
                "row",
                f"{len(cells)} cells",
                f"{len(header)}, as in the header (put cells that hold a comma in quotes)",
            )
        else:
            rows.append((start, dict(zip(header, cells, strict=True))))
    return rows, (f"stray spaces dropped in {stray} line{'s' * (stray > 1)}",) if stray else ()


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _closed(text: str, problems: Problems) -> bool:
    """Whether every quoted cell ends where it should, stray spaces after a quote aside."""
    reader = csv.reader(
        io.StringIO(re.sub(r'" +(?=[,\n]|\Z)', '"', text), newline=""),
        skipinitialspace=True,
        strict=True,
    )
    start = 1
    try:
        for _ in reader:
            start = reader.line_num + 1
    except csv.Error as error:
        problems.add(start, "row", NO_VALUE, f"well-formed CSV ({error})")
        return False
    return True


def _header_ok(
    header: tuple[str, ...],
    line: int,
    columns: Sequence[str],
    optional: Sequence[str],
    problems: Problems,
) -> bool:
    before = len(problems.found)
    allowed = (*columns, *optional)
    for name in dict.fromkeys(header):
        if name not in allowed:
            problems.add(line, "column", name, unknown_key(name, allowed))
        elif header.count(name) > 1:
            problems.add(line, "header", name, "each column once")
    for name in columns:
        if name not in header:
            problems.add(line, "header", header, f"the columns {', '.join(columns)}")
            break
    return len(problems.found) == before
