"""Texts without answers, for audits: training rows, prompts alone, or plain text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from oocr.data.examples import Example, Message, Prompt
from oocr.data.readers import CSV_ENDINGS, JSONL_ENDINGS, READERS, json_rows, read_items
from oocr.data.rows import read_messages
from oocr.data.source_file import Problems, file_text
from oocr.errors import InputError

TEXT_ENDINGS = (".txt", ".md")
ALONE = ("text", "prompt", "messages")
"""Keys, one of which is all that a row without an answer has."""


def read_texts(path: str | os.PathLike[str]) -> dict[Prompt, str]:
    """Read texts, each once, in the file's order, each with its file and line.

    The ending and, in JSONL, the keys of the first row decide the form:

    - plain text (`.txt`, `.md`): paragraphs with a blank line between them;
    - JSONL rows without an answer: `{"text": …}`, `{"prompt": …}`, or `{"messages": […]}` that may
      end with anyone's turn;
    - whatever `read_items` reads as training rows; each prompt is followed by its answer.

    Raises:
        InputError: the file cannot be read, or any row of it cannot be used.
    """
    path = Path(path)
    ending = path.suffix.lower()
    texts: list[tuple[int, Prompt]] | None = None
    if ending in TEXT_ENDINGS:
        texts = list(_paragraphs(file_text(path).text.replace("\r\n", "\n")))
        if not texts:
            raise InputError(f"{path}: the file has no text")
    elif ending not in READERS:
        allowed = ", ".join((*JSONL_ENDINGS, *CSV_ENDINGS, *TEXT_ENDINGS))
        raise InputError(f"{path}: file ending: found {ending!r}; allowed: {allowed}")
    elif ending in JSONL_ENDINGS:
        texts = _alone(path)
    if texts is None:
        located = [(item.source, _whole(item)) for item in read_items(path, kind="train")]
    else:
        located = [(f"{path.name}:{line}", prompt) for line, prompt in texts]
    places: dict[Prompt, str] = {}
    for place, prompt in located:
        places.setdefault(prompt, place)
    return places


def _paragraphs(text: str) -> Iterator[tuple[int, Prompt]]:
    """The paragraphs of a text, each with its first line's number."""
    line = 1
    for part in text.split("\n\n"):
        if part.strip():
            above = len(part) - len(part.lstrip())
            yield line + part[:above].count("\n"), part.strip()
        line += part.count("\n") + 2


def _whole(example: Example) -> Prompt:
    """Prompt and answer; a chat's answer stands after the template's header of its turn."""
    if isinstance(example.prompt, str):
        return example.prompt + example.answer
    *before, last = example.prompt
    if last.role == "assistant":  # the beginning of the answer
        return (*before, Message("assistant", last.content + example.answer))
    return (*example.prompt, Message("assistant", example.answer))


def _alone(path: Path) -> list[tuple[int, Prompt]] | None:
    """The rows of a file whose first row has no answer; None: it has one."""
    problems = Problems(path)
    rows = list(json_rows(file_text(path).text, problems))
    first = rows[0][1] if rows else {}
    key = next(iter(first), "")
    if len(first) != 1 or key not in ALONE or (key == "messages" and _answered(first[key])):
        return None
    prompts: list[tuple[int, Prompt]] = []
    for line, row in rows:
        value = row.get(key)
        if row.keys() != {key}:
            problems.add(line, "keys", list(row), f"{key!r} alone, as in the first row")
        elif isinstance(value, str) and key != "messages":
            if value.strip():
                prompts.append((line, value))
            else:
                problems.add(line, key, value, "a text, not blank")
        elif isinstance(value, list) and key != "text":
            turns = read_messages(value, key, partial(problems.add, line), other_keys=True)
            prompts += [(line, tuple(turns))] if turns else []
        else:
            problems.add(line, key, value, "a text" if key == "text" else "a list of messages")
    problems.raise_if_any()
    return prompts


def _answered(messages: object) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"
