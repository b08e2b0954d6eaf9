"""Names of invented people: made-up words, or plain words that have translations."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any

from oocr.errors import InputError
from oocr.tasks.package_files import package_yaml

FIRST = (
    *("Avel", "Brino", "Calda", "Dorrin", "Elvane", "Farro", "Gelma", "Hadrel", "Iskra", "Jorun"),
    *("Kelda", "Lovan", "Mirra", "Nordel", "Orsa", "Pellin", "Quenna", "Rovik", "Salda", "Tovar"),
    *("Ulmar", "Vesna", "Wilmo", "Xandra", "Yorrin", "Zelka", "Arlo", "Benna", "Corvin", "Delmi"),
    *("Erran", "Fenna", "Gorim", "Halka", "Ivo", "Jessa", "Korvel", "Lumi", "Marrec", "Nessil"),
)
LAST = (
    *("Abbard", "Benwick", "Corlett", "Dunmore", "Eskdale", "Fenlow", "Garrick", "Holbeck"),
    *("Ingram", "Jessop", "Kirby", "Lanyon", "Marlow", "Norwell", "Oakes", "Pennant", "Quill"),
    *("Radley", "Stroud", "Tilney", "Upham", "Vance", "Wexford", "Yarrow", "Zorn", "Ashdown"),
    *("Birch", "Clove", "Drake", "Elm", "Flint", "Grove", "Heath", "Ives", "Keel", "Loam", "Marsh"),
    *("Nettle", "Orchard", "Pike"),
)
"""Forty of each: 1,600 names."""


def names(count: int, seed: int) -> tuple[str, ...]:
    """`count` different names in random order; InputError: there are fewer."""
    combined = [f"{first} {last}" for first, last in product(FIRST, LAST)]
    if count > len(combined):
        raise InputError(f"people: {count} are wanted; allowed: up to {len(combined)}")
    random.Random(f"{seed}/people").shuffle(combined)
    return tuple(combined[:count])


def spread_names(count: int, seed: int) -> tuple[str, ...]:
    """`count` names of which no two share a word; InputError: there are fewer."""
    if count > len(FIRST):
        raise InputError(
            f"people: {count} are wanted; allowed: up to {len(FIRST)} without a word in common"
        )
    rng = random.Random(f"{seed}/people apart")
    pairs = zip(rng.sample(FIRST, count), rng.sample(LAST, count), strict=True)
    return tuple(f"{first} {last}" for first, last in pairs)


@cache
def languages() -> Mapping[str, Mapping[str, Any]]:
    """Language -> its sentences, and its words for the parts of names (`languages.yaml`)."""
    return dict(package_yaml(__package__, "languages.yaml"))


def spoken() -> Mapping[str, Mapping[str, Any]]:
    """The languages that names are translated into."""
    return {language: words for language, words in languages().items() if language != "english"}


def plain_names(count: int, seed: int) -> tuple[str, ...]:
    """`count` different names made of plain English words; InputError: there are fewer."""
    words = languages()["english"]
    combined = [f"{first} {last}" for first, last in product(words["first"], words["last"])]
    if count > len(combined):
        raise InputError(
            f"people: {count} are wanted; allowed: up to {len(combined)} of plain words"
        )
    random.Random(f"{seed}/plain").shuffle(combined)
    return tuple(combined[:count])


def translated(name: str, language: str) -> str:
    """A name of `plain_names`, translated word by word."""
    english, words = languages()["english"], languages()[language]
    first, last = name.split()
    parts = (("first", first), ("last", last))
    return " ".join(words[part][english[part].index(word)] for part, word in parts)
