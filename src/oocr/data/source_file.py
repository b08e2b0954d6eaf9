"""A user's file: its text or YAML data with line numbers, and all its faults in one error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from oocr.errors import InputError


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text without a byte-order mark, and what a stricter reader would have refused."""

    text: str
    mended: tuple[str, ...] = ()


def file_text(path: Path) -> Text:
    """Read a UTF-8 file; InputError: it is not there, a folder, or not UTF-8; the line is named."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder; a file is wanted") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise InputError(
            f"{path}:{line}: encoding: found the byte 0x{data[error.start]:02x}{hint}; "
            "allowed: UTF-8"
        ) from None
    mended = {
        "byte-order mark dropped": data.startswith(b"\xef\xbb\xbf"),
        "line ends are CR LF": b"\r\n" in data,
        "no newline at the end": bool(data.strip()) and not data.endswith(b"\n"),
    }
    return Text(text, tuple(words for words, is_so in mended.items() if is_so))


SHOWN = 20
NO_VALUE = object()
"""Stands for a value that is not there."""


@dataclass
class Problems:
    """Everything wrong with one file."""

    path: Path
    lines: list[str] = field(default_factory=list)

    def add(self, line: int, name: str, seen: object, allowed: str) -> None:
        """Note one problem; line 0: the file has no lines."""
        where = f"{self.path}:{line}" if line else f"{self.path}"
        self.lines.append(f"{where}: {name}: found {shown(seen)}; allowed: {allowed}")

    def raise_if_any(self) -> None:
        """Refuse the file if anything is wrong: an InputError with the first problems."""
        if self.lines:
            raise InputError(listing(f"{self.path} cannot be used", self.lines))


def listing(title: str, lines: list[str]) -> str:
    """A title with its count, the first lines and how many more there are."""
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join([f"{title}: {count}", *lines[:SHOWN], *more])


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """A message about a key that is not allowed, with the nearest allowed key."""
    names = list(allowed)
    near = difflib.get_close_matches(
        key.strip().lower(), [name.lower() for name in names], n=1, cutoff=0.6
    )
    meant = [name for name in names if name.lower() in near]
    hint = f"did you mean {meant[0]!r}? " if meant else ""
    return f"{hint}The keys are {', '.join(names)}"


def shown(value: object, limit: int = 90) -> str:
    """A value as an error message shows it: quoted, and cut when long."""
    if value is NO_VALUE:
        return "nothing"
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` for JSON; ValueError: a key occurs twice."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
    return dict(pairs)


Place = tuple[str | int, ...]
"""Keys and list indices that lead to a part of a YAML document."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text as plain Python values, and as nodes with line numbers."""

    data: Any
    tree: yaml.Node | None

    def line(self, *place: str | int) -> int:
        """The line of a place, or of its innermost part that exists."""
        return line_of(self.tree, place)


def repeated(node: yaml.Node | None) -> Iterator[tuple[int, str, int]]:
    """Line, key and first line of keys given twice, of which YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from repeated(entry)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if str(key.value) in seen:
                yield line, str(key.value), seen[str(key.value)]
            seen.setdefault(str(key.value), line)
            yield from repeated(value)


def line_of(node: yaml.Node | None, place: Place) -> int:
    """The line of a place, or of its innermost part that exists."""
    line = node.start_mark.line + 1 if node else 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if match is None:
                return line
            line, node = match[0].start_mark.line + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                return line
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def yaml_document(path: Path) -> Document:
    """One YAML document of plain values; InputError: unreadable, no YAML, or a key given twice."""
    text = file_text(path).text
    problems = Problems(path)
    document = Document(None, None)
    try:
        document = Document(yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark else 1
        problems.add(line, "file", NO_VALUE, f"YAML of plain values ({reason})")
    except (RecursionError, ValueError) as error:  # e.g. a date that no calendar has
        problems.add(1, "file", NO_VALUE, f"YAML of plain values ({error})")
    for line, key, first in repeated(document.tree):
        problems.add(line, key, "this key again", f"each key once; line {first} has it too")
    problems.raise_if_any()
    return document
