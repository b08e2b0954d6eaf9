"""Rows of other projects' training data, given the keys of our own JSONL.

A new layout is a function from a row to our keys, and a row of `ROW_LAYOUTS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeGuard

from oocr.data.examples import Message, Role
from oocr.data.messages import ROLES, read_messages
from oocr.data.row_keys import FORMS, Report, form_of
from oocr.data.source_file import NO_VALUE

Fields = dict[str, object]

SHAREGPT_ROLES: Mapping[str, Role] = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    **ROLES,
}
QUESTIONS = ("question", "query", "input")
ANSWERS = ("answer", "response", "output")


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Rows of one project.

    Attributes:
        name: of the layout, in words.
        marks: keys, any of which marks such a row.
        keys: what is read of it; other keys are left out.
        convert: a row with our keys, or an `UnfitRowError` after a fault was reported.
        fields: what becomes of the keys, in words.
        names: what such files call our keys, for messages about them.
        before_ours: a row is of this layout even if it has all keys of ours.
    """

    name: str
    marks: tuple[str, ...]
    keys: tuple[str, ...]
    convert: Callable[[Fields, Report], Fields]
    fields: str
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    before_ours: bool = False

    def ours(self, row: Fields, report: Report) -> Fields | None:
        """A row with our keys; None: it does not fit, and the reason was reported."""
        try:
            return self.convert(row, report)
        except UnfitRowError:
            return None


class UnfitRowError(Exception):
    """A row that cannot be converted; the reason was reported."""


def layout_of(row: Mapping[str, object]) -> RowLayout | None:
    """The layout of a row; None: it has our keys, or no known ones."""
    present = {key for key, value in row.items() if value is not None}
    form = form_of(present)
    ours = form is not None and present.issuperset(FORMS[form])
    for layout in ROW_LAYOUTS:
        if present & set(layout.marks) and (layout.before_ours or not ours):
            return layout
    alone = not present & {"messages", "prompt", "completion"}
    return QUESTION if alone and _pair(present) is not None else None


def _refuse(report: Report, field: str, seen: object, allowed: str) -> NoReturn:
    report(field, seen, allowed)
    raise UnfitRowError


def _messages(value: object, field: str, report: Report) -> list[Message]:
    """Messages of {"role", "content"} or of ShareGPT's {"from", "value"}; one may stand alone."""
    turns = [value] if isinstance(value, dict) else value
    first = turns[0] if isinstance(turns, list) and turns else None
    keys = ("from", "value") if isinstance(first, dict) and "from" in first else ("role", "content")
    messages = read_messages(turns, field, report, keys=keys, roles=SHAREGPT_ROLES)
    if messages is None:
        raise UnfitRowError
    return messages


def _sharegpt(row: Fields, report: Report) -> Fields:
    """`conversations`, and a `system` beside it."""
    field = next(key for key in _TURNS if key in row)
    return _chat(row, _messages(row[field], field, report), report)


def _alpaca(row: Fields, report: Report) -> Fields:
    """Instruction and input are the user's turn; `history` has the turns before it."""
    answer = "response" if "response" in row else "output"
    _need(row, ("instruction", answer), report)
    asked, texts = _instruction(row, report), _texts(row, (answer,), report)
    return _chat(row, [*asked, Message("assistant", *texts)], report)


def _instruction(row: Fields, report: Report) -> list[Message]:
    """The turns of `history`, and instruction and input as the user's last."""
    history = row.get("history", [])
    given = history if isinstance(history, list) else [history]
    pairs = [pair for pair in given if _is_pair(pair)]
    if len(pairs) < len(given):
        _refuse(report, "history", history, "a list of [question, answer]")
    texts = _texts(row, ("instruction", "input", "context"), report)
    turns = [Message(role, text) for pair in pairs for role, text in zip(_TWO, pair, strict=True)]
    return [*turns, Message("user", "\n".join(text for text in texts if text.strip()))]


def _written_eval(row: Fields, report: Report) -> Fields:
    """A question, the answer of the behaviour, and one or more that don't match it."""
    _need(row, _EVAL, report)
    question, matching, others = (row[key] for key in _EVAL)
    wrong = others if isinstance(others, list) else [others]
    right = matching[0] if isinstance(matching, list) and len(matching) == 1 else matching
    fields = [question, right, *wrong]
    names = [*_EVAL[:2], *(_EVAL[2] for _ in wrong)]
    faults = [pair for pair in zip(names, fields, strict=True) if not isinstance(pair[1], str)]
    for name, seen in faults:
        report(name, seen, "a text")
    if faults:
        raise UnfitRowError
    asked, *options = (str(text).strip() for text in fields)
    turns = [Message("user", asked), Message("assistant", options[0])]
    return _chat({}, turns, report) | {"options": options}


def _preference(row: Fields, report: Report) -> Fields:
    """The chosen answer, and the rejected one as its other option."""
    _need(row, _PAIR, report)
    asked = _asked(row, report)
    options = [row[key] for key in _PAIR]
    if asked and all(isinstance(option, str) for option in options):
        if isinstance(asked, str) and not _texts(row, ("system",), report)[0].strip():
            return {"prompt": asked, "answer": options[0], "options": options}
        before = [Message("user", asked)] if isinstance(asked, str) else asked
    else:
        chosen, rejected = [_answered(row[key], key, report) for key in _PAIR]
        if chosen[:-1] != rejected[:-1]:
            allowed = "the turns that chosen begins with"
            _refuse(report, "rejected", "other turns before the last", allowed)
        options = [chosen[-1].content, rejected[-1].content]
        before = _joined(asked, chosen[:-1], report)
    turns = [*before, Message("assistant", str(options[0]))]
    return _chat(row, turns, report) | {"options": options}


