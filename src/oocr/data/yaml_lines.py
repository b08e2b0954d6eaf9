"""YAML that remembers where everything stood, so that errors can name a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

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
        for one in node.value:
            yield from repeated(one)
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
