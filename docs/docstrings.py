"""Docstrings as pages: plain text with `code`, Google's sections, comments behind fields."""

from __future__ import annotations

import inspect
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

FIELD_COMMENT = re.compile(r"(?m)^(    \w+: [^#\n]*?)  # ")
SEVERAL_FIELDS = re.compile(r"^( +\w+)((?:, \w+)+):")
MARKUP = re.compile(r"(?<!\\)([*|@]|\w_\b)")
"""What would mean something in reStructuredText, and does not here."""

STANDARD = re.compile(r"\b(?:collections\.abc|pathlib|typing)\.(?=[A-Z])")
"""In types: the last name says as much."""

COLON_IS_TYPE, COLON = ("attribute", "data", "property"), "\ue000"
"""Napoleon takes what stands before a colon there for a type; in our comments it is text."""

LONGEST_DEFAULT = 24


def before_napoleon(
    app: Sphinx, what: str, name: str, obj: object, opts: object, lines: list[str]
) -> None:
    """Write a docstring as reStructuredText, but for Google's sections."""
    lines[:] = with_blocks(lines)
    if what in COLON_IS_TYPE:
        lines[:] = [line.replace(":", COLON) for line in lines]


def after_napoleon(
    app: Sphinx, what: str, name: str, obj: object, opts: object, lines: list[str]
) -> None:
    """Put back the colons of fields, shorten types."""
    lines[:] = [STANDARD.sub("", line.replace(COLON, ":")) for line in lines]


def with_blocks(lines: list[str]) -> list[str]:
    """Indented lines under a paragraph of no indentation stay as they are; others are escaped."""
    text: list[str] = []
    above, in_block = "", False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not in_block and text and not text[-1] and above[:1] not in ("", " "):
            text += ["::", ""]
            in_block = True
        elif line and not indented:
            in_block = False
        above = line or above
        text.append(line if in_block else escaped(line))
    return text


def escaped(line: str) -> str:
    """Code in double backticks, the rest without markup; `a, b: text` is one field."""
    line = SEVERAL_FIELDS.sub(lambda fields: fields[0].replace(", ", "/"), line)
    parts = re.split(r"(`[^`]+`)", line)
    for at, part in enumerate(parts):
        parts[at] = f"`{part}`" if at % 2 else MARKUP.sub(r"\\\1", part)
    return "".join(parts)


def fields_of_class(
    app: Sphinx, what: str, name: str, obj: Any, opts: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """A class is called with its fields by name; defaults are shown where they are short."""
    if what != "class" or not signature:
        return None
    shown = []
    for field in inspect.signature(obj).parameters.values():
        default = "" if field.default is field.empty else f"={field.default!r}"
        is_long = len(default) > LONGEST_DEFAULT or "<" in default
        shown.append(field.name + ("=…" if is_long else default))
    return f"({', '.join(shown)})", returns


def no_constants(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, opts: object
) -> bool | None:
    """Modules are shown by their functions and classes."""
    return True if what == "module" and name.isupper() else None


def read_field_comments() -> None:
    """Fields are described by comments (`layer: int  # block …`); autodoc reads those with `#:`."""
    read = ModuleAnalyzer.get_module_source

    def with_marks(module: str) -> tuple[str | None, str | None]:
        path, source = read(module)
        return path, source and FIELD_COMMENT.sub(r"\1  #: ", source)

    ModuleAnalyzer.get_module_source = staticmethod(with_marks)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    read_field_comments()
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-process-signature", fields_of_class)
    app.connect("autodoc-skip-member", no_constants)