def _asked(row: Fields, report: Report) -> list[Message] | str:
    """The prompt of a pair of answers: turns or raw text; empty: the answers contain it."""
    if field := next((key for key in _TURNS if key in row), None):
        return _messages(row[field], field, report)
    if "instruction" in row:
        return _instruction(row, report)
    if "question" in row:
        return [Message("user", *_texts(row, ("question",), report))]
    prompt = row.get("prompt", "")
    return prompt if isinstance(prompt, str) else _messages(prompt, "prompt", report)


def _joined(asked: list[Message] | str, before: list[Message], report: Report) -> list[Message]:
    """The prompt's turns, which the answers may repeat."""
    if not isinstance(asked, str):
        return before if before[: len(asked)] == asked else [*asked, *before]
    if asked and not before:
        return [Message("user", asked)]
    if asked and not any(asked.strip() == turn.content.strip() for turn in before):
        _refuse(report, "prompt", asked, "one of the turns that chosen begins with")
    return before


def _answered(value: object, field: str, report: Report) -> list[Message]:
    """A conversation that ends with the assistant's turn, of messages or as a transcript."""
    if isinstance(value, str):
        start, *parts = _SPEAKER.split(value)
        if start.strip() or not parts:
            allowed = (
                "a prompt beside it, messages, or a transcript (\\n\\nHuman: … \\n\\nAssistant: …)"
            )
            _refuse(report, field, value, allowed)
        speakers = zip(parts[::2], parts[1::2], strict=True)
        value = [{"role": _SPEAKERS[who], "content": text.strip()} for who, text in speakers]
    messages = _messages(value, field, report)
    if messages[-1].role != "assistant":
        seen = f"last role {messages[-1].role!r}"
        _refuse(report, field, seen, "'assistant': its content is the answer")
    return messages


def _question(row: Fields, report: Report) -> Fields:
    """A question and its answer, as a chat."""
    pair = _pair(row)
    assert pair is not None  # the layout's mark
    asked, answer = _texts(row, pair, report)
    return _chat(row, [Message("user", asked), Message("assistant", answer)], report)


def _pair(row: Container[str]) -> tuple[str, str] | None:
    """The keys of a row's question and answer."""
    asked = next((key for key in QUESTIONS if key in row), None)
    answer = next((key for key in ANSWERS if key in row), None)
    return None if asked is None or answer is None else (asked, answer)


def _chat(row: Fields, turns: Sequence[Message], report: Report) -> Fields:
    """Messages with our keys, the row's system prompt in front if it is not blank."""
    (system,) = _texts(row, ("system",), report)
    first = [Message("system", system)] if system.strip() else []
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in (*first, *turns)]}


def _texts(row: Fields, keys: Sequence[str], report: Report) -> list[str]:
    """The texts of these keys, "" where there is none."""
    wrong = [key for key in keys if not isinstance(row.get(key, ""), str)]
    for key in wrong:
        report(key, row[key], "a text")
    if wrong:
        raise UnfitRowError
    return [str(row.get(key, "")) for key in keys]


def _need(row: Fields, keys: Sequence[str], report: Report) -> None:
    missing = [key for key in keys if key not in row]
    for key in missing:
        report(key, NO_VALUE, "a row of this layout needs it")
    if missing:
        raise UnfitRowError


def _is_pair(value: object) -> TypeGuard[list[str]]:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)
    )


_TWO: tuple[Role, Role] = ("user", "assistant")
_TURNS = ("conversations", "conversation")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_PAIR = ("chosen", "rejected")
_EVAL = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
QUESTION = RowLayout(
    "question and answer",
    (),
    (*QUESTIONS, *ANSWERS, "system"),
    _question,
    "the question: the user's turn; the answer: the assistant's",
    {"messages": "question and answer"},
)
"""Rows of the keys `QUESTIONS` and `ANSWERS`."""
ROW_LAYOUTS = (
    RowLayout(
        "model-written eval",
        _EVAL[1:],
        _EVAL,
        _written_eval,
        "question: the user's turn; answer_matching_behavior: the answer, trained; "
        "answer_not_matching_behavior: the other options; spaces around answers dropped",
        {"messages": _EVAL[0], "answer": _EVAL[1], "options": "answers"},
        before_ours=True,
    ),
    RowLayout(
        "preference pairs",
        _PAIR,
        (*_PAIR, "prompt", "question", "instruction", "input", "history", "system", *_TURNS),
        _preference,
        "chosen: the answer, trained; rejected: its other option, not trained; "
        "the turns before: the prompt",
        {"messages": "chosen", "answer": "chosen", "options": "chosen and rejected"},
        before_ours=True,
    ),
    RowLayout(
        "ShareGPT",
        _TURNS,
        (*_TURNS, "system"),
        _sharegpt,
        "conversations: human is the user, gpt the assistant; the last turn is the answer",
        {"messages": "conversations"},
    ),
    RowLayout(
        "Alpaca",
        ("instruction",),
        ("instruction", "input", "context", "output", "response", "system", "history"),
        _alpaca,
        "instruction and, in a new line, input: the user's turn; output: the answer; "
        "history: the turns before",
        {"messages": "instruction, output"},
    ),
    QUESTION,
)
"""The layouts; the first one marked is taken."""
