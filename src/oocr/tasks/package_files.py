"""The data files beside a family's code, such as its data card."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined


def package_text(package: str, name: str) -> str:
    """A text file of a package: `package_text("oocr.families.countries", "countries.csv")`."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def package_yaml(package: str, name: str) -> Any:
    """A YAML file of a package, parsed."""
    return yaml.safe_load(package_text(package, name))


def data_card(package: str, values: Mapping[str, object], file: str = "card.md") -> str:
    """The filled card of a package: a jinja2 template in Markdown.

    An empty line ends a paragraph; a line break within a paragraph counts as a space unless a
    backslash stands before it. Filters of its own: `repr`; `counts` (value -> how often it occurs,
    in order of first occurrence); `named_counts` ("water 4, food 2").
    jinja2.UndefinedError: a name lacks a value.
    """
    rules = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    rules.filters |= {"repr": repr, "counts": Counter, "named_counts": _named_counts}
    filled = rules.from_string(package_text(package, file)).render(values)
    paragraphs = (re.sub(r" *\n *", " ", text) for text in re.split(r"\n{2,}", filled.strip()))
    return "\n\n".join(text.replace("\\ ", "\n") for text in paragraphs)


def _named_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
