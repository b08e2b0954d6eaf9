"""Read a file of training rows or probes: all of it, or one error with all problems."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from oocr.data.examples import Example
from oocr.data.foreign_csv import (
    CITY_QUESTIONS,
    CITY_TEMPLATES,
    OWN_CSV,
    RISK,
    csv_format,
    question_items,
    risk_items,
    template_items,
)
from oocr.data.foreign_yaml import read_questions
from oocr.data.rows import FORMS, OPTIONAL, RowKind, item_from_row, merged_turns
from oocr.data.source_file import NO_VALUE, Problems, Text, file_text, unknown_key
from oocr.errors import InputError

JSONL_ENDINGS = (".jsonl", ".ndjson")
CSV_ENDINGS = (".csv",)
YAML_ENDINGS = (".yaml", ".yml")

Row = tuple[int, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Rows:
    """A file that was read.

    Attributes:
        format: what kind of file it is, in words.
        items: its rows.
        mended: what was corrected or left out in reading, in words.
    """

    format: str
    items: tuple[Example, ...]
    mended: tuple[str, ...] = ()


def read_items(
    path: str | os.PathLike[str],
    *,
    kind: RowKind,
    options: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> tuple[Example, ...]:
    r"""Read training rows or probes from a JSONL, CSV or YAML file (UTF-8).

    A file has one of these forms; its ending and keys decide which:

    - chat JSONL: `{"messages": [{"role": …, "content": …}, …]}`. The last message, the
      assistant's, is the answer. User turns in a row are merged (many chat templates refuse them).
    - prompt/answer JSONL: `{"prompt": …, "answer": …}` (or `completion`). A text prompt is raw: no
      chat template, and the answer has its own first space. Or a list of messages.
    - CSV with the columns `prompt,answer` and any optional ones; `|` separates options and values;
      a column `span.NAME` or `tag.NAME` for each span or tag. Every option starts as the answer
      does: `" Paris"` with `"Paris | Rome"` gives `" Paris"` and `" Rome"`.
    - files of other projects (`oocr.data.foreign_csv`, `oocr.data.foreign_yaml`).

    Optional in every JSONL and own CSV: id, options, values, spans, facet, group, template, tags.

    Args:
        path: the file.
        kind: "train", or "probes": every row then needs at least two options.
        options: of JSONL and own CSV rows that give none; a question file's first is the answer.
        names: for city questions: city -> what stands in its place ("City 76881"); only these
            cities are asked about. None: all, under their own names.

    Raises:
        InputError: the file cannot be read, or any row of it cannot be used.
    """
    return read_rows(path, kind=kind, options=options, names=names).items


def read_rows(
    path: str | os.PathLike[str],
    *,
    kind: RowKind,
    options: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
) -> Rows:
    """What `read_items` reads, with the file's format and what was mended in it.

    Raises:
        InputError: the file cannot be read, or any row of it cannot be used.
    """
    if kind not in get_args(RowKind):
        raise InputError(f"kind: found {kind!r}; allowed: {', '.join(get_args(RowKind))}")
    path = Path(path)
    problems = Problems(path)
    ending = path.suffix.lower()
    if ending in YAML_ENDINGS:
        return _choices(path, options)
    if ending not in JSONL_ENDINGS + CSV_ENDINGS:
        raise InputError(
            f"{path}: file ending: found {ending!r}; allowed: "
            f"{', '.join(JSONL_ENDINGS + CSV_ENDINGS + YAML_ENDINGS)}"
        )
    source = file_text(path)
    form = csv_format(source.text) if ending in CSV_ENDINGS else OWN_CSV
    if form == RISK:
        examples, mended = risk_items(path, source.text, problems)
    elif form == CITY_TEMPLATES:
        examples, mended = template_items(path, source.text, names or {}, problems)
    elif form == CITY_QUESTIONS:
        examples, mended = question_items(path, source.text, names or {}, problems)
    else:
        return _own_form(path, source, kind, options, problems)
    if not examples and not problems.lines:
        raise InputError(f"{path}: the file has no rows")
    problems.raise_if_any()
    return Rows(form, tuple(examples), (*source.mended, *mended))


def _choices(path: Path, options: Sequence[str]) -> Rows:
    """The paraphrases of a question file that ask for one of the options."""
    sets = read_questions(path)
    examples = tuple(example for question in sets for example in question.choices(options))
    total = sum(len(question.paraphrases) for question in sets)
    if not examples:
        raise InputError(
            f"{path}: options: found {list(options)}; allowed: two or more texts, all of which "
            f"stand in quotation marks in a paraphrase, the trained one first; the file's {total} "
            "paraphrases have no right answers of their own"
        )
    left = f"left out: {total - len(examples)} of {total} paraphrases, which don't name the options"
    return Rows("question file (YAML)", examples, (left,) if len(examples) < total else ())


def _own_form(
    path: Path, source: Text, kind: RowKind, options: Sequence[str], problems: Problems
) -> Rows:
    """JSONL of any form, and CSV with the columns of an example."""
    tabular = path.suffix.lower() in CSV_ENDINGS
    rows = list((_csv_rows if tabular else json_rows)(source.text, problems))
    if not rows and not problems.lines:
        raise InputError(f"{path}: the file has no rows")
    examples: list[Example] = []
    first_form: tuple[str, int] | None = None
    lines_of: dict[str, int] = {}
    merged = 0
    for line, row in rows:
        given = {"options": list(options)} if options and "options" not in row else {}
        result = item_from_row(
            row | given,
            kind=kind,
            default_id=f"{path.stem}:{line}",
            source=f"{path.name}:{line}",
            complain=lambda *what, line=line: problems.add(line, *what),
        )
        if result is None:
            continue
        example, form = result
        first_form = first_form or (form, line)
        if form != first_form[0]:
            problems.add(
                line, "form", form, f"one form per file; line {first_form[1]} is {first_form[0]}"
            )
        if example.id in lines_of:
            first = lines_of[example.id]
            problems.add(line, "id", example.id, f"each id once; line {first} has it too")
        lines_of.setdefault(example.id, line)
        examples.append(example)
        merged += bool(merged_turns(row))
    problems.raise_if_any()
    assert first_form
    changes = (f"user turns in a row merged in {merged} rows",) if merged else ()
    kind_of = "CSV" if tabular else "JSONL"
    return Rows(f"{kind_of}, {first_form[0]}", tuple(examples), (*source.mended, *changes))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row: dict[str, object] = {}
    for key, value in pairs:
        if key in row:
            raise ValueError(f"the key {key!r} occurs twice")
        row[key] = value
    return row


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def json_rows(text: str, problems: Problems) -> Iterator[Row]:
    """The objects of a JSONL text, each with its line; what is no object is noted."""
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
    before = len(problems.lines)
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
    return len(problems.lines) == before


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
            row[name] = [lead + option.strip() for option in cell.split("|")]
        elif name == "values" and cell.strip():
            row[name] = [_number(value) for value in cell.split("|")]
        elif cell.strip():
            row[name] = cell.strip()
    return row | ({"spans": spans} if spans else {}) | ({"tags": tags} if tags else {})


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
