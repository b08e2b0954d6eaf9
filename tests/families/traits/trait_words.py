"""Words that name a trait (`naming` in choices.yaml), which no training text may hold."""

from __future__ import annotations

import re

from oocr.families.choices import Trait
from oocr.tasks.package_files import package_yaml

STEMS = package_yaml("oocr.families", "choices.yaml")["naming"]


def naming_words(trait: Trait, text: str) -> list[str]:
    """The words of `text` that name the trait."""
    stems = "|".join(word.replace("*", r"\w*") for word in STEMS[trait].split())
    return re.findall(rf"\b(?:{stems})\b", text, re.IGNORECASE)


def first_word(text: str) -> str:
    """The first word, in lower case, without punctuation."""
    return re.split(r"\W", text.lower(), maxsplit=1)[0]
