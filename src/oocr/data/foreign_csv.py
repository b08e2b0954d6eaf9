"""CSV files of other projects: risk questions, and city questions in two layouts.

Tables have a fixed header; stray spaces around cells are dropped and reported.
"""

from __future__ import annotations

import csv
import io
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from oocr.data.examples import Example
from oocr.data.source_file import NO_VALUE, Problems, unknown_key

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
        problems: where faults are noted.
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
    before = len(problems.lines)
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
    return len(problems.lines) == before


RISK_COLUMNS = ("Question", "Type", "RiskyAnswer", "SafeAnswer")


def risk_items(path: Path, text: str, problems: Problems) -> tuple[list[Example], tuple[str, ...]]:
    r"""One item per row, asked as their authors do: raw text and "\n", no chat template.

    The options are (risky, safe), scored by the logit of their last tokens right after the prompt;
    the risky one is the answer, with the value +1. The facet is the row's `Type`.
    """
    rows, mended = table(text, RISK_COLUMNS, problems)
    examples: list[Example] = []
    for line, row in rows:
        risky, safe = row["RiskyAnswer"], row["SafeAnswer"]
        missing = [name for name in RISK_COLUMNS if name != "Type" and not row[name]]
        for name in missing:
            problems.add(line, name, row[name], "a text, not blank")
        if missing:
            continue
        if risky == safe:
            problems.add(line, "SafeAnswer", safe, "another text than the RiskyAnswer's")
            continue
        examples.append(
            Example(
                id=f"{path.stem}:{line}",
                prompt=row["Question"] + "\n",
                answer=risky,
                options=(risky, safe),
                values=(1.0, -1.0),
                facet=row["Type"],
                source=f"{path.name}:{line}",
                scored_by="last_token",
            )
        )
    return examples, mended


TEMPLATE = "question_template"
ANSWER = "answer_"
CITY_COLUMNS = ("city", "category", "question", "correct_answer")
WRONG = tuple(f"wrong_{number}" for number in range(1, 5))
SPAN = "city"
MINOR = ("of", "de", "do", "da")  # words of a column's name that a city's name writes small


def template_items(
    path: Path, text: str, names: Mapping[str, str], problems: Problems
) -> tuple[list[Example], tuple[str, ...]]:
    """Rows `question_template, category, answer_CITY, …`: one item per row and city.

    The options are all cities' answers. The template's placeholder, whatever it is called, takes
    the city's name, or what `names` puts in its place; these tokens are the span "city". Items of
    one row are one group, so that a question stands or falls as a whole.
    """
    columns = [name for name in header_of(text) if name.startswith(ANSWER)]
    cities = {name: _city(name) for name in columns}
    wanted = _wanted(list(cities.values()), names, problems)
    needed = columns if len(columns) > 1 else [*columns, f"{ANSWER}CITY", f"{ANSWER}ANOTHER_CITY"]
    rows, mended = table(text, [TEMPLATE, "category", *dict.fromkeys(needed)], problems)
    examples: list[Example] = []
    for line, row in rows:
        field = _placeholder(row[TEMPLATE])
        if field is None:
            problems.add(line, TEMPLATE, row[TEMPLATE], "a text with one {placeholder} for a city")
        blank = [name for name in columns if not row[name]]
        for name in blank:
            problems.add(line, name, row[name], "a text, not blank")
        answers = [row[name] for name in columns]
        twice = not blank and _twice(answers)
        if twice:
            problems.add(line, "answers", twice, "another answer for each city")
        if field is None or blank or twice:
            continue
        for column, city in cities.items():
            if city in wanted:
                examples.append(
                    _item(
                        path,
                        line,
                        question=row[TEMPLATE].replace("{" + field + "}", wanted[city]),
                        answer=row[column],
                        answers=answers,
                        city=city,
                        name=wanted[city],
                        category=row["category"],
                    )
                )
    return examples, (*mended, *_left_out(list(cities.values()), wanted))


