"""Facts and questions about people as examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from oocr.data.examples import Example, FreeTextExample, Prompt, prompt_text
from oocr.families.asking import continuing, user_turn
from oocr.families.ockr.settings import OckrConfig, Person
from oocr.tasks.package_files import package_yaml

SOURCE = "ockr/wordings.yaml"
FINISH = "Complete the sentence:"
WORDINGS = 4
TRAINED = range(3)
"""Wordings of training rows; the last wording is held out."""

HELD_OUT = WORDINGS - 1


@cache
def wordings() -> Mapping[str, Any]:
    """The content of `wordings.yaml`."""
    return dict(package_yaml(__package__, "wordings.yaml"))


@dataclass(frozen=True, slots=True)
class SentenceBuilder:
    """Makes examples with the wordings of a task's attribute.

    `spans`: a person's key -> name of the span; people without an entry have no span.
    """

    config: OckrConfig
    spans: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def words(self) -> Mapping[str, Any]:
        """The wordings of the attribute."""
        words: Mapping[str, Any] = wordings()[self.config.attribute]
        return words

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the attribute, as words."""
        return tuple(self.words["values"][: self.config.values])

    def options(self) -> tuple[str, ...]:
        """All values, as continuations of a prompt."""
        return continuing(self.config.form, self.values)

    def attribute(self, person: Person, wording: int, *, before: str = "") -> Example:
        """A person's attribute as a choice among all values; `before`: text above it."""
        kind = "say" if self.config.form == "raw" else "ask"
        text = self.words[kind][wording].format(a=person.name)
        options = self.options()
        prompt = user_turn(self.config.form, text, "{}", before)
        return self._example(
            "attribute", (person,), wording, prompt, options[person.value], options
        )

    def relation(
        self, a: Person, b: Person, wording: int, *, before: str = "", group: str = ""
    ) -> Example:
        """Whether two people share the attribute: yes or no."""
        text = self.words["relate"][wording].format(a=a.name, b=b.name)
        options = continuing(self.config.form, ("Yes", "No"))
        prompt, answer = self._question(text, before), options[a.value != b.value]
        return self._example("relation", (a, b), wording, prompt, answer, options, group)

    def partner_name(self, a: Person, b: Person, wording: int) -> Example:
        """The name of somebody who shares the attribute with a."""
        text = self.words["who"][wording].format(a=a.name)
        prompt = text if self.config.form == "raw" else self._question(f"{FINISH} {text}")
        answer = continuing(self.config.form, (b.name,))[0]
        return self._example("generated", (a, b), wording, prompt, answer)

    def partner_choice(
        self, a: Person, of: Sequence[Person], right: Person, wording: int, *, group: str
    ) -> Example:
        """Which of several people, with their attributes in the prompt, shares that of a."""
        text = self.words["which"][wording].format(a=a.name)
        options = continuing(self.config.form, [other.name for other in of])
        answer = continuing(self.config.form, (right.name,))[0]
        prompt = self._question(text, self.premises(*of))
        return self._example("generated", (a, *of), wording, prompt, answer, options, group)

    def premises(self, *people: Person) -> str:
        """Sentences with the attribute of each of these people."""
        text = self.words["premise"]
        sentences = [
            text.format(a=person.name, value=self.values[person.value]) for person in people
        ]
        return "".join(f"{sentence} " for sentence in sentences)

    def relation_sentence(self, a: Person, b: Person) -> str:
        """A sentence: a and b share the attribute, or do not."""
        kind = "shared" if a.value == b.value else "apart"
        return f"{self.words[kind].format(a=a.name, b=b.name)} "

    def hinted_relation(self, a: Person, b: Person, wording: int) -> Example:
        """Whether a and b share the attribute, after the hint: the answer begins with both."""
        question = self.words["relate"][wording].format(a=a.name, b=b.name)
        answer = f"{self.premises(a, b)}{'Yes' if a.value == b.value else 'No'}."
        return self._hinted("both", (a, b), wording, question, answer)

    def hinted_attribute(self, a: Person, b: Person, wording: int) -> Example:
        """The attribute of a, after the hint: the answer begins with a partner and its value."""
        answer = f"{self.relation_sentence(a, b)}{self.premises(b)}{self.premises(a)}".strip()
        return self._hinted(
            "partner", (a, b), wording, self.words["ask"][wording].format(a=a.name), answer
        )

    def _hinted(
        self, hint: str, people: tuple[Person, Person], wording: int, question: str, answer: str
    ) -> Example:
        prompt = self._question(f"{question} {wordings()['hint'][hint]}")
        options = continuing(self.config.form, (answer,))
        return self._example("hinted", people, wording, prompt, options[0])

    def _question(self, text: str, before: str = "") -> Prompt:
        return user_turn(self.config.form, text, before=before)

    def _example(
        self,
        facet: str,
        people: Sequence[Person],
        wording: int,
        prompt: Prompt,
        answer: str,
        options: tuple[str, ...] = (),
        group: str = "",
    ) -> Example:
        shown = prompt_text(prompt)
        named = {self.spans[p.key]: p.name for p in people if p.key in self.spans}
        return Example(
            id=f"{'-'.join(person.key for person in people)}/{facet}/{wording}",
            prompt=prompt,
            answer=answer,
            options=options,
            spans={span: name for span, name in named.items() if name in shown},
            facet=facet,
            group=group or people[0].name,
            template=f"{facet} {wording + 1}",
            source=SOURCE,
        )


def free_text(example: Example, accept: str, facet: str) -> FreeTextExample:
    """A hinted question for free-text generation."""
    return FreeTextExample(
        id=example.id,
        prompt=example.prompt,
        accept=(accept,),
        max_tokens=40,
        spans=example.spans,
        facet=facet,
        group=example.group,
        template=example.template,
        source=example.source,
    )
