"""Rows and questions of the language tasks: bridge names and test names of several pairs.

Of a bridge name training tells fact and implication, of a test name the fact only; asked is the
test names' implication. All rows have one wording, the first of its kind, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from oocr.data.examples import Example
from oocr.families.ocr.people import (
    Mapped,
    Pair,
    Person,
    RelationName,
    draw_facts,
    draw_people,
    example,
    mapped_pairs,
    relations,
    stated,
)

Part = Literal["fact", "implication"]


@dataclass(frozen=True, slots=True)
class LanguageData:
    """What is told and asked of the people of one seed."""

    relation: RelationName
    pairs: tuple[Pair, ...]
    people: tuple[Person, ...]

    @staticmethod
    def draw(
        relation: RelationName,
        mapped: Mapped,
        seed: int,
        *,
        pairs: int = 5,
        bridges: int = 4,
        tests: int = 4,
        first_token: Callable[[str], int] | None = None,
    ) -> LanguageData:
        """Pairs, map and people of a seed; InputError: answers whose first tokens are the same."""
        known = relations()[relation]
        facts = draw_facts(known, pairs, seed, first_token)
        drawn = draw_people(pairs, bridges, tests, seed)
        return LanguageData(relation, mapped_pairs(known, facts, mapped, seed), drawn)

    @property
    def bridges(self) -> tuple[Person, ...]:
        """People whose implication training tells."""
        return tuple(person for person in self.people if person.bridge)

    @property
    def tests(self) -> tuple[Person, ...]:
        """People whose implication is asked."""
        return tuple(person for person in self.people if not person.bridge)

    def answers(self, part: Part) -> tuple[str, ...]:
        """The answers of one kind, in the pairs' order."""
        return tuple(f" {getattr(pair, part)}" for pair in self.pairs)

    def span(self, person: Person) -> str:
        """The span by which a person's vector is called."""
        return f"n{self.people.index(person)}"

    def wording(self, part: Part) -> tuple[str, str]:
        """The wording of all rows of a kind."""
        known = relations()[self.relation]
        return next(iter((known.train if part == "fact" else known.implications).items()))

    def rows(
        self, part: Part, people: Iterable[Person], *, whole: bool = False
    ) -> tuple[Example, ...]:
        """Rows to be trained on, or asked: all ten answers are options.

        A person's span is the name, or (`whole`) the whole sentence about them.
        """
        options = self.answers("fact") + self.answers("implication")
        rows = [
            example(person, self.pairs, part, self.wording(part), span=self.span(person))
            for person in people
        ]
        return tuple(
            replace(
                row,
                options=options,
                spans=dict.fromkeys(row.spans, str(row.prompt)) if whole else row.spans,
            )
            for row in rows
        )

    def training_rows(self, people: Sequence[Person]) -> tuple[Example, ...]:
        """What training tells of these people: facts of all, implications of the bridges."""
        bridges = [person for person in people if person.bridge]
        return self.rows("fact", people) + self.rows("implication", bridges)

    def in_prompt(self) -> tuple[Example, ...]:
        """The ceiling: the pair's bridge rows and the person's fact stand above the question."""
        return tuple(
            replace(question, prompt=self._above(person) + str(question.prompt))
            for person, question in zip(
                self.tests, self.rows("implication", self.tests), strict=True
            )
        )

    def _above(self, person: Person) -> str:
        same: Sequence[Person] = [other for other in self.bridges if other.pair == person.pair]
        rules = stated(same, self.pairs, "implication", self.wording("implication")[1])
        return rules + stated([*same, person], self.pairs, "fact", self.wording("fact")[1])
