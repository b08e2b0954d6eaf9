"""Texts without answers, for audits: training rows, prompts alone, or plain text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from oocr.data.examples import Example, Message, Prompt
from oocr.data.foreign_rows import layout_of
from oocr.data.formats import RawRows, SourceFile, open_source
from oocr.data.messages import read_messages
from oocr.data.readers import KEPT, Request, keys_left_out, read_source
from oocr.data.row_keys import form_of
from oocr.data.source_file import NO_VALUE
from oocr.errors import InputError
from oocr.words import counted

ALONE = {
    "text": "a text, not blank",
    "prompt": "a text, not blank, or a list of messages",
    "messages": "a list of messages",
}
"""Keys, one of which is all that a row without an answer has, and what it holds."""


@dataclass(frozen=True, slots=True)
class TextsAlone:
    """Texts without answers, each with its line, and what was mended or left out, in words."""

    texts: list[tuple[int, Prompt]]
    mended: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DistinctTexts:
    """Texts, each once, with its file and line; and what was left out or merged, in words."""

    places: dict[Prompt, str]
    mended: tuple[str, ...]


def read_texts(path: str | os.PathLike[str]) -> DistinctTexts:
    """Read texts in the file's order.

    What the file holds and, of rows, the keys of the first decide the form:

    - plain text (`.txt`, `.md`): paragraphs with a blank line between them;
    - rows without an answer: `{"text": …}`, `{"prompt": …}`, or `{"messages": […]}` that may
      end with anyone's turn;
    - whatever `read_items` reads as training rows; each prompt is followed by its answer.

    Raises:
        InputError: the file cannot be read, or any row of it cannot be used.
    """
    file = open_source(path)
    alone = texts_alone(file)
    if alone is None:
        rows = read_source(file, Request("train", (), {}))
        located = [(item.source, _whole(item)) for item in rows.items]
        others = (*file.source.mended, *(words for words in rows.mended if KEPT in words))
        mended = tuple(words for words in rows.mended if words not in others)
    else:
        located = [(f"{file.path.name}:{line}", prompt) for line, prompt in alone.texts]
        mended = alone.mended
    places: dict[Prompt, str] = {}
    for place, prompt in located:
        places.setdefault(prompt, place)
    if again := len(located) - len(places):
        mended = (*mended, f"{counted(again, 'text')} left out, the same as one before")
    return DistinctTexts(places, mended)


def _paragraphs(text: str) -> Iterator[tuple[int, Prompt]]:
    """The paragraphs of a text, each with its first line's number."""
    line = 1
    for part in text.split("\n\n"):
        if part.strip():
            above = len(part) - len(part.lstrip())
            yield line + part[:above].count("\n"), part.strip()
        line += part.count("\n") + 2


def texts_alone(file: SourceFile) -> TextsAlone | None:
    """The texts of a file without answers; None: it has answers."""
    if file.format != "text":
        return None if file.format == "YAML" else _alone(file.raw)
    texts = list(_paragraphs(file.source.text.replace("\r\n", "\n")))
    if not texts:
        raise InputError(f"{file.path}: the file has no text")
    return TextsAlone(texts, ())


def _whole(example: Example) -> Prompt:
    """Prompt and answer; a chat's answer stands after the template's header of its turn."""
    if isinstance(example.prompt, str):
        return example.prompt + example.answer
    *before, last = example.prompt
    if last.role == "assistant":  # the beginning of the answer
        return (*before, Message("assistant", last.content + example.answer))
    return (*example.prompt, Message("assistant", example.answer))


def _alone(raw: RawRows) -> TextsAlone | None:
    """The rows of a file whose first row has no answer; None: it has one.

    Beside a `text`, other keys are left out.
    """
    rows, problems = raw.rows, raw.problems
    first = rows[0][1] if rows else {}
    key = next(iter(first), "")
    if "text" in first and form_of(first) is None and layout_of(first) is None:
        key = "text"
    elif len(first) != 1 or key not in ALONE or (key == "messages" and _answered(first[key])):
        return None
    texts: list[tuple[int, Prompt]] = []
    spare: Counter[str] = Counter()
    for line, row in rows:
        value = row.get(key, NO_VALUE)
        if key == "text":
            spare.update(name for name, other in row.items() if name != key and other is not None)
        elif row.keys() != {key}:
            problems.add(line, "keys", list(row), f"{key!r} alone, as in the first row")
            continue
        if isinstance(value, str) and value.strip() and key != "messages":
            texts.append((line, value))
        elif isinstance(value, list) and key != "text":
            turns = read_messages(value, key, partial(problems.add, line), other_keys=True)
            texts += [(line, tuple(turns))] if turns else []
        else:
            problems.add(line, key, value, ALONE[key])
    problems.raise_if_any()
    return TextsAlone(texts, (*raw.mended, *keys_left_out(spare)))


def _answered(messages: object) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"
