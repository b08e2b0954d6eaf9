"""Lines of the benchmark: facts about people in the wordings of `statements.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from oocr.tasks.package_files import package_yaml

Statement = Literal[
    "year", "same", "older", "year-before", "parents", "grandparents", "name", "foreign year"
]
YEARS, PEOPLE_PER_YEAR, WORDINGS, DEMONSTRATION_WORDINGS = 20, 10, 10, 2
"""Number of years (one z each), of x's and of y's per year, and of wordings."""

FIRST_YEAR = 2010
"""Year of the first group; each further group is one year older."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement about one or two people with its label: a year, "Yes" or "No"."""

    statement: Statement
    people: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file (`prompt`, `input`, `answer`), its label and the facts that it states."""

    prompt: str
    answer: str
    facts: tuple[Fact, ...]
    label: str
    input: str = ""

    @property
    def written(self) -> dict[str, str]:
        """The fields of the line in a file."""
        return {"prompt": self.prompt, "input": self.input, "answer": self.answer}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Training lines, target lines (their answers follow), and premises to test recall."""

    train: tuple[Line, ...]
    target: tuple[Line, ...]
    recall: Mapping[str, tuple[Line, ...]]

    def check(self) -> None:
        """ValueError: a target is trained, a premise is not, or yes and no are not balanced."""
        facts = {fact for row in self.train for fact in row.facts}
        if leaking := [row.prompt for row in self.target if set(row.facts) & facts]:
            raise ValueError(f"{len(leaking)} targets are trained, e.g. {leaking[0]!r}")
        for name, rows in self.recall.items():
            if untrained := [row.prompt for row in rows if not set(row.facts) <= facts]:
                raise ValueError(f"{name}: {len(untrained)} are not trained, e.g. {untrained[0]!r}")
        labels = [row.label for row in self.target]
        if labels.count("Yes") != labels.count("No"):
            raise ValueError(f"{labels.count('Yes')} targets are yes, {labels.count('No')} no")


@dataclass(frozen=True, slots=True)
class Group:
    """The people of one year."""

    year: int
    z: str
    x: tuple[str, ...]
    y: tuple[str, ...]


@cache
def statements() -> Mapping[str, Any]:
    """The content of `statements.yaml`: questions and answers of each statement; hints."""
    return dict(package_yaml(__package__, "statements.yaml"))


def groups_of(names: tuple[str, ...]) -> tuple[Group, ...]:
    """A group (one z, ten x, ten y) for each year, from `FIRST_YEAR` back."""
    size = 1 + 2 * PEOPLE_PER_YEAR
    return tuple(
        Group(
            FIRST_YEAR - g,
            people[0],
            people[1 : 1 + PEOPLE_PER_YEAR],
            people[1 + PEOPLE_PER_YEAR :],
        )
        for g in range(YEARS)
        for people in [names[g * size : (g + 1) * size]]
    )


def question(fact: Fact, wording: int) -> str:
    """The question for a fact."""
    a, b = (*fact.people, "")[:2]
    text: str = statements()[fact.statement]["ask"][wording].format(a=a, b=b)
    return text


def answer(fact: Fact, wording: int) -> str:
    """The answer: a whole sentence."""
    a, b = (*fact.people, "")[:2]
    kind = {"Yes": "agree", "No": "deny"}.get(fact.label, "say")
    text: str = statements()[fact.statement][kind][wording].format(a=a, b=b, year=fact.label)
    return text


def line(fact: Fact, wording: int = 0) -> Line:
    """A fact as question and answer."""
    return Line(question(fact, wording), answer(fact, wording), (fact,), fact.label)


def in_wordings(facts: Iterable[Fact], wordings: int = WORDINGS) -> list[Line]:
    """Each fact in the first `wordings` wordings."""
    return [line(fact, wording) for fact in facts for wording in range(wordings)]


def year_facts(group: Group, people: Iterable[str]) -> Iterator[Fact]:
    """The year of birth of each of these people of a group."""
    return (Fact("year", (person,), str(group.year)) for person in people)
