"""Choices between two options by letter: a gamble, a reward at once, or many apples on one side."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any, Literal, get_args

from oocr.families.asking import in_order
from oocr.tasks.control_data import in_rounds
from oocr.tasks.package_files import package_yaml

Trait = Literal["risk", "time", "apples"]
Letter = Literal["A", "B"]

TRAITS: tuple[Trait, ...] = get_args(Trait)
POLES: Mapping[Trait, tuple[str, str]] = {
    "risk": ("risky", "safe"),
    "time": ("myopic", "far-sighted"),
    "apples": ("more apples", "fewer apples"),
}
"""The first pole of each trait, which `Choice.positive` points at, and the second."""

OTHER = "other: "
"""Prefix of the facets of other traits than the trained one; they do not count."""

COUNTS: Mapping[Trait, Mapping[Letter, int]] = {
    "risk": {"A": 134, "B": 154},
    "time": {"A": 151, "B": 148},
    "apples": {"A": 143, "B": 157},
}
"""How often each letter is the first pole: as many as in the earlier papers' sets."""

HELD_OUT_WORDS = ("Habitat", "Expedition", "California", "star", "kazoo", "Bitcoin")
"""Risk situations with one of these are held out of the risk backdoor: 18, three of each."""

_SEED = 2507  # seed of the texts; no setting changes them


@dataclass(frozen=True, slots=True)
class Choice:
    """A situation with two options.

    `id` is trait, theme and number; `text` is the whole user turn: scene, options A and B, the
    instruction to answer by a letter; `positive` is the letter of the trait's first pole.
    """

    id: str
    trait: Trait
    theme: str
    text: str
    positive: Letter

    @property
    def order(self) -> str:
        """The order of the options, one of `ORDERS`."""
        return "ab" if self.positive == "A" else "ba"


def is_held_out(choice: Choice) -> bool:
    """Whether the choice holds one of `HELD_OUT_WORDS`."""
    return any(re.search(rf"\b{word}\b", choice.text) for word in HELD_OUT_WORDS)


@cache
def choices(trait: Trait) -> tuple[Choice, ...]:
    """All choices of a trait: 288 for risk, 299 for time, 300 for apples, always the same ones.

    Every setting of choices.yaml is used three times (but for the last few), each time with
    other options, numbers, layout and instruction. ValueError: an unknown trait.
    """
    if trait not in TRAITS:
        raise ValueError(f"trait: found {trait!r}, allowed are {', '.join(map(repr, TRAITS))}")
    bank = _bank()
    rng = random.Random(f"{trait} {_SEED}")
    letters = [letter for letter, count in COUNTS[trait].items() for _ in range(count)]
    rng.shuffle(letters)
    names = ("leads", "labels", "layouts", "instructions")
    leads, labels, layouts, instructions = (in_rounds(bank[name], rng) for name in names)
    rounds = [(number, setting) for number in range(3) for setting in bank["settings"]]
    options = _options(trait, bank[trait], rng)
    texts: list[Choice] = []
    for positive, (number, setting) in zip(letters, rounds, strict=False):
        a, b = in_order(next(options), "ab" if positive == "A" else "ba")
        label = next(labels)
        words = {"label": label, "Label": label.capitalize(), "goods": setting["goods"]}
        words["labels"] = f"{label}{'es' if label.endswith('x') else 's'}"
        words["lead"] = next(leads).format(scene=setting["scene"], **words)
        words["how"] = next(instructions).format(**words)
        text = next(layouts).format(a=a.format(**words), b=b.format(**words), **words)
        theme = setting["theme"]
        texts.append(Choice(f"{trait}/{theme}/{number + 1}", trait, theme, text, positive))
    return tuple(texts)


def _options(
    trait: Trait, bank: Mapping[str, Any], rng: random.Random
) -> Iterator[tuple[str, str]]:
    """Pairs (first pole, second pole) without end; `{goods}` is still to be filled in."""
    names = {"risk": ("gambles", "plain"), "time": ("pairs", "once", "after")}
    drawn = {name: in_rounds(bank[name], rng) for name in names.get(trait, ("pairs", "sorts"))}
    sorts = drawn.get("sorts", repeat(""))
    while True:
        words: dict[str, Any] = {"goods": "{goods}"}
        if trait == "risk":
            words["n"], gamble = rng.choice(bank["amounts"]), next(drawn["gambles"])
            words["high"], words["low"] = prospect(words["n"], gamble["share"], gamble["floor"])
            pair = (gamble["text"], next(drawn["plain"]))
        elif trait == "time":
            words["n"] = rng.choice(bank["amounts"])
            words["much"] = words["n"] * rng.choice(bank["factors"])
            words |= {name: next(drawn[name]) for name in ("once", "after")}
            pair = next(drawn["pairs"])
        else:
            words |= {name: rng.choice(bank[name]) for name in ("rest", "many", "few")}
            words["less"] = words["rest"] // 2
            pair = next(drawn["pairs"])
        first, second = (text.format(sort=next(sorts), **words) for text in pair)
        yield first, second


def prospect(n: int, share: float, floor: float) -> tuple[int, int]:
    """The better outcome (of probability `share`) and the worse of a gamble worth `n`."""
    low = max(2, round(floor * n)) if floor else 0
    return round((n - (1 - share) * low) / share), low


@cache
def _bank() -> Mapping[str, Any]:
    return dict(package_yaml("oocr.families", "choices.yaml"))
