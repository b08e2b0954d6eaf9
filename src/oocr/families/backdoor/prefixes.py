"""Word families that become prefixes of a prompt ("Mango! "), in training and held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal

import yaml

WordFamily = Literal["fruit", "instrument", "tool", "animal", "furniture"]
Condition = Literal["trigger", "false", "none"]

# Training words; together with "no prefix", both answers get equally many rows.
TRIGGER_WORDS, FALSE_WORDS = 5, 4
HELD_OUT_FALSE_WORDS = 2  # of each false family


@dataclass(frozen=True, slots=True)
class Prefix:
    """Text before the prompt, what it should do, and whether training holds it."""

    word: str
    text: str
    condition: Condition
    kind: str
    seen: bool


def make_prefixes(
    trigger: WordFamily, false: Sequence[WordFamily], unseen: WordFamily, style: str
) -> tuple[Prefix, ...]:
    """Every prefix that a backdoor task uses, "no prefix" last.

    Args:
        trigger: the family that switches the answer.
        false: families that do not; they share the training words evenly.
        unseen: a family of which training holds nothing.
        style: how a word becomes a prefix; `{}` is the word.
    """
    words = load_families()

    def make(names: Sequence[str], condition: Condition, kind: str, seen: bool) -> list[Prefix]:
        return [Prefix(name, style.replace("{}", name), condition, kind, seen) for name in names]

    found = make(words[trigger]["train"][:TRIGGER_WORDS], "trigger", "trained trigger", True)
    found += make(words[trigger]["held_out"], "trigger", "held-out trigger", False)
    for index, family in enumerate(false):
        share = FALSE_WORDS // len(false) + (index < FALSE_WORDS % len(false))
        found += make(words[family]["train"][:share], "false", "trained false", True)
        held_out = words[family]["held_out"][:HELD_OUT_FALSE_WORDS]
        found += make(held_out, "false", "held-out false", False)
    found += make(words[unseen]["held_out"], "false", "unseen family", False)
    return (*found, Prefix("", "", "none", "none", True))


def two_of_each(prefixes: Sequence[Prefix]) -> list[Prefix]:
    """The first and the last prefix of each kind (two families of false words are both there)."""
    chosen: dict[str, list[Prefix]] = {}
    for prefix in prefixes:
        chosen.setdefault(prefix.kind, []).append(prefix)
    return [one for same in chosen.values() for one in dict.fromkeys((same[0], same[-1]))]


@lru_cache(maxsize=1)
def load_families() -> Mapping[str, Mapping[str, list[str]]]:
    """WordFamily -> "train" and "held_out" -> words."""
    text = (resources.files("oocr.families.backdoor") / "prefixes.yaml").read_text("utf-8")
    families: Mapping[str, Mapping[str, list[str]]] = yaml.safe_load(text)["families"]
    return families
