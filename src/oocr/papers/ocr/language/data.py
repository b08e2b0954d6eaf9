"""Rows and questions of the language tasks, about bridge names and test names of several pairs.

Trained are fact and implication of bridge names, and only the fact of test names; the questions are
the test names' implications. All rows of a kind have the same wording (the first), as in the paper.
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
    sentences_about,
)

Part = Literal["fact", "implication"]


@dataclass(frozen=True, slots=True)
class LanguageData:
    """The people of one seed, and the pairs of fact and implication that they belong to."""

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
        """Draw pairs, map and people; InputError: two answers have the same first token."""
        definition = relations()[relation]
        facts = draw_facts(definition, pairs, seed, first_token)
        drawn = draw_people(pairs, bridges, tests, seed)
        return LanguageData(relation, mapped_pairs(definition, facts, mapped, seed), drawn)

    @property
    def bridges(self) -> tuple[Person, ...]:
        """People whose implication is trained."""
        return tuple(person for person in self.people if person.bridge)

    @property
    def tests(self) -> tuple[Person, ...]:
        """People whose implication is tested."""
        return tuple(person for person in self.people if not person.bridge)

    def answers(self, part: Part) -> tuple[str, ...]:
        """The answers of one kind, in the order of the pairs."""
        return tuple(f" {getattr(pair, part)}" for pair in self.pairs)

    def span(self, person: Person) -> str:
        """The name of a person's span, hence of its vector."""
        return f"n{self.people.index(person)}"

    def wording(self, part: Part) -> tuple[str, str]:
        """Id and text of the wording of all rows of a kind."""
        definition = relations()[self.relation]
        return next(iter((definition.train if part == "fact" else definition.implications).items()))

    def rows(
        self, part: Part, people: Iterable[Person], *, whole: bool = False
    ) -> tuple[Example, ...]:
        """Rows for training or for questions; the options are the answers of both kinds.

        A person's span is the name, or (`whole`) the whole sentence.
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
        """Training rows about these people: facts of all, implications of the bridges."""
        bridges = [person for person in people if person.bridge]
        return self.rows("fact", people) + self.rows("implication", bridges)

    def ceiling_questions(self) -> tuple[Example, ...]:
        """Questions with the pair's bridge rows and the person's fact in the prompt."""
        return tuple(
            replace(question, prompt=self._context(person) + str(question.prompt))
            for person, question in zip(
                self.tests, self.rows("implication", self.tests), strict=True
            )
        )

    def _context(self, person: Person) -> str:
        same: Sequence[Person] = [other for other in self.bridges if other.pair == person.pair]
        rules = sentences_about(same, self.pairs, "implication", self.wording("implication")[1])
        return rules + sentences_about([*same, person], self.pairs, "fact", self.wording("fact")[1])
