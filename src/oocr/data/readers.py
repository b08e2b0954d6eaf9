"""Read a file of training rows or probes: all of it, or one error with all problems.

A new format is a function from a path to `Rows` and a row of `READERS`; where its rows can be given
the keys of our JSONL, `_examples` does the rest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from oocr.data.csv_table import CsvCells, check_header, read_table
from oocr.data.examples import Example
from oocr.data.foreign_csv import LAYOUTS, CsvFile, layout_of
from oocr.data.foreign_yaml import read_questions
from oocr.data.rows import FORMS, OPTIONAL, RowKind, item_from_row, merged_turns
from oocr.data.source_file import Problems, Text, file_text, unique_keys
from oocr.errors import InputError

JSONL_ENDINGS = (".jsonl", ".ndjson")
CSV_ENDINGS = (".csv",)
YAML_ENDINGS = (".yaml", ".yml")

Row = tuple[int, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Rows:
    """A file that was read: its format, its rows, and what was mended or left out, in words."""

    format: str
    items: tuple[Example, ...]
    mended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What rows are read for; see `read_items`."""

    kind: RowKind
    options: Sequence[str]
    names: Mapping[str, str]


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
    """What `read_items` reads, with the file's format and what was mended in it."""
    if kind not in get_args(RowKind):
        raise InputError(f"kind: found {kind!r}; allowed: {', '.join(get_args(RowKind))}")
    path = Path(path)
    read = READERS.get(path.suffix.lower())
    if read is None:
        allowed = ", ".join(READERS)
        raise InputError(f"{path}: file ending: found {path.suffix.lower()!r}; allowed: {allowed}")
    return read(path, Request(kind, options, names or {}))


def _read_questions(path: Path, request: Request) -> Rows:
    """The paraphrases of a question file that ask for one of the options."""
    options, sets = request.options, read_questions(path)
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


def _read_csv(path: Path, request: Request) -> Rows:
    source, problems = file_text(path), Problems(path)
    layout = layout_of(source.text)
    if layout is None:
        return _examples("CSV", source, _csv_rows(source.text, problems), request, problems)
    examples, mended = LAYOUTS[layout][1](CsvFile(path, source.text, request.names, problems))
    _check_rows(examples, problems)
    return Rows(layout, tuple(examples), (*source.mended, *mended))


def _read_jsonl(path: Path, request: Request) -> Rows:
    source, problems = file_text(path), Problems(path)
    return _examples("JSONL", source, list(json_rows(source.text, problems)), request, problems)


READERS: dict[str, Callable[[Path, Request], Rows]] = {
    **dict.fromkeys(JSONL_ENDINGS, _read_jsonl),
    **dict.fromkeys(CSV_ENDINGS, _read_csv),
    **dict.fromkeys(YAML_ENDINGS, _read_questions),
}
"""File ending -> its reader."""


def _check_rows(rows: Sequence[object], problems: Problems) -> None:
    problems.raise_if_any()
    if not rows:
        raise InputError(f"{problems.path}: the file has no rows")


def _examples(
    format_name: str, source: Text, rows: Sequence[Row], request: Request, problems: Problems
) -> Rows:
    """The examples of rows with our keys, all of one form."""
    examples: list[Example] = []
    first_form: tuple[str, int] | None = None
    lines_of: dict[str, int] = {}
    merged = 0
    for line, row in rows:
        given = request.options and "options" not in row
        row |= {"options": list(request.options)} if given else {}
        result = item_from_row(row, kind=request.kind, line=line, problems=problems)
        if result is None:
            continue
        example, form = result
        first_form = first_form or (form, line)
        if form != first_form[0]:
            allowed = f"one form per file; line {first_form[1]} is {first_form[0]}"
            problems.add(line, "form", form, allowed)
        first = lines_of.setdefault(example.id, line)
        if first != line:
            problems.add(line, "id", example.id, f"each id once; line {first} has it too")
        examples.append(example)
        merged += bool(merged_turns(row))
    _check_rows(examples, problems)
    assert first_form
    changes = (f"user turns in a row merged in {merged} rows",) if merged else ()
    return Rows(f"{format_name}, {first_form[0]}", tuple(examples), (*source.mended, *changes))


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def json_rows(text: str, problems: Problems) -> Iterator[Row]:
    """The objects of a JSONL text, each with its line; what is no object is noted."""
    for line, raw in enumerate(text.split("\n"), start=1):  # not splitlines: U+2028 is text
        if not raw.strip():
            continue
        try:
            row = json.loads(raw, object_pairs_hook=unique_keys, parse_constant=_no_constant)
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


def _csv_rows(text: str, problems: Problems) -> list[Row]:
    def fits(header: Sequence[str], line: int) -> bool:
        return _header_fits(header, line, problems)

    rows, _ = read_table(text, problems, fits)
    return [(line, _csv_row(cells)) for line, cells in rows]


def _header_fits(header: Sequence[str], line: int, problems: Problems) -> bool:
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
    check_header(header, line, problems, (), columns)
    if "prompt" not in header or not {"answer", "completion"} & set(header):
        problems.add(line, "header", header, f"the columns {', '.join(FORMS['prompt/answer'])}")
    return len(problems.lines) == before


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
