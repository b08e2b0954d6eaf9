"""CSV files of other projects: risk questions, and city questions in two layouts.

Their headers are fixed; stray spaces around cells are dropped and reported. A new layout is a
function from a `CsvFile` to `Items` and a row of `LAYOUTS`.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oocr.data.csv_table import CsvCells, check_header, header_of, read_table
from oocr.data.examples import Example
from oocr.data.source_file import Problems
from oocr.words import counted

RISK_COLUMNS = ("Question", "Type", "RiskyAnswer", "SafeAnswer")
TEMPLATE = "question_template"
ANSWER = "answer_"
CITY_COLUMNS = ("city", "category", "question", "correct_answer")
WRONG = tuple(f"wrong_{number}" for number in range(1, 5))
MINOR = ("of", "de", "do", "da")  # words of a column's name that a city's name writes small

Items = tuple[list[Example], tuple[str, ...]]
"""Examples, and what was mended or left out, in words."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file's text, the names that its cities get (empty: their own), where faults are noted."""

    path: Path
    text: str
    names: Mapping[str, str]
    problems: Problems

    def rows(self, columns: Sequence[str]) -> tuple[list[tuple[int, CsvCells]], tuple[str, ...]]:
        """Rows of just these columns, each with its first line, and what was mended."""
        fits = partial(check_header, problems=self.problems, needed=columns)
        rows, stray = read_table(self.text, self.problems, fits, trim=True)
        return rows, (f"stray spaces dropped in {counted(stray, 'line')}",) if stray else ()

    def blank(self, line: int, row: CsvCells, names: Iterable[str]) -> bool:
        """Whether any of these cells is blank; each is noted."""
        blank = [name for name in names if not row[name]]
        for name in blank:
            self.problems.add(line, name, row[name], "a text, not blank")
        return bool(blank)

    def twice(self, line: int, answers: Sequence[str], allowed: str) -> bool:
        """Whether an answer occurs twice, which is noted."""
        twice = sorted({answer for answer in answers if answers.count(answer) > 1})
        if twice:
            self.problems.add(line, "answers", twice, allowed)
        return bool(twice)

    def city_example(
        self,
        line: int,
        question: str,
        answer: str,
        answers: Sequence[str],
        *,
        city: str,
        name: str,
        facet: str,
    ) -> Example:
        """A question about a city, which is called `name` in it (the span "city")."""
        where = f"{self.path.stem}:{line}"
        return Example(
            id=f"{where}:{city}",
            prompt=f"Question: {question}\nAnswer:",
            answer=f" {answer}",
            options=tuple(f" {option}" for option in answers),
            spans={"city": name} if name else {},
            facet=facet,
            group=where,
            template=where,
            tags={"city": city},
            source=f"{self.path.name}:{line}",
        )


def risk_items(file: CsvFile) -> Items:
    r"""One item per row, asked as their authors do: raw text and "\n", no chat template.

    The options are (risky, safe), scored by the logit of their last tokens right after the prompt;
    the risky one is the answer, with the value +1. The facet is the row's `Type`.
    """
    rows, mended = file.rows(RISK_COLUMNS)
    examples: list[Example] = []
    for line, row in rows:
        risky, safe = row["RiskyAnswer"], row["SafeAnswer"]
        if file.blank(line, row, [name for name in RISK_COLUMNS if name != "Type"]):
            continue
        if risky == safe:
            file.problems.add(line, "SafeAnswer", safe, "another text than the RiskyAnswer's")
            continue
        examples.append(
            Example(
                id=f"{file.path.stem}:{line}",
                prompt=row["Question"] + "\n",
                answer=risky,
                options=(risky, safe),
                values=(1.0, -1.0),
                facet=row["Type"],
                source=f"{file.path.name}:{line}",
                scored_by="last_token",
            )
        )
    return examples, mended


