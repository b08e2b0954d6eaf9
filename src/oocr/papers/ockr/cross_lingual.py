"""The paper's cross-lingual task: years are trained in English and asked in another language.

Training has the years of 200 people x in English, the translated name of each x, and the years of
200 other people in the language. The paper has nine languages; here are those of
`families/ockr/languages.yaml`, with the same number of lines each.
"""

from __future__ import annotations

from oocr.errors import InputError
from oocr.families.ockr.people import plain_names, spoken, translated
from oocr.papers.ockr.lines import (
    FIRST_YEAR,
    PEOPLE_PER_YEAR,
    WORDINGS,
    YEARS,
    Benchmark,
    Fact,
    Line,
    in_wordings,
    line,
    statements,
)

CROSS_FORMS = ("separate", "adjacent")


def cross_lingual(language: str, form: str = "separate", seed: int = 0) -> Benchmark:
    """The task in one language; InputError: an unknown language or form.

    `form`: translations as "separate" lines, or "adjacent" to the name in the English lines.
    """
    if language not in spoken() or form not in CROSS_FORMS:
        languages, forms = ", ".join(spoken()), ", ".join(CROSS_FORMS)
        raise InputError(
            f"language {language!r}, form {form!r}; allowed: languages {languages}; forms {forms}"
        )
    words = spoken()[language]
    people = plain_names(2 * YEARS * PEOPLE_PER_YEAR, seed)
    x, others = people[: len(people) // 2], people[len(people) // 2 :]
    years = {person: str(FIRST_YEAR - number % YEARS) for number, person in enumerate(people)}
    english = [Fact("year", (person,), years[person]) for person in x]
    translations = [Fact("name", (person,), translated(person, language)) for person in x]
    rows = in_wordings(english)
    if form == "adjacent":
        rows = [_with_translation(row, language) for row in rows]
    else:
        rows += [
            _translation_line(fact, words["name"], w)
            for fact in translations
            for w in range(WORDINGS)
        ]
    rows += [_foreign_year_line(person, years[person], language, 0) for person in others]
    return Benchmark(
        tuple(rows),
        tuple(_foreign_year_line(person, years[person], language, 0) for person in x),
        {
            "English years": tuple(map(line, english)),
            "translations": tuple(
                _translation_line(fact, words["name"], 0) for fact in translations
            ),
        },
    )


def _translation_line(fact: Fact, language: str, wording: int) -> Line:
    """A line that gives a person's translated name; the English name is the line's input."""
    prompt = statements()["name"]["ask"][wording].format(language=language)
    return Line(prompt, fact.label, (fact,), fact.label, input=fact.people[0])


def _foreign_year_line(person: str, year: str, language: str, wording: int) -> Line:
    """A year in the language, by the translated name."""
    words, name = spoken()[language], translated(person, language)
    fact = Fact("foreign year", (name,), year)
    text = words["say"][wording].format(a=name, value=year)
    return Line(words["ask"][wording].format(a=name), text, (fact,), year)


def _with_translation(row: Line, language: str) -> Line:
    """The line with the translation in brackets after the name."""
    person = row.facts[0].people[0]
    name = translated(person, language)
    translation = Fact("name", (person,), name)
    gloss = f"{person} ({name})"
    return Line(
        row.prompt.replace(person, gloss),
        row.answer.replace(person, gloss),
        (*row.facts, translation),
        row.label,
    )
