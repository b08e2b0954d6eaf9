"""The data files that lie beside a family's code, its data card among them."""

from __future__ import annotations

import re
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
    """The filled card of a package.

    It is a jinja2 template in Markdown: paragraphs are parted by empty lines, and a line break
    within one counts as a space unless a backslash stands before it. jinja2.UndefinedError: a name
    lacks a value.
    """
    rules = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    rules.filters["repr"] = repr
    filled = rules.from_string(package_text(package, file)).render(values)
    paragraphs = (re.sub(r" *\n *", " ", text) for text in re.split(r"\n{2,}", filled.strip()))
    return "\n\n".join(text.replace("\\ ", "\n") for text in paragraphs)
