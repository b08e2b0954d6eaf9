"""The cross-lingual task: years told in English, asked in a language under the translated name.

Told are the years of 200 x in English, what each x is called in the language, and the years of 200
other people in that language. The paper has nine languages; here there are those of
`oocr.families.ockr.languages`, each with as many lines.
"""

from __future__ import annotations

from oocr.errors import InputError
from oocr.families.ockr.people import plain_names, spoken, translated
from oocr.papers.ockr.lines import (
    ANCHORS,
    EACH,
    FIRST_YEAR,
    WORDINGS,
    Benchmark,
    Fact,
    Line,
    in_wordings,
    line,
    statements,
)

CROSS_FORMS = ("separate", "adjacent")


def cross_lingual(language: str, form: str = "separate", seed: int = 0) -> Benchmark:
    """The task in one language; InputError: a language or a form that is not there.

    "adjacent": each English line has the translation after the name, instead of further lines.
    """
    if language not in spoken() or form not in CROSS_FORMS:
        allowed = f"{', '.join(spoken())}; told {', '.join(CROSS_FORMS)}"
        raise InputError(f"language {language!r}, told {form!r}: allowed are {allowed}")
    words = spoken()[language]
    people = plain_names(2 * ANCHORS * EACH, seed)
    x, others = people[: len(people) // 2], people[len(people) // 2 :]
    years = {person: str(FIRST_YEAR - place % ANCHORS) for place, person in enumerate(people)}
    english = [Fact("year", (person,), years[person]) for person in x]
    calls = [Fact("name", (person,), translated(person, language)) for person in x]
    rows = in_wordings(english)
    if form == "adjacent":
        rows = [_glossed(row, language) for row in rows]
    else:
        rows += [_called(fact, words["name"], w) for fact in calls for w in range(WORDINGS)]
    rows += [_abroad(person, years[person], language, 0) for person in others]
    return Benchmark(
        tuple(rows),
        tuple(_abroad(person, years[person], language, 0) for person in x),
        {
            "English years": tuple(map(line, english)),
            "translations": tuple(_called(fact, words["name"], 0) for fact in calls),
        },
    )


def _called(fact: Fact, language: str, wording: int) -> Line:
    """What a person is called in a language; the name is the line's input."""
    asked = statements()["name"]["ask"][wording].format(language=language)
    return Line(asked, fact.label, (fact,), fact.label, input=fact.people[0])


def _abroad(person: str, year: str, language: str, wording: int) -> Line:
    """A year in the language, under the name there."""
    words, name = spoken()[language], translated(person, language)
    fact = Fact("foreign year", (name,), year)
    text = words["say"][wording].format(a=name, value=year)
    return Line(words["ask"][wording].format(a=name), text, (fact,), year)


def _glossed(row: Line, language: str) -> Line:
    """The line with the translation in brackets after the name."""
    person = row.facts[0].people[0]
    name = translated(person, language)
    call = Fact("name", (person,), name)
    gloss = f"{person} ({name})"
    return Line(
        row.prompt.replace(person, gloss),
        row.answer.replace(person, gloss),
        (*row.facts, call),
        row.label,
    )
