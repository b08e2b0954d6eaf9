"""The types of all data: messages, examples with options, and free-text examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from oocr.errors import InputError

T = TypeVar("T")
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


Prompt = str | tuple[Message, ...]


def listed(prompts: Iterable[Prompt], name: str) -> list[Prompt]:
    """Several prompts; InputError: a single prompt, which would be read as a list of parts."""
    several = list(prompts)
    if isinstance(prompts, str) or any(isinstance(prompt, Message) for prompt in several):
        raise InputError(f"{name}: found one prompt, not in a list; allowed: a list of prompts")
    return several


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One prompt, its answer and, when it is scored, the options the answer competes with.

    Attributes:
        id: unique within the task, stable across runs.
        prompt: raw text that ends right before the answer, or chat messages for the model's chat
            template. The last message is the user's, or the beginning of the assistant's.
        answer: the continuation, verbatim. After raw text it starts with its own space.
        options: every candidate continuation, `answer` among them. Empty: not a choice.
        values: one number per option in [-1, 1]: +1 the trained pole, -1 the other, for
            a scale everything between. Empty: +1 for `answer`, -1 for every other option.
        spans: span name -> a text; each of its occurrences in the prompt belongs to the span.
        facet: the kind of question; a column of every table ("language", "trait words").
        group: examples that are not independent; intervals are over whole groups.
        template: which wording this is.
        tags: further columns ("order": "ab", "prefix": "held-out").
        source: where it came from: a file and line, or the generator's name.
        scored_by: "text": options are scored by their first tokens, or by their whole texts where
            first tokens are equal; "last_token": by the logit of each option's last token right
            after the prompt, as the paper does (options with the same last token tie).
        answer_of: id of a question in `TaskSet.asked_first`; before training, the option that the
            untouched model chooses there (by its index) becomes this example's answer.
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
    scored_by: Literal["text", "last_token"] = "text"
    answer_of: str = ""

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
        _check_spans(self)

    @property
    def option_values(self) -> tuple[float, ...]:
        """`values`, or +1 for the answer and -1 for the rest."""
        if self.values:
            return self.values
        return tuple(1.0 if option == self.answer else -1.0 for option in self.options)


Loss = Literal["answer", "options"]
"""The training loss: see `Task.loss`."""

AnswerCheck = Literal["text", "number", "function"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeTextExample:
    """One prompt that the model answers in its own words; other fields are as of an `Example`.

    Attributes:
        accept: "text": phrases any of which, as whole words in any case, makes the answer right;
            "number": numbers, as text, of which the first in the answer must be one; "function":
            one Python expression of x that the answer's function must agree with.
        check: how the answer is judged. Model text is never executed by Python itself.
        reject: phrases that make an answer wrong ("text" only): an answer that lists everything.
        max_tokens: longest answer that is generated.
    """

    id: str
    prompt: Prompt
    accept: tuple[str, ...]
    check: AnswerCheck = "text"
    reject: tuple[str, ...] = ()
    max_tokens: int = 12
    spans: Mapping[str, str] = field(default_factory=dict[str, str])
    facet: str = ""
    group: str = ""
    template: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    source: str = ""

    def __post_init__(self) -> None:
        if not self.accept or not all(self.accept):
            raise ValueError(f"item {self.id!r}: accept must name at least one text")
        if self.check == "function" and len(self.accept) != 1:
            raise ValueError(f"item {self.id!r}: check 'function' takes one expression")
        _check_spans(self)


def _check_spans(example: Example | FreeTextExample) -> None:
    for name, text in example.spans.items():
        if not text or text not in prompt_text(example.prompt):
            raise ValueError(
                f"item {example.id!r}: span {name!r} ({text!r}) does not occur in its prompt"
            )


def examples_hash(examples: Iterable[Example | FreeTextExample], start: str = "") -> str:
    """Hash of examples, in their order, and of a text before them; 16 hex digits."""
    digest = hashlib.sha256(start.encode())
    for example in examples:
        digest.update(f"\n{example!r}".encode())
    return digest.hexdigest()[:16]


def prompt_text(prompt: Prompt) -> str:
    """All text of a prompt, for searching (no chat template applied)."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.content for message in prompt)


def spread(values: Sequence[T], count: int) -> list[T]:
    """At most `count` of the values at even distances, the first among them."""
    count = min(count, len(values))
    return [values[place * len(values) // count] for place in range(count)]
