"""A question as it travels through Inspect: in a sample's metadata, and to our own provider."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from oocr.data.examples import AnswerCheck, Example, FreeTextExample, Prompt
from oocr.io import Record

KEY = "oocr"
"""The question's key in a sample's metadata and in `GenerateConfig.extra_body`."""


class Question(Record):
    """All that is needed to ask and judge one question, but its prompt.

    `raw`: the prompt is a text to be continued, without a chat template. Of choices `options`,
    `values`, `answer` and `scored_by` are set (see `Example`), of answers in the model's own words
    `accept`, `reject`, `check` and `max_tokens` (see `FreeTextExample`).
    """

    raw: bool
    spans: dict[str, str] = Field(default_factory=dict)
    options: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    answer: str = ""
    scored_by: Literal["text", "last_token"] = "text"
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    check: AnswerCheck = "text"
    max_tokens: int | None = None

    @staticmethod
    def of(example: Example | FreeTextExample) -> Question:
        """From a question of a task."""
        shared: dict[str, Any] = {
            "raw": isinstance(example.prompt, str),
            "spans": dict(example.spans),
        }
        if isinstance(example, Example):
            names = ("options", "values", "answer", "scored_by")
        else:
            names = ("accept", "reject", "check", "max_tokens")
        return Question(**shared, **{name: getattr(example, name) for name in names})

    def choice(self, prompt: Prompt = "?") -> Example:
        """As a choice, without its spans."""
        return Example(
            id="asked",
            prompt=prompt,
            answer=self.answer or self.options[0],
            options=self.options,
            values=self.values,
            scored_by=self.scored_by,
        )

    def free_text(self) -> FreeTextExample:
        """As a question in the model's own words, to be judged."""
        return FreeTextExample(
            id="asked", prompt="?", accept=self.accept, reject=self.reject, check=self.check
        )
