"""A line of the benchmark, and statements on people put into words (`statements.yaml`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from oocr.tasks.package_files import package_yaml

Statement = Literal[
    "year", "same", "older", "year-before", "parents", "grandparents", "name", "foreign year"
]
ANCHORS, EACH, WORDINGS, SHOWN = 20, 10, 10, 2
"""Years (and z's); x's and y's of each; wordings of facts, and of demonstrations."""

FIRST_YEAR = 2010
"""Of the first group; each next one is a year older."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement on one or two people and its label: a year, "Yes" or "No"."""

    statement: Statement
    people: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `prompt`, `input` and `answer` as they are written; the facts that it states."""

    prompt: str
    answer: str
    facts: tuple[Fact, ...]
    label: str
    input: str = ""

    @property
    def written(self) -> dict[str, str]:
        """The line as it stands in a file."""
        return {"prompt": self.prompt, "input": self.input, "answer": self.answer}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Lines to train on, lines whose answers follow from them, and premises asked again."""

    train: tuple[Line, ...]
    target: tuple[Line, ...]
    recall: Mapping[str, tuple[Line, ...]]

    def check(self) -> None:
        """ValueError: a target is told, a premise is not, or labels are not level."""
        facts = {fact for row in self.train for fact in row.facts}
        if leaking := [row.prompt for row in self.target if set(row.facts) & facts]:
            raise ValueError(f"{len(leaking)} targets are told, e.g. {leaking[0]!r}")
        for name, rows in self.recall.items():
            if untold := [row.prompt for row in rows if not set(row.facts) <= facts]:
                raise ValueError(f"{name}: {len(untold)} are not told, e.g. {untold[0]!r}")
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
    """Questions and answers of each kind of statement, and the hints."""
    return dict(package_yaml(__package__, "statements.yaml"))


def groups_of(names: tuple[str, ...]) -> tuple[Group, ...]:
    """Groups of a z, ten x and ten y each, from the oldest year on."""
    size = 1 + 2 * EACH
    return tuple(
        Group(FIRST_YEAR - g, people[0], people[1 : 1 + EACH], people[1 + EACH :])
        for g in range(ANCHORS)
        for people in [names[g * size : (g + 1) * size]]
    )


def question(fact: Fact, wording: int) -> str:
    """A fact as a question."""
    a, b = (*fact.people, "")[:2]
    asked: str = statements()[fact.statement]["ask"][wording].format(a=a, b=b)
    return asked


def answer(fact: Fact, wording: int) -> str:
    """A fact as a whole sentence."""
    a, b = (*fact.people, "")[:2]
    kind = {"Yes": "agree", "No": "deny"}.get(fact.label, "say")
    text: str = statements()[fact.statement][kind][wording].format(a=a, b=b, year=fact.label)
    return text


def line(fact: Fact, wording: int = 0) -> Line:
    """A fact as question and answer."""
    return Line(question(fact, wording), answer(fact, wording), (fact,), fact.label)


def in_wordings(facts: Iterable[Fact], wordings: int = WORDINGS) -> list[Line]:
    """Each fact in so many wordings."""
    return [line(fact, wording) for fact in facts for wording in range(wordings)]


def year_of(group: Group, people: Iterable[str]) -> Iterator[Fact]:
    """The year of each of some people of a group."""
    return (Fact("year", (person,), str(group.year)) for person in people)
