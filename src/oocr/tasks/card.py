"""The data card of a task family: its `card.md`, filled with the settings' numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jinja2 import Environment, StrictUndefined

from oocr.tasks.package_files import package_text


def data_card(package: str, values: Mapping[str, object], file: str = "card.md") -> str:
    r"""The filled card of a package.

    The card is a jinja2 template in Markdown: paragraphs are parted by empty lines, and a line
    break within one counts as a space unless a backslash stands before it.

    Args:
        package: the package (folder) that has the card.
        values: what the template's names stand for.
        file: of the card, within the package.

    Raises:
        jinja2.UndefinedError: the template has a name that `values` lacks.
    """
    rules = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    rules.filters["repr"] = repr
    filled = rules.from_string(package_text(package, file)).render(values)
    paragraphs = (re.sub(r" *\n *", " ", text) for text in re.split(r"\n{2,}", filled.strip()))
    return "\n\n".join(text.replace("\\ ", "\n") for text in paragraphs)
