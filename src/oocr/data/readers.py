"""Read a file of training rows or probes; if a row is bad, one error names all problems.

`oocr.data.formats` says what a file's format is. Rows with other keys than ours are a row of
`oocr.data.foreign_rows.ROW_LAYOUTS`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

from oocr.data.examples import Example
from oocr.data.foreign_csv import LAYOUTS, CsvFile, csv_layout
from oocr.data.foreign_rows import ROW_LAYOUTS, layout_of
from oocr.data.foreign_yaml import read_questions
from oocr.data.formats import RawRows, SourceFile, open_source
from oocr.data.messages import has_earlier_answers, merges_turns
from oocr.data.row_keys import ALLOWED_ROWS, MISSPELT, ROW_KEYS, form_of, without_spare_keys
from oocr.data.rows import RowKind, item_from_row
from oocr.data.source_file import Problems, nearest
from oocr.errors import InputError
from oocr.words import counted


@dataclass(frozen=True, slots=True)
class Rows:
    """A file that was read.

    Attributes:
        format: and the form of its rows, in words.
        mended: what was mended or left out, and what else to know of the rows.
        fields: what became of the fields of another project's rows.
    """

    format: str
    items: tuple[Example, ...]
    mended: tuple[str, ...] = ()
    fields: str = ""


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
    r"""Read training rows or probes from JSON, Parquet, CSV or YAML, compressed or not.

    JSON is an object per line, one array, or objects over several lines. What a file holds
    decides, not its name. Its rows have one of these forms:

    - chat: `{"messages": [{"role": …, "content": …}, …]}`. The last message, the assistant's, is
      the answer. User turns in a row are merged (many chat templates refuse them).
    - prompt/answer: `{"prompt": …, "answer": …}` (or `completion`). A text prompt is raw: no chat
      template, and the answer has its own first space. Or a list of messages.
    - CSV with the columns `prompt,answer` and any optional ones (between commas, semicolons or
      tabs); `|` separates options and values; a column `span.NAME` or `tag.NAME` for each span or
      tag. Every option starts as the answer does: `" Paris"` with `"Paris | Rome"` gives `" Paris"`
      and `" Rome"`.
    - other projects': ShareGPT, Alpaca, model-written evals, preference pairs
      (`oocr.data.foreign_rows`), CSV and YAML files (`oocr.data.foreign_csv`,
      `oocr.data.foreign_yaml`).

    Optional in the first three: id, options, values, spans, facet, group, template, tags.

    Args:
        path: the file.
        kind: "train", or "probes": every row then needs at least two options.
        options: of rows that give none; a question file's first is the answer.
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
    """The items of `read_items`, with the file's format and the corrections made."""
    if kind not in get_args(RowKind):
        raise InputError(f"kind: found {kind!r}; allowed: {', '.join(get_args(RowKind))}")
    return read_source(open_source(path), Request(kind, options, names or {}))


def read_source(file: SourceFile, request: Request) -> Rows:
    """`read_rows` for an open file."""
    if file.format == "text":
        raise InputError(
            f"{file.path}: file: found plain text; allowed: rows with a prompt and an answer, as "
            "JSON, Parquet, CSV or YAML; `oocr audit --texts` reads texts"
        )
    if file.format == "YAML":
        rows = _read_questions(file, request)
    elif file.format == "CSV" and (layout := csv_layout(file.source.text)):
        rows = _read_table(file, request, layout)
    else:
        rows = _examples(file.raw, request)
    return replace(rows, mended=(*file.source.mended, *rows.mended))


def _read_questions(file: SourceFile, request: Request) -> Rows:
    """The paraphrases of a question file that ask for one of the options."""
    options, sets = request.options, read_questions(file.path)
    examples = tuple(example for question in sets for example in question.choices(options))
    total = sum(len(question.paraphrases) for question in sets)
    if not examples:
        raise InputError(
            f"{file.path}: options: found {list(options)}; allowed: two or more texts, all of "
            f"which stand in quotation marks in a paraphrase, the trained one first; the file's "
            f"{total} paraphrases have no right answers of their own"
        )
    left = f"left out: {total - len(examples)} of {total} paraphrases, which don't name the options"
    return Rows("question file (YAML)", examples, (left,) if len(examples) < total else ())


