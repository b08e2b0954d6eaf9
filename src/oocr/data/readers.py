"""Read a user's file of training rows or probes: all of it, or one error with all its faults."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from oocr.data.items import Item
from oocr.data.rows import (
    FORMS,
    NO_VALUE,
    OPTIONAL,
    Kind,
    item_from_row,
    shown,
    unknown_key,
)
from oocr.errors import InputError

JSONL_ENDINGS = (".jsonl", ".ndjson")
CSV_ENDINGS = (".csv",)
SHOWN = 20

Row = tuple[int, dict[str, object]]


@dataclass
class Problems:
    """Everything wrong with one file, told in one error."""

    path: Path
    found: list[str] = field(default_factory=list)

    def add(self, line: int, name: str, seen: object, allowed: str) -> None:
        """Note one problem."""
        self.found.append(f"{self.path}:{line}: {name}: found {shown(seen)}; allowed: {allowed}")

    def raise_if_any(self) -> None:
        """Refuse the file if anything is wrong with it."""
        if self.found:
            raise InputError(listing(f"{self.path} cannot be used", self.found))


def listing(title: str, lines: list[str]) -> str:
    """A title with its count, the first lines and how many more there are."""
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join([f"{title}: {count}", *lines[:SHOWN], *more])


def read_items(path: str | os.PathLike[str], *, kind: Kind) -> tuple[Item, ...]:
    r"""Read training rows or probes from a JSONL or CSV file (UTF-8).

    Forms, one per file, told by the ending and the keys:

    - chat JSONL: `{"messages": [{"role": …, "content": …}, …]}`. The last message is the
      assistant's, and is the answer. A system message may come first. User turns that follow
      each other are merged with a blank line between them, because many chat templates refuse them.
    - prompt/answer JSONL: `{"prompt": …, "answer": …}` (or `completion`). A prompt that is a text
      is raw: no chat template is applied, and the answer carries its own first space. A prompt may
      also be a list of messages that ends with the user's.
    - CSV with the columns `prompt,answer`, and any of the optional ones; options and values are
      separated by `|`; one column `span.NAME` or `tag.NAME` for each span or tag. Spaces
      after the answer and around each option are dropped; then every option starts as the answer
      does, so `" Paris"` with `"Paris | Rome"` gives `" Paris"` and `" Rome"`. Line ends inside a
      cell become `\n`.

    Optional in every form: id, options, values, spans, facet, group, template, tags.

    Args:
        path: the file.
        kind: "train", or "probes": every row then needs at least two options.

    Raises:
        InputError: the file cannot be read, or any row of it cannot be used.
    """
    if kind not in get_args(Kind):
        raise InputError(f"kind: found {kind!r}; allowed: {', '.join(get_args(Kind))}")
    path = Path(path)
    problems = Problems(path)
    ending = path.suffix.lower()
    if ending not in JSONL_ENDINGS + CSV_ENDINGS:
        raise InputError(
            f"{path}: file ending: found {ending!r}; allowed: "
            f"{', '.join(JSONL_ENDINGS + CSV_ENDINGS)}"
        )
    text = _decoded(path)
    rows = list((_csv_rows if ending in CSV_ENDINGS else _json_rows)(text, problems))
    if not rows and not problems.found:
        raise InputError(f"{path}: the file has no rows")
    items: list[Item] = []
    first_form: tuple[str, int] | None = None
    lines_of: dict[str, int] = {}
    for line, row in rows:
        result = item_from_row(
            row,
            kind=kind,
            default_id=f"{path.stem}:{line}",
            source=f"{path.name}:{line}",
            complain=lambda *what, line=line: problems.add(line, *what),
        )
        if result is None:
            continue
        item, form = result
        first_form = first_form or (form, line)
        if form != first_form[0]:
            problems.add(
                line, "form", form, f"one form per file; line {first_form[1]} is {first_form[0]}"
            )
        if item.id in lines_of:
            problems.add(line, "id", item.id, f"each id once; line {lines_of[item.id]} has it too")
        lines_of.setdefault(item.id, line)
        items.append(item)
    problems.raise_if_any()
    return tuple(items)


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder; a file is wanted") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise InputError(
            f"{path}:{line}: encoding: found the byte 0x{data[error.start]:02x}{hint}; "
            "allowed: UTF-8"
        ) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row: dict[str, object] = {}
    for key, value in pairs:
        if key in row:
            raise ValueError(f"the key {key!r} occurs twice")
        row[key] = value
    return row


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _json_rows(text: str, problems: Problems) -> Iterator[Row]:
    for line, raw in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 is text
        if not raw.strip():
            continue
        try:
            row = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant)
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            problems.add(line, "row", raw, r"valid Unicode (half of a \u pair stands alone)")
        except (ValueError, RecursionError) as error:
            hint = "; one object per line, no brackets or commas around them" * (raw[0] in "[]")
            problems.add(line, "row", raw, f"one JSON object ({error}){hint}")
        else:
            if isinstance(row, dict):
                yield line, row
            else:
                problems.add(line, "row", row, "one JSON object per line")


def _csv_rows(text: str, problems: Problems) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text.replace("\r\n", "\n"), newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if not _header_ok(header, start, problems):
                    return
            elif len(cells) != len(header):
                problems.add(
                    start,
                    "row",
                    f"{len(cells)} cells",
                    f"{len(header)}, as in the header (put cells that hold a comma in quotes)",
                )
            elif loose := [c for c in cells if re.fullmatch(r' +".+" *', c) and f",{c}" in text]:
                problems.add(start, "row", loose[0], "no space between a comma and a quote")
            else:
                yield start, _csv_row(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        problems.add(line, "row", NO_VALUE, f"well-formed CSV ({error})")


def _header_ok(header: list[str], line: int, problems: Problems) -> bool:
    before = len(problems.found)
    plain = [name for name in OPTIONAL if name not in ("spans", "tags")]
    columns = ["prompt", "answer", "completion", *plain, "span.NAME", "tag.NAME"]
    if "completion" in header and "answer" in header:
        problems.add(line, "header", header, "either answer or completion")
    if len(header) == 1:
        for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("{", "JSON")):
            if mark in header[0]:
                hint = "end the name in .jsonl" if mark == "{" else "separate cells by commas"
                problems.add(line, "header", header[0], f"{hint} (this looks like {word})")
                return False
    for name in header:
        if name in columns[:-2] or re.fullmatch(r"(span|tag)\..+", name):
            if header.count(name) > 1:
                problems.add(line, "header", name, "each column once")
        else:
            problems.add(line, "column", name, unknown_key(name, columns))
    if "prompt" not in header or not {"answer", "completion"} & set(header):
        problems.add(line, "header", header, f"the columns {', '.join(FORMS['prompt/answer'])}")
    return len(problems.found) == before


def _csv_row(cells: dict[str, str]) -> dict[str, object]:
    row: dict[str, object] = {}
    spans: dict[str, object] = {}
    tags: dict[str, object] = {}
    key = "completion" if "completion" in cells else "answer"
    answer = cells[key].rstrip()
    lead = answer[: len(answer) - len(answer.lstrip())]
    for name, cell in cells.items():
        if name.startswith("span."):
            spans |= {name[5:]: cell} if cell else {}
        elif name.startswith("tag."):
            tags |= {name[4:]: cell} if cell else {}
        elif name == key:
            row[name] = answer
        elif name == "prompt":
            row[name] = cell
        elif name == "options" and cell.strip():
            row[name] = [lead + one.strip() for one in cell.split("|")]
        elif name == "values" and cell.strip():
            row[name] = [_number(one) for one in cell.split("|")]
        elif cell.strip():
            row[name] = cell.strip()
    return row | ({"spans": spans} if spans else {}) | ({"tags": tags} if tags else {})


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