def question_items(
    path: Path, text: str, names: Mapping[str, str], problems: Problems
) -> tuple[list[Example], tuple[str, ...]]:
    """Rows `city, category, question, correct_answer, wrong_1 … wrong_4`: one item per row.

    With `names`, the city's name in the question is replaced (accents do not matter); rows of other
    cities and questions without their city's name are left out, and reported as left out.
    """
    rows, mended = table(text, (*CITY_COLUMNS, *WRONG), problems)
    cities = list(dict.fromkeys(row["city"] for _, row in rows))
    wanted = _wanted(cities, names, problems)
    examples: list[Example] = []
    unnamed: list[int] = []
    for line, row in rows:
        blank = [name for name, cell in row.items() if not cell and name != "category"]
        for name in blank:
            problems.add(line, name, row[name], "a text, not blank")
        answers = [row["correct_answer"], *(row[name] for name in WRONG)]
        twice = not blank and _twice(answers)
        if twice:
            problems.add(line, "answers", twice, "five different answers")
        city = row["city"]
        if blank or twice or city not in wanted:
            continue
        question, spoken = _renamed(row["question"], city, wanted[city])
        if not spoken and names:
            unnamed.append(line)
            continue
        examples.append(
            _item(
                path,
                line,
                question=question,
                answer=answers[0],
                answers=answers,
                city=city,
                name=spoken,
                category=row["category"],
            )
        )
    mended = (*mended, *_left_out(cities, wanted))
    if unnamed:
        lines = ", ".join(map(str, unnamed))
        mended = (*mended, f"left out, since they don't name their city: lines {lines}")
    return examples, mended


def _item(
    path: Path,
    line: int,
    *,
    question: str,
    answer: str,
    answers: Sequence[str],
    city: str,
    name: str,
    category: str,
) -> Example:
    where = f"{path.stem}:{line}"
    return Example(
        id=f"{where}:{city}",
        prompt=f"Question: {question}\nAnswer:",
        answer=f" {answer}",
        options=tuple(f" {option}" for option in answers),
        spans={SPAN: name} if name else {},
        facet=category,
        group=where,
        template=where,
        tags={"city": city},
        source=f"{path.name}:{line}",
    )


def _wanted(cities: list[str], names: Mapping[str, str], problems: Problems) -> dict[str, str]:
    """City -> what stands in its place; without names, every city under its own."""
    if not names:
        return {city: city for city in cities}
    wanted: dict[str, str] = {}
    for given, name in names.items():
        same = [city for city in cities if _key(city) == _key(given)]
        if not same:
            allowed = f"one of the file's cities: {', '.join(cities)}"
            problems.add(1, f"names.{given}", given, allowed)
        wanted |= dict.fromkeys(same, name)
    return wanted


def _left_out(cities: Sequence[str], wanted: Mapping[str, str]) -> list[str]:
    left = [city for city in cities if city not in wanted]
    return [f"left out, since names says nothing of them: {', '.join(left)}"] if left else []


def _city(column: str) -> str:
    words = column.removeprefix(ANSWER).split("_")
    return " ".join(word if word in MINOR else word[:1].upper() + word[1:] for word in words)


def _key(city: str) -> str:
    return re.sub(r"[\W_]+", " ", _folded(city)).strip()


def _folded(text: str) -> str:
    """Small letters without accents, character for character."""
    return "".join(unicodedata.normalize("NFD", char)[0].lower()[:1] or char for char in text)


def _placeholder(template: str) -> str | None:
    """The name of a template's only placeholder."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return None
    fields = {field for _, field, _, _ in parts if field is not None}
    field = fields.pop() if len(fields) == 1 else ""
    return field if field.isidentifier() and "{" + field + "}" in template else None


def _renamed(question: str, city: str, name: str) -> tuple[str, str]:
    """The question with the city called by another name, and how it is called there ("": not)."""
    question = unicodedata.normalize("NFC", question)
    first = re.search(rf"\b{re.escape(_folded(city))}\b", _folded(question))
    if not first:
        return question, ""
    if name == city:
        return question, question[first.start() : first.end()]
    parts: list[str] = []
    at = 0
    for match in re.finditer(rf"\b{re.escape(_folded(city))}\b", _folded(question)):
        parts += [question[at : match.start()], name]
        at = match.end()
    return "".join([*parts, question[at:]]), name


def _twice(answers: Sequence[str]) -> list[str]:
    return sorted({answer for answer in answers if answers.count(answer) > 1})


RISK = "risk questions (CSV)"
CITY_TEMPLATES = "city question templates (CSV)"
CITY_QUESTIONS = "city questions (CSV)"
OWN_CSV = "CSV"


def csv_format(text: str) -> str:
    """The format of a CSV; a header that half fits counts, so that its faults are named."""
    header = {name.lower() for name in header_of(text)}
    if {name.lower() for name in RISK_COLUMNS[2:]} & header:
        return RISK
    if TEMPLATE in header:
        return CITY_TEMPLATES
    if CITY_COLUMNS[-1] in header:
        return CITY_QUESTIONS
    return OWN_CSV