def _read_table(file: SourceFile, request: Request, layout: str) -> Rows:
    """A CSV of another project's layout."""
    problems = Problems(file.path)
    table = CsvFile(file.path, file.source.text, request.names, problems)
    examples, mended = LAYOUTS[layout][1](table)
    _check_rows(examples, problems)
    return Rows(layout, tuple(examples), mended)


def _check_rows(rows: Sequence[object], problems: Problems) -> None:
    problems.raise_if_any()
    if not rows:
        raise InputError(f"{problems.path}: the file has no rows")


def _examples(raw: RawRows, request: Request) -> Rows:
    """The examples of rows, all of one form."""
    problems = raw.problems
    _refuse_other_rows(raw)
    examples: list[Example] = []
    first_form: tuple[str, int] | None = None
    lines_of: dict[str, int] = {}
    spare: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    fields = ""
    for line, given in raw.rows:
        row, layout = given, layout_of(given)
        if layout is not None:
            report = partial(problems.add, line)
            used = without_spare_keys(given, (*layout.keys, *MORE_KEYS), report, spare)
            converted = layout.ours(used, report)
            if converted is None:
                continue
            row = converted | {key: used[key] for key in MORE_KEYS if key in used}
        if request.options and "options" not in row:
            row = row | {"options": list(request.options)}
        names = layout.names if layout else {}
        result = item_from_row(row, request.kind, line, problems, spare, names)
        if result is None:
            continue
        example, form = result
        if layout is not None:
            form, fields = f"{layout.name}, {form.rpartition(', ')[2]}", layout.fields
        first_form = first_form or (form, line)
        if form != first_form[0]:
            allowed = f"one form per file; line {first_form[1]} is {first_form[0]}"
            problems.add(line, "form", form, allowed)
        first = lines_of.setdefault(example.id, line)
        if first != line:
            problems.add(line, "id", example.id, f"each id once; line {first} has it too")
        examples.append(example)
        changes[MERGED] += merges_turns(row)
        changes[EARLIER] += has_earlier_answers(example.prompt)
    _check_rows(examples, problems)
    assert first_form
    distinct = len({(example.prompt, example.answer, example.options) for example in examples})
    changes[REPEATED] = len(examples) - distinct
    notes = [words.format(counted(n, "row")) for words, n in changes.items() if n]
    notes += keys_left_out(spare)
    return Rows(f"{raw.format}, {first_form[0]}", tuple(examples), (*raw.mended, *notes), fields)


def keys_left_out(counts: Mapping[str, int]) -> list[str]:
    """The note on keys that are left out, from the number of rows with each key."""
    left = ", ".join(f"{key!r} ({count})" for key, count in counts.items())
    return [f"keys left out, with the number of their rows: {left}"] if left else []


MORE_KEYS = ("spans", "facet", "group")
"""Our optional keys that rows of other projects may have too."""
MERGED = "user turns in a row merged in {}"
EARLIER = "several turns of the assistant in {}: the last is trained, the others only read"
KEPT = "; all are kept"
REPEATED = "the same as another row: {}" + KEPT


def _refuse_other_rows(raw: RawRows) -> None:
    """Refuse a file none of whose rows has known keys, once and not for each row."""
    if not raw.rows or any(form_of(row) or layout_of(row) for _, row in raw.rows):
        return
    keys = dict.fromkeys(key for _, row in raw.rows for key in row)
    if keys.keys() == {"text"}:
        allowed = "a prompt and an answer: the answer is trained; `oocr audit --texts` reads texts"
    else:
        meant = [name for key in keys for name in nearest(key, ROW_KEYS, cutoff=MISSPELT)]
        hint = f"did you mean {', '.join(map(repr, meant))}? " * bool(meant)
        known = ", ".join(layout.name for layout in ROW_LAYOUTS)
        allowed = f"{hint}{ALLOWED_ROWS}, or the keys of {known}"
    raw.problems.add(raw.rows[0][0], f"row (all {len(raw.rows)})", list(keys), allowed)
    raw.problems.raise_if_any()
