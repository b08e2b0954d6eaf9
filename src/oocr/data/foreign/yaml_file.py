"""A YAML file of someone else's: parsed, or refused with a line."""

from __future__ import annotations

from pathlib import Path

import yaml

from oocr.data.problems import NO_VALUE, Problems
from oocr.data.text import file_text
from oocr.data.yaml_lines import Document, parse, repeated


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
