"""Forms of questions: a user's turn or raw text, with the options in either order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from oocr.data.examples import Message, Prompt

Form = Literal["chat", "raw"]
"""Form of questions: a chat, or raw text for models without a chat template."""

ORDERS = {"ab": (1.0, -1.0), "ba": (-1.0, 1.0)}
"""Whether the first pole's option comes first; and the options' values."""

QUESTION = "Question: {}\nAnswer:"
"""Raw text around a question."""


def in_order(pair: tuple[str, str], order: str) -> tuple[str, str]:
    """The two options in one of `ORDERS`."""
    return pair if order == "ab" else (pair[1], pair[0])


def user_turn(form: Form, text: str, raw: str = QUESTION, before: str = "") -> Prompt:
    """The text as a user's turn, or as raw text put into `raw`; after the text `before`."""
    return (Message("user", before + text),) if form == "chat" else before + raw.format(text)


def continuing(form: Form, options: Iterable[str]) -> tuple[str, ...]:
    """Options as they continue a prompt: with a capital letter in a chat, else after a space."""
    if form == "chat":
        return tuple(option[0].upper() + option[1:] for option in options)
    return tuple(f" {option}" for option in options)


def lettered(options: Iterable[str], mark: str) -> str:
    """Options in lines under the letters A, B, …, each letter before `mark`."""
    return "\n".join(f"{letter}{mark} {text}" for letter, text in zip("ABCDE", options))  # noqa: B905