def template_items(file: CsvFile) -> Items:
    """Rows `question_template, category, answer_CITY, …`: one item per row and city.

    The options are all cities' answers. The template's placeholder, whatever it is called, takes
    the city's name; these tokens are the span "city". Items of one row are one group, the unit of
    resampling.
    """
    columns = [name for name in header_of(file.text) if name.startswith(ANSWER)]
    cities = {name: _city(name) for name in columns}
    wanted = _wanted(list(cities.values()), file)
    needed = columns if len(columns) > 1 else [*columns, f"{ANSWER}CITY", f"{ANSWER}ANOTHER_CITY"]
    rows, mended = file.rows([TEMPLATE, "category", *dict.fromkeys(needed)])
    examples: list[Example] = []
    for line, row in rows:
        template, answers = row[TEMPLATE], [row[name] for name in columns]
        field = _placeholder(template)
        if field is None:
            allowed = "a text with one {placeholder} for a city"
            file.problems.add(line, TEMPLATE, template, allowed)
        blank = file.blank(line, row, columns)
        twice = not blank and file.twice(line, answers, "another answer for each city")
        if field is None or blank or twice:
            continue
        for column, city in cities.items():
            if city in wanted:
                name, facet = wanted[city], row["category"]
                asked = (line, template.replace("{" + field + "}", name), row[column], answers)
                examples.append(file.city_example(*asked, city=city, name=name, facet=facet))
    return examples, (*mended, *_left_out(list(cities.values()), wanted))


def question_items(file: CsvFile) -> Items:
    """Rows `city, category, question, correct_answer, wrong_1 … wrong_4`: one item per row.

    With `names`, the city's name in the question is replaced (accents do not matter); rows of other
    cities and questions without their city's name are left out, and reported as left out.
    """
    rows, mended = file.rows((*CITY_COLUMNS, *WRONG))
    cities = list(dict.fromkeys(row["city"] for _, row in rows))
    wanted = _wanted(cities, file)
    examples: list[Example] = []
    unnamed: list[int] = []
    for line, row in rows:
        city, answers = row["city"], [row["correct_answer"], *(row[name] for name in WRONG)]
        if file.blank(line, row, [name for name in row if name != "category"]):
            continue
        if file.twice(line, answers, "five different answers") or city not in wanted:
            continue
        question, name = _renamed(row["question"], city, wanted[city])
        if not name and file.names:
            unnamed.append(line)
            continue
        asked = (line, question, answers[0], answers)
        examples.append(file.city_example(*asked, city=city, name=name, facet=row["category"]))
    mended = (*mended, *_left_out(cities, wanted))
    if unnamed:
        lines = ", ".join(map(str, unnamed))
        mended = (*mended, f"left out, since they don't name their city: lines {lines}")
    return examples, mended


LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[CsvFile], Items]]] = {
    "risk questions (CSV)": (RISK_COLUMNS[2:], risk_items),
    "city question templates (CSV)": ((TEMPLATE,), template_items),
    "city questions (CSV)": (CITY_COLUMNS[-1:], question_items),
}
"""Name of a layout -> columns, any of which marks it, and its reader."""


def csv_layout(text: str) -> str | None:
    """The layout of a CSV, or None; a header that half fits counts, so that faults are named."""
    header = {name.lower() for name in header_of(text)}
    fits = (layout for layout, (marks, _) in LAYOUTS.items() if header & {*map(str.lower, marks)})
    return next(fits, None)


def _wanted(cities: list[str], file: CsvFile) -> dict[str, str]:
    """City -> its replacement; without `names` every city keeps its name."""
    if not file.names:
        return {city: city for city in cities}
    wanted: dict[str, str] = {}
    for given, name in file.names.items():
        same = [city for city in cities if _key(city) == _key(given)]
        if not same:
            allowed = f"one of the file's cities: {', '.join(cities)}"
            file.problems.add(1, f"names.{given}", given, allowed)
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
    places = list(re.finditer(rf"\b{re.escape(_folded(city))}\b", _folded(question)))
    if not places:
        return question, ""
    if name == city:
        return question, question[places[0].start() : places[0].end()]
    ends = [0, *(place.end() for place in places)]
    starts = [*(place.start() for place in places), len(question)]
    return name.join(question[a:b] for a, b in zip(ends, starts, strict=True)), name
