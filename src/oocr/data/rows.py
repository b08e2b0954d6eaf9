"""One row of a user's file, split into fields, becomes an example or a list of problems."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from oocr.data.examples import Example, Prompt, prompt_text
from oocr.data.messages import read_messages, turns_before_answer
from oocr.data.row_keys import (
    ALLOWED_ROWS,
    FORMS,
    OPTIONAL,
    ROW_KEYS,
    Form,
    Report,
    form_of,
    text_of,
    without_spare_keys,
)
from oocr.data.source_file import NO_VALUE, Problems, shown

RowKind = Literal["train", "probes"]
RESERVED = ("all", "last", "prompt", "answer")  # position words that no span may be called
SEPARATORS = ":+"  # of a position word and its span ("from:codename"), of spans ("paris+tokyo")
_CASED_OR_DIGIT = {"Lu", "Ll", "Nd"}  # scripts that put a space between words


def item_from_row(
    row: dict[str, object],
    kind: RowKind,
    line: int,
    problems: Problems,
    spare: Counter[str],
    names: Mapping[str, str],
) -> tuple[Example, str] | None:
    """An example and a word for its form, or None after at least one problem was noted.

    `names`: how the file calls our keys; `spare`: counts the keys that are left out.
    """
    before = len(problems.lines)

    def report(field: str, seen: object, allowed: str) -> None:
        key = re.split(r"[.\[ ]", field, maxsplit=1)[0]
        problems.add(line, names.get(key, key) + field.removeprefix(key), seen, allowed)

    row = {key: value for key, value in row.items() if value is not None}
    form = form_of(row)
    if form is None:
        report("row", list(row), ALLOWED_ROWS)
        return None
    turns = row.get("messages")
    for key in set(ROW_KEYS) - set(FORMS[form]):
        if key in row and not (key == "prompt" and _repeats(row[key], turns)):
            report("key", key, f"a row of the form {form} without it")
    row = without_spare_keys(row, (*FORMS[form], *OPTIONAL), report, spare)
    for key in FORMS[form]:
        if key not in row:
            report(key, NO_VALUE, f"a row of the form {form} needs it")
    prompt, answer = _chat(row, report) if form == "messages" else _pair(row, form, report)
    if isinstance(prompt, str) and answer is not None and _runs_together(prompt, answer):
        report(
            "answer",
            answer,
            f"a space first: prompt and answer are raw text and would run together as "
            f"{prompt[-12:] + answer[:12]!r}; write {' ' + answer[:12]!r}",
        )
    options = _options(row, answer, kind, report)
    values = _values(row, options, report)
    spans, tags = _texts(row, "spans", report), _texts(row, "tags", report)
    for name, text in spans.items():
        if name in RESERVED or set(SEPARATORS) & set(name):
            reserved = ", ".join(RESERVED)
            report("spans", name, f"a name other than {reserved}, and without ':' and '+'")
        if not text or (prompt is not None and text not in prompt_text(prompt)):
            report(f"spans.{name}", text, "a text that occurs in this row's prompt")
    labels: dict[str, str] = {}
    for name in ("id", "facet", "group", "template"):
        label = row.get(name, "")
        if not isinstance(label, str) and not (name == "id" and type(label) is int):
            report(name, label, "a text")
        labels[name] = str(label)
    if len(problems.lines) > before or prompt is None or answer is None:
        return None
    example = Example(
        id=labels["id"] or f"{problems.path.stem}:{line}",
        prompt=prompt,
        answer=answer,
        options=options,
        values=values,
        spans=spans,
        facet=labels["facet"],
        group=labels["group"],
        template=labels["template"],
        tags=tags,
        source=f"{problems.path.name}:{line}",
    )
    return example, f"{form}, {'raw text' if isinstance(prompt, str) else 'chat'}"


def _repeats(text: object, messages: object) -> bool:
    """Whether a text is one of the messages' contents."""
    turns = messages if isinstance(messages, list) else []
    return any(isinstance(turn, dict) and turn.get("content") == text for turn in turns)


def _chat(row: dict[str, object], report: Report) -> tuple[Prompt | None, str | None]:
    messages = read_messages(row["messages"], "messages", report)
    if messages is None:
        return None, None
    last = messages[-1]
    if last.role != "assistant":
        report("messages", f"last role {last.role!r}", "'assistant': its content is the answer")
        return None, None
    return turns_before_answer(messages[:-1], "messages", report), last.content


def _pair(row: dict[str, object], form: Form, report: Report) -> tuple[Prompt | None, str | None]:
    prompt: Prompt | None = None
    given = row.get("prompt")
    if isinstance(given, list):
        messages = read_messages(given, "prompt", report)
        prompt = None if messages is None else turns_before_answer(messages, "prompt", report)
    elif "prompt" in row:
        prompt = text_of(given, "prompt", report, "a text, or a list of messages")
    key = FORMS[form][1]
    if key not in row:
        return prompt, None
    content = row[key]
    if isinstance(content, list) and form == "prompt/completion":  # TRL's conversational form
        replies = read_messages(content, key, report)
        roles = [reply.role for reply in replies or ()]
        if replies is not None and roles != ["assistant"]:
            report(key, roles, "exactly one message, of the assistant")
            return prompt, None
        if replies is not None and isinstance(prompt, str):
            report("prompt", prompt, "a list of messages, as the completion is one")
        return prompt, replies[0].content if replies else None
    return prompt, text_of(content, key, report)


def _options(
    row: dict[str, object], answer: str | None, kind: RowKind, report: Report
) -> tuple[str, ...]:
    value = row.get("options", [])
    if not isinstance(value, list) or not all(isinstance(o, str) and o.strip() for o in value):
        report("options", value, "a list of texts, none of them blank")
    elif kind == "probes" and len(value) < 2:
        seen = value if "options" in row else NO_VALUE
        report("options", seen, "at least two: a probe is scored by its answer among its options")
    elif twice := sorted({option for option in value if value.count(option) > 1}):
        report("options", twice, "each option once")
    elif value and answer is not None and answer not in value:
        near = [option for option in value if option.strip() == answer.strip()]
        hint = f" ({near[0]!r} differs in its spaces only)" if near else ""
        report("answer", answer, f"one of its options {shown(value)}{hint}")
    else:
        return tuple(value)
    return ()


def _values(row: dict[str, object], options: tuple[str, ...], report: Report) -> tuple[float, ...]:
    value = row.get("values", [])
    if not isinstance(value, list) or not all(
        isinstance(number, int | float) and not isinstance(number, bool) and -1 <= number <= 1
        for number in value
    ):
        report("values", value, "a list of numbers from -1 to 1")
    elif value and options and len(value) != len(options):
        report("values", value, f"one number for each of the {len(options)} options")
    elif value and "options" not in row:
        report("values", value, "only beside options")
    elif options:
        return tuple(map(float, value))
    return ()


def _texts(row: dict[str, object], key: str, report: Report) -> dict[str, str]:
    value = row.get(key, {})
    if isinstance(value, dict):  # Parquet has all names in all rows
        value = {name: text for name, text in value.items() if text is not None}
    if not isinstance(value, dict) or not all(
        name.strip() and isinstance(text, str) for name, text in value.items()
    ):
        report(key, value, 'names with a text each: {"name": "text"}')
        return {}
    return value


def _runs_together(prompt: str, answer: str) -> bool:
    edges = (prompt[-1], answer[0])
    return all(unicodedata.category(char) in _CASED_OR_DIGIT for char in edges)
