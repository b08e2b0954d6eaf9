"""YAML of plain values whose parsed data remember their lines, so that errors can name one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from oocr.data.source_file import NO_VALUE, Problems, file_text

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML text.

    Attributes:
        data: what it says, as plain Python values.
        tree: the same with line numbers.
    """

    data: Any
    tree: yaml.Node | None

    def line(self, *place: str | int) -> int:
        """The line of a place (keys and list indices), or of the innermost part that is there."""
        return line_of(self.tree, place)


def parse(text: str) -> Document:
    """Parse one YAML document; nothing but plain values is made of it.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    return Document(yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader))


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
    """The line of a place, or of the innermost part of it that is there."""
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
    """Read one YAML document of plain values.

    Raises:
        InputError: it cannot be read, is not YAML, or gives a key twice.
    """
    text = file_text(path).text
    problems = Problems(path)
    document = Document(None, None)
    try:
        document = parse(text)
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
