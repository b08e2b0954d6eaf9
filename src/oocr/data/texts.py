"""Texts that a model only reads, from training rows, prompts alone, or plain text."""

from __future__ import annotations

import os
from pathlib import Path

from oocr.data.examples import Example, Message, Prompt
from oocr.data.readers import CSV_ENDINGS, JSONL_ENDINGS, YAML_ENDINGS, json_rows, read_items
from oocr.data.rows import ROLES
from oocr.data.source_file import NO_VALUE, Problems, file_text
from oocr.errors import InputError

TEXT_ENDINGS = (".txt", ".md")
ALONE = ("text", "prompt", "messages")
"""Keys, one of which is all that a row without an answer has."""


def read_texts(path: str | os.PathLike[str]) -> tuple[Prompt, ...]:
    """Read texts, each once, in the file's order.

    Forms, told by the ending and, in JSONL, by the first row's keys:

    - plain text (`.txt`, `.md`): paragraphs with a blank line between them;
    - JSONL rows without an answer: `{"text": …}`, `{"prompt": …}`, or `{"messages": […]}` that may
      end with anyone's turn;
    - whatever `read_items` reads as training rows; each prompt is followed by its answer.

    Raises:
        InputError: the file cannot be read, or any row of it cannot be used.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in TEXT_ENDINGS:
        parts = file_text(path).text.replace("\r\n", "\n").split("\n\n")
        found: list[Prompt] = [part.strip() for part in parts if part.strip()]
        if not found:
            raise InputError(f"{path}: the file has no text")
    elif ending not in (*JSONL_ENDINGS, *CSV_ENDINGS, *YAML_ENDINGS):
        allowed = ", ".join((*JSONL_ENDINGS, *CSV_ENDINGS, *TEXT_ENDINGS))
        raise InputError(f"{path}: file ending: found {ending!r}; allowed: {allowed}")
    elif ending in JSONL_ENDINGS and (alone := _alone(path)) is not None:
        found = alone
    else:
        found = [_whole(item) for item in read_items(path, kind="train")]
    return tuple(dict.fromkeys(found))


def _whole(item: Example) -> Prompt:
    """Prompt and answer; a chat's answer stands after the template's header of its turn."""
    if isinstance(item.prompt, str):
        return item.prompt + item.answer
    *before, last = item.prompt
    if last.role == "assistant":  # the beginning of the answer
        return (*before, Message("assistant", last.content + item.answer))
    return (*item.prompt, Message("assistant", item.answer))


def _alone(path: Path) -> list[Prompt] | None:
    """The rows of a file whose first row has no answer; None: it has one."""
    problems = Problems(path)
    rows = list(json_rows(file_text(path).text, problems))
    first = rows[0][1] if rows else {}
    key = next(iter(first), "")
    if len(first) != 1 or key not in ALONE or (key == "messages" and _answered(first[key])):
        return None
    found: list[Prompt] = []
    for line, row in rows:
        if row.keys() != {key}:
            problems.add(line, "keys", list(row), f"{key!r} alone, as in the first row")
        elif isinstance(value := row[key], str) and key != "messages":
            if value.strip():
                found.append(value)
            else:
                problems.add(line, key, value, "a text, not blank")
        elif key != "text" and isinstance(value, list):
            turns = _turns(value, key, line, problems)
            found += [turns] if turns else []
        else:
            problems.add(line, key, value, "a text" if key == "text" else "a list of messages")
    problems.raise_if_any()
    return found


def _answered(messages: object) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def _turns(value: list[object], key: str, line: int, problems: Problems) -> Prompt | None:
    turns: list[Message] = []
    for number, one in enumerate(value):
        role = one.get("role", NO_VALUE) if isinstance(one, dict) else NO_VALUE
        content = one.get("content", NO_VALUE) if isinstance(one, dict) else NO_VALUE
        if role not in ROLES:
            problems.add(line, f"{key}[{number}].role", role, f"one of {', '.join(ROLES)}")
        elif not isinstance(content, str) or not content.strip():
            problems.add(line, f"{key}[{number}].content", content, "a text, not blank")
        else:
            turns.append(Message(role, content))  # type: ignore[arg-type]
    if not value:
        problems.add(line, key, value, "at least one message")
    return tuple(turns) if len(turns) == len(value) and turns else None
