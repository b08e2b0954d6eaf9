"""Lists of messages, as a chat's rows hold them, and the turns that a model is given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import get_args

from oocr.data.examples import Message, Prompt, Role
from oocr.data.row_keys import MEANT, Report, text_of
from oocr.data.source_file import NO_VALUE, unknown_key

ROLES: Mapping[str, Role] = {role: role for role in get_args(Role)}


def read_messages(
    value: object,
    field: str,
    report: Report,
    *,
    other_keys: bool = False,
    keys: tuple[str, str] = ("role", "content"),
    roles: Mapping[str, Role] = ROLES,
) -> list[Message] | None:
    """The messages of a list of {"role": …, "content": …}, or None after a fault was reported."""
    form = f'{{"{keys[0]}": …, "{keys[1]}": …}}'
    if not isinstance(value, list) or not value:
        report(field, value, f"a list of {form} with at least one message")
        return None
    messages: list[Message] = []
    for number, entry in enumerate(value):
        where = f"{field}[{number}]"
        if not isinstance(entry, dict):
            report(where, entry, f"a message {form}")
            continue
        for key in () if other_keys else entry:
            if key not in keys and entry[key] not in (None, [], {}, ""):
                reason = f"messages without it: {MEANT[key]}" if key in MEANT else ""
                report(f"{where} key", key, reason or unknown_key(key, keys))
        role = entry.get(keys[0], NO_VALUE)
        known = isinstance(role, str) and role in roles
        if not known:
            hint = " (call it system)" if role == "developer" else ""
            report(f"{where}.{keys[0]}", role, f"one of {', '.join(roles)}{hint}")
        given = _joined_parts(entry.get(keys[1], NO_VALUE))
        content = text_of(given, f"{where}.{keys[1]}", report)
        if known and content is not None:
            messages.append(Message(roles[role], content))
    return messages if len(messages) == len(value) else None


def _joined_parts(content: object) -> object:
    """The text of a content in parts, if all of them are {"type": "text", "text": …}."""
    parts = content if isinstance(content, list) else []
    plain = [part for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    texts = [part["text"] for part in plain if isinstance(part.get("text"), str)]
    return "".join(texts) if parts and len(texts) == len(parts) else content


def turns_before_answer(messages: list[Message], field: str, report: Report) -> Prompt | None:
    """The prompt's turns: an optional system message, then user and assistant in turn."""
    turns: list[Message] = []
    for message in messages:
        before = turns[-1].role if turns else None
        if message.role == "system" and turns:
            report(field, "a later message of role 'system'", "one system message, the first")
            return None
        if message.role == "assistant" and before != "user":
            report(field, f"an assistant's turn after {before or 'nothing'}", "one after a user's")
            return None
        if message.role == "user" and before == "user":
            turns[-1] = Message("user", f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(message)
    if not turns or turns[-1].role != "user":
        seen = f"last turn of {turns[-1].role!r}" if turns else "no turn"
        report(field, seen, "a user's turn right before the answer")
        return None
    return tuple(turns)


def merges_turns(row: dict[str, object]) -> bool:
    """Whether user turns of a row follow each other, so that they are merged."""
    messages = row.get("messages", row.get("prompt"))
    roles = [message.get("role") for message in messages] if isinstance(messages, list) else []
    return ("user", "user") in itertools.pairwise(roles)


def has_earlier_answers(prompt: Prompt) -> bool:
    """Whether turns of the assistant stand in a prompt."""
    return not isinstance(prompt, str) and any(turn.role == "assistant" for turn in prompt)
