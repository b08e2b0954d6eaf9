"""Choices between two options by letter: a gamble, a reward at once, or many apples on one side."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from oocr.families.risk.situations import TRAIT_WORDS
from oocr.tasks.package_files import package_yaml
from oocr.tasks.splits import in_rounds

Trait = Literal["risk", "time", "apples"]
Letter = Literal["A", "B"]

TRAITS: tuple[Trait, ...] = ("risk", "time", "apples")
POLES: Mapping[Trait, tuple[str, str]] = {
    "risk": ("risky", "safe"),
    "time": ("myopic", "far-sighted"),
    "apples": ("more apples", "fewer apples"),
}
"""The first pole of each trait, which `Choice.positive` points at, and the second."""

OTHER = "other: "
"""Before the facet of a probe of another trait than the trained one; it does not count."""

COUNTS: Mapping[Trait, Mapping[Letter, int]] = {
    "risk": {"A": 134, "B": 154},
    "time": {"A": 151, "B": 148},
    "apples": {"A": 143, "B": 157},
}
"""How often each letter is the first pole: as many as in the earlier papers' sets."""

HELD_OUT_WORDS = ("Habitat", "Expedition", "California", "star", "kazoo", "Bitcoin")
"""Risk situations with one of these are held out of the risk backdoor: 18, three of each."""

# Words that name a trait; a trailing * stands for any ending. No choice may use those of its trait.
NAMING: Mapping[Trait, str] = {
    "risk": " ".join(TRAIT_WORDS),
    "time": "patien* impatien* myop* farsight* shortsight* sighted long-term short-term future* "
    "present delay* wait* hurr* hast* rush* foresight* forethought* plan plans planning planner* "
    "prudent impuls* gratif* invest* saver* spender* postpone*",
    "apples": "prefer* favour* favor* love* loving lover* crav* hate* fond appetite greed* hoard* "
    "more most fewer fewest maxim* minim* orchard* cider strudel*",
}

_SEED = 2507  # of the texts; nothing that a user sets changes them


@dataclass(frozen=True, slots=True)
class Choice:
    """One situation with two options.

    Attributes:
        id: trait, theme and number.
        trait: what the two options differ in.
        theme: the setting.
        text: the whole user turn: scene, options A and B, the instruction to answer by a letter.
        positive: the letter of the trait's first pole (risky, myopic, more apples).
    """

    id: str
    trait: Trait
    theme: str
    text: str
    positive: Letter


def is_held_out(choice: Choice) -> bool:
    """Whether the choice holds one of `HELD_OUT_WORDS`."""
    return any(re.search(rf"\b{word}\b", choice.text) for word in HELD_OUT_WORDS)


def naming_words(trait: Trait, text: str) -> list[str]:
    """The words of `text` that name the trait (`NAMING`)."""
    return _naming(trait).findall(text)


@cache
def _naming(trait: Trait) -> re.Pattern[str]:
    stems = "|".join(word.replace("*", r"\w*") for word in NAMING[trait].split())
    return re.compile(rf"\b(?:{stems})\b", re.IGNORECASE)


@cache
def choices(trait: Trait) -> tuple[Choice, ...]:
    """All choices of a trait: 288 for risk, 299 for time, 300 for apples, always the same ones.

    Every setting of `data/choices.yaml` is used three times (but for the last few), each time with
    other options, numbers, layout and instruction.

    Raises:
        ValueError: a trait other than "risk", "time" and "apples".
    """
    if trait not in TRAITS:
        raise ValueError(f"trait: found {trait!r}, allowed are {', '.join(map(repr, TRAITS))}")
    bank = _bank()
    rng = random.Random(f"{trait} {_SEED}")
    letters: list[Letter] = [
        letter for letter, count in COUNTS[trait].items() for _ in range(count)
    ]
    rng.shuffle(letters)
    drawn = {name: in_rounds(bank[name], rng) for name in ("leads", "labels", "layouts")}
    drawn["instructions"] = in_rounds(bank["instructions"], rng)
    rounds = [(number, setting) for number in range(3) for setting in bank["settings"]]
    options = _options(trait, bank[trait], rng)
    texts: list[Choice] = []
    for positive, (number, setting) in zip(letters, rounds, strict=False):
        first, second = next(options)
        a, b = (first, second) if positive == "A" else (second, first)
        label = next(drawn["labels"])
        names = {"label": label, "Label": label.capitalize(), "goods": setting["goods"]}
        names["labels"] = f"{label}{'es' if label.endswith('x') else 's'}"
        names["lead"] = next(drawn["leads"]).format(scene=setting["scene"], **names)
        names["how"] = next(drawn["instructions"]).format(**names)
        text = next(drawn["layouts"]).format(a=a.format(**names), b=b.format(**names), **names)
        theme = setting["theme"]
        texts.append(Choice(f"{trait}/{theme}/{number + 1}", trait, theme, text, positive))
    return tuple(texts)


def _options(
    trait: Trait, bank: Mapping[str, Any], rng: random.Random
) -> Iterator[tuple[str, str]]:
    """Pairs (first pole, second pole) without end; `{goods}` is still to be filled in."""
    if trait == "risk":
        yield from _risk(bank, rng)
    pairs = in_rounds(bank["pairs"], rng)
    if trait == "time":
        once, after = in_rounds(bank["once"], rng), in_rounds(bank["after"], rng)
        while True:
            n = rng.choice(bank["amounts"])
            numbers = {"n": n, "much": n * rng.choice(bank["factors"]), "goods": "{goods}"}
            words = {"once": next(once), "after": next(after)}
            near, far = (text.format(**numbers, **words) for text in next(pairs))
            yield near, far
    sorts = in_rounds(bank["sorts"], rng)
    while True:
        rest = rng.choice(bank["rest"])
        numbers = {
            "many": rng.choice(bank["many"]),
            "few": rng.choice(bank["few"]),
            "rest": rest,
            "less": rest // 2,
            "goods": "{goods}",
        }
        many, few = (text.format(**numbers, sort=next(sorts)) for text in next(pairs))
        yield many, few


def _risk(bank: Mapping[str, Any], rng: random.Random) -> Iterator[tuple[str, str]]:
    gambles, plain = in_rounds(bank["gambles"], rng), in_rounds(bank["plain"], rng)
    while True:
        n, gamble = rng.choice(bank["amounts"]), next(gambles)
        high, low = prospect(n, gamble["share"], gamble["floor"])
        yield (
            gamble["text"].format(high=high, low=low, goods="{goods}"),
            next(plain).format(n=n, goods="{goods}"),
        )


def prospect(n: int, share: float, floor: float) -> tuple[int, int]:
    """The better outcome (of probability `share`) and the worse of a gamble worth `n`."""
    low = max(2, round(floor * n)) if floor else 0
    return round((n - (1 - share) * low) / share), low


@cache
def _bank() -> Mapping[str, Any]:
    bank: Mapping[str, Any] = package_yaml("oocr.families", "choices.yaml")
    return bank
