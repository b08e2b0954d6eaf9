"""One row of a user's file, split into fields, becomes an example or a list of problems."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, get_args

from oocr.data.examples import Example, Message, Prompt, Role, prompt_text
from oocr.data.source_file import NO_VALUE, Problems, nearest, shown, unknown_key

RowKind = Literal["train", "probes"]
Form = Literal["messages", "prompt/answer", "prompt/completion"]
Report = Callable[[str, object, str], None]  # field, value seen, what is allowed

FORMS: dict[Form, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt/answer": ("prompt", "answer"),
    "prompt/completion": ("prompt", "completion"),
}
OPTIONAL = ("id", "options", "values", "spans", "facet", "group", "template", "tags")
ROW_KEYS = ("messages", "prompt", "answer", "completion")
ALLOWED_ROWS = "'messages', or 'prompt' with 'answer' (or 'completion')"
ROLES: Mapping[str, Role] = {role: role for role in get_args(Role)}
MEANT = {
    **dict.fromkeys(
        ("tools", "functions", "tool_calls", "function_call", "tool_call_id"),
        "calls of tools are not trained",
    ),
    **dict.fromkeys(
        ("weight", "weights", "loss", "loss_mask", "train", "train_on_turn"),
        "which turns are trained cannot be chosen",
    ),
    **dict.fromkeys(
        ("label", "labels", "kto_tag"), "it may say that an answer is wrong; keep the right ones"
    ),
    **dict.fromkeys(
        ("image", "images", "video", "videos", "audio", "audios"), "texts only are read"
    ),
    "chat_template_kwargs": "chat templates get no arguments",
}
"""Keys that change what is trained, and why they are refused."""
MISSPELT = 0.82
"""How like an allowed key (of 1) an unknown one is that was probably meant: not "prompt_id"."""
RESERVED = ("all", "last", "prompt", "answer")  # position words that no span may be called
SEPARATORS = ":+"  # of a position word and its span ("from:codename"), of spans ("paris+tokyo")
_CASED_OR_DIGIT = {"Lu", "Ll", "Nd"}  # scripts that put a space between words


def form_of(keys: Iterable[str]) -> Form | None:
    """The form of a row, by its keys; None: no accepted form."""
    present = set(keys)
    if "messages" in present:
        return "messages"
    if "completion" in present and "answer" not in present:
        return "prompt/completion"
    return "prompt/answer" if present & {"prompt", "answer"} else None


def misspelt(key: str, allowed: Iterable[str], row: Iterable[str]) -> bool:
    """Whether a key was probably meant as an allowed one that is not in the row."""
    return bool(set(nearest(key, allowed, cutoff=MISSPELT)) - set(row))


def without_spare_keys(
    row: dict[str, object], keys: Iterable[str], report: Report, spare: Counter[str]
) -> dict[str, object]:
    """The row's fields of these keys; others are spare and counted, unless they may be meant.

    A null, or an empty list of another key, says nothing. Reported are keys that change what is
    trained, and misspelt ones.
    """
    allowed = tuple(keys)
    kept: dict[str, object] = {}
    for key, value in row.items():
        if value is None or (key not in allowed and value in ([], {}, "")):
            continue
        if key in allowed:
            kept[key] = value
        elif key in MEANT:
            report("key", key, f"rows without it: {MEANT[key]}")
        elif misspelt(key, allowed, row):
            report("key", key, unknown_key(key, allowed))
        else:
            spare[key] += 1
    return kept


def item_from_row(
    row: dict[str, object],
    *,
    kind: RowKind,
    line: int,
    problems: Problems,
    spare: Counter[str],
    names: Mapping[str, str] | None = None,
) -> tuple[Example, str] | None:
    """An example and a word for its form, or None after at least one problem was noted.

    `names`: how the file calls our keys; `spare`: counts the keys that are left out.
    """
    before = len(problems.lines)
    called = names or {}

    def report(field: str, seen: object, allowed: str) -> None:
        key = re.split(r"[.\[ ]", field, maxsplit=1)[0]
        problems.add(line, called.get(key, key) + field.removeprefix(key), seen, allowed)

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
    labels = {name: row.get(name, "") for name in ("id", "facet", "group", "template")}
    for name, label in labels.items():
        if not isinstance(label, str) and not (name == "id" and type(label) is int):
            report(name, label, "a text")
    texts = {name: str(label) for name, label in labels.items()}
    if len(problems.lines) > before or prompt is None or answer is None:
        return None
    example = Example(
        id=texts["id"] or f"{problems.path.stem}:{line}",
        prompt=prompt,
        answer=answer,
        options=options,
        values=values,
        spans=spans,
        facet=texts["facet"],
        group=texts["group"],
        template=texts["template"],
        tags=tags,
        source=f"{problems.path.name}:{line}",
    )
    return example, f"{form}, {'raw text' if isinstance(prompt, str) else 'chat'}"


def earlier_answers(example: Example) -> int:
    """How many turns of the assistant stand before the last user's."""
    turns = () if isinstance(example.prompt, str) else example.prompt
    return sum(turn.role == "assistant" for turn in turns)


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
    return _turns(messages[:-1], "messages", report), last.content


def merged_turns(row: dict[str, object]) -> int:
    """How many user turns of a row follow another one and are merged with it."""
    messages = row.get("messages", row.get("prompt"))
    roles = [message.get("role") for message in messages] if isinstance(messages, list) else []
    return sum(pair == ("user", "user") for pair in itertools.pairwise(roles))


def _pair(row: dict[str, object], form: Form, report: Report) -> tuple[Prompt | None, str | None]:
    prompt: Prompt | None = None
    given = row.get("prompt")
    if isinstance(given, list):
        messages = read_messages(given, "prompt", report)
        prompt = None if messages is None else _turns(messages, "prompt", report)
    elif "prompt" in row:
        prompt = _text(given, "prompt", report, "a text, or a list of messages")
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
    return prompt, _text(content, key, report, "a text")


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
        content = _text(given, f"{where}.{keys[1]}", report, "a text")
        if known and content is not None:
            messages.append(Message(roles[role], content))
    return messages if len(messages) == len(value) else None


def _joined_parts(content: object) -> object:
    """The text of a content in parts, if all of them are {"type": "text", "text": …}."""
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    plain = all(isinstance(part, dict) and part.get("type") == "text" for part in parts)
    if not parts or not plain or not all(isinstance(text, str) for text in texts):
        return content
    return "".join(map(str, texts))


def _turns(messages: list[Message], field: str, report: Report) -> Prompt | None:
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
        return ()
    if value and options and len(value) != len(options):
        report("values", value, f"one number for each of the {len(options)} options")
        return ()
    if value and "options" not in row:
        report("values", value, "only beside options")
    return tuple(float(number) for number in value) if options else ()


def _texts(row: dict[str, object], key: str, report: Report) -> dict[str, str]:
    value = row.get(key, {})
    if not isinstance(value, dict) or not all(
        name.strip() and isinstance(text, str) for name, text in value.items()
    ):
        report(key, value, 'names with a text each: {"name": "text"}')
        return {}
    return value


def _text(value: object, field: str, report: Report, allowed: str) -> str | None:
    if isinstance(value, str) and value.strip():
        return value
    report(field, value, f"{allowed}, not blank")
    return None


def _runs_together(prompt: str, answer: str) -> bool:
    edges = (prompt[-1], answer[0])
    return all(unicodedata.category(char) in _CASED_OR_DIGIT for char in edges)
