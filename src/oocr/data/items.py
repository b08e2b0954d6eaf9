"""The two shapes that every data set is brought into: messages and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


Prompt = str | tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One prompt, its answer and, when it is scored, the options the answer competes with.

    Attributes:
        id: unique within the task, stable across runs.
        prompt: raw text that ends right before the answer, or chat messages that end with the
            user's turn (rendered with the model's chat template).
        answer: the continuation, verbatim. After raw text it starts with its own space.
        options: every candidate continuation, `answer` among them. Empty: not a choice.
        values: one number per option in [-1, 1]: +1 the trained pole, -1 the other, for
            a scale everything between. Empty: +1 for `answer`, -1 for every other option.
        spans: span name -> a text; each of its occurrences in the prompt belongs to the span.
        facet: what is asked; a column of every table ("language", "trait words").
        group: items that stand or fall together; the bootstrap draws whole groups.
        template: which wording this is.
        tags: further columns ("order": "ab", "prefix": "held-out").
        source: where it came from: a file and line, or the generator's name.
    """

    id: str
    prompt: Prompt
    answer: str
    options: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    spans: Mapping[str, str] = field(default_factory=dict[str, str])
    facet: str = ""
    group: str = ""
    template: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    source: str = ""

    def __post_init__(self) -> None:
        if not self.answer:
            raise ValueError(f"item {self.id!r}: the answer is empty")
        if self.options and self.answer not in self.options:
            raise ValueError(
                f"item {self.id!r}: answer {self.answer!r} is not among its options {self.options}"
            )
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"item {self.id!r}: the options repeat: {self.options}")
        if self.values and len(self.values) != len(self.options):
            raise ValueError(
                f"item {self.id!r}: {len(self.values)} values for {len(self.options)} options"
            )
        if any(not -1 <= value <= 1 for value in self.values):
            raise ValueError(f"item {self.id!r}: values must lie in [-1, 1], found {self.values}")
        for name, text in self.spans.items():
            if not text or text not in prompt_text(self.prompt):
                raise ValueError(
                    f"item {self.id!r}: span {name!r} ({text!r}) does not occur in its prompt"
                )

    @property
    def option_values(self) -> tuple[float, ...]:
        """`values`, or +1 for the answer and -1 for the rest."""
        if self.values:
            return self.values
        return tuple(1.0 if option == self.answer else -1.0 for option in self.options)


def prompt_text(prompt: Prompt) -> str:
    """All text of a prompt, for searching (no chat template applied)."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.content for message in prompt)
