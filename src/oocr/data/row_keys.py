"""The keys of a row: which forms there are, and which keys are left out, refused or misspelt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

from oocr.data.source_file import nearest, unknown_key

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
MEANT = {
    key: reason
    for keys, reason in (
        ("tools functions tool_calls function_call tool_call_id", "calls of tools are not trained"),
        (
            "weight weights loss loss_mask train train_on_turn",
            "which turns are trained cannot be chosen",
        ),
        ("label labels kto_tag", "it may say that an answer is wrong; keep the right ones"),
        ("image images video videos audio audios", "texts only are read"),
        ("chat_template_kwargs", "chat templates get no arguments"),
    )
    for key in keys.split()
}
"""Keys that change what is trained, and why they are refused."""
EMPTY: tuple[object, ...] = ([], {}, "", "[]", "{}")
"""Values of a key that say nothing; lists of tools are written as JSON in a text."""
MISSPELT = 0.82
"""Least similarity (of 1) of an unknown key to the allowed key that was probably meant."""


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

    A null says nothing, nor does an empty value of another key. Reported are keys that change what
    is trained, and misspelt ones.
    """
    allowed = tuple(keys)
    kept: dict[str, object] = {}
    for key, value in row.items():
        if value is None or (key not in allowed and value in EMPTY):
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


def text_of(value: object, field: str, report: Report, allowed: str = "a text") -> str | None:
    """A value that is a text and not blank; None: another one, which is reported."""
    if isinstance(value, str) and value.strip():
        return value
    report(field, value, f"{allowed}, not blank")
    return None
