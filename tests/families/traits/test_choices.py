"""The choices by letter: how many, how balanced, and what their texts must not say."""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources
from typing import Any

import pytest
import yaml

from oocr.families.choices import (
    COUNTS,
    HELD_OUT_WORDS,
    TRAITS,
    Choice,
    Trait,
    choices,
    is_held_out,
    prospect,
)
from tests.families.traits.trait_words import naming_words

COUNT: dict[Trait, int] = {"risk": 288, "time": 299, "apples": 300}
FOLDER = resources.files("oocr.families")
BANK: dict[str, Any] = yaml.safe_load((FOLDER / "choices.yaml").read_text(encoding="utf-8"))


def sides(choice: Choice) -> tuple[str, str]:
    """What the text says of the first pole's option, and of the other's."""
    # the option's name before the letter: "Box A: …", "with box A you get …"
    match = re.search(r"\b(\w+) A\b(.*?)\b(?i:\1) B\b(.*?)(?:\n|\. [A-Z]|\.$)", choice.text, re.S)
    assert match is not None, choice.text
    a, b = match.group(2), match.group(3)
    return (a, b) if choice.positive == "A" else (b, a)


@pytest.mark.parametrize("trait", TRAITS)
def test_counts_letters_and_uniqueness(trait: Trait) -> None:
    drawn = choices(trait)
    assert len(drawn) == COUNT[trait]
    assert Counter(choice.positive for choice in drawn) == COUNTS[trait]
    assert (
        len({choice.id for choice in drawn}) == len({choice.text for choice in drawn}) == len(drawn)
    )
    assert {choice.trait for choice in drawn} == {trait}
    assert max(Counter(choice.theme for choice in drawn).values()) == 3
    assert len({choice.theme for choice in drawn}) == 100


def test_texts_differ_even_without_their_numbers() -> None:
    bare = [re.sub(r"\d+", "#", choice.text) for trait in TRAITS for choice in choices(trait)]
    assert len(set(bare)) == len(bare)


def test_risk_has_the_papers_letters() -> None:
    assert COUNTS["risk"] == {"A": 134, "B": 154}


@pytest.mark.parametrize("trait", TRAITS)
def test_no_choice_names_its_trait(trait: Trait) -> None:
    named = {choice.id: naming_words(trait, choice.text) for choice in choices(trait)}
    assert not {name: words for name, words in named.items() if words}


def test_naming_words_are_found() -> None:
    assert naming_words("risk", "A RISKY bet, surely.") == ["RISKY", "bet"]
    assert naming_words("time", "Patience! The farsighted plan ahead.") == [
        "Patience",
        "farsighted",
        "plan",
    ]
    assert naming_words("apples", "I love more apples.") == ["love", "more"]


@pytest.mark.parametrize("trait", TRAITS)
def test_texts_are_whole(trait: Trait) -> None:
    for choice in choices(trait):
        assert not set("{}") & set(choice.text), choice.text
        assert "  " not in choice.text
        assert len(re.findall(r"\b[Aa]pples\b", choice.text)) in (
            (1, 2) if trait == "apples" else (0,)
        )
        assert re.search(r"\bA\b", choice.text)
        assert re.search(r"\bB\b", choice.text)


def test_the_pole_is_where_the_letter_says() -> None:
    for choice in choices("apples"):
        many, few = (
            [int(n) for n in re.findall(r"(\d+) (?:\w+ ){0,2}apples", side)] or [0]
            for side in sides(choice)
        )
        assert many[0] > few[0], choice.text
    late = re.compile("|".join(map(re.escape, BANK["time"]["after"])))
    soon = re.compile("|".join(map(re.escape, BANK["time"]["once"])))
    for choice in choices("time"):
        first, second = sides(choice)
        assert soon.search(first), choice.text
        assert late.search(second), choice.text
        assert int(re.findall(r"\d+", first)[0]) <= int(re.findall(r"\d+", second)[0])
    unsure = re.compile(
        r"half of|\beither|heads|odds|probability|die |likely|four|sealed|nobody|times in ten"
    )
    for choice in choices("risk"):
        first, second = sides(choice)
        assert unsure.search(first), choice.text
        assert not unsure.search(second), choice.text
        assert len(re.findall(r"\d+", second)) == 1


def test_gambles_are_worth_about_the_sure_thing() -> None:
    for gamble in BANK["risk"]["gambles"]:
        for n in BANK["risk"]["amounts"]:
            share, floor = gamble["share"], gamble["floor"]
            high, low = prospect(n, share, floor)
            assert low < n < high
            assert share * high + (1 - share) * low == pytest.approx(n, rel=0.11)


def test_eighteen_risk_situations_are_held_out_three_of_each_word() -> None:
    held_out = [choice for choice in choices("risk") if is_held_out(choice)]
    assert len(held_out) == 18
    for word in HELD_OUT_WORDS:
        assert sum(word in choice.text for choice in held_out) == 3
    # whether words, capitals or parts of words are looked for, it is the same eighteen
    loosely = [
        choice
        for choice in choices("risk")
        if any(word.lower() in choice.text.lower() for word in HELD_OUT_WORDS)
    ]
    assert loosely == held_out


def test_always_the_same_choices() -> None:
    first = choices("time")
    choices.cache_clear()
    assert choices("time") == first
    assert not {choice.text for choice in choices("time")} & {
        choice.text for choice in choices("risk")
    }


def test_an_unknown_trait_is_refused() -> None:
    with pytest.raises(ValueError, match="'wealth', allowed are 'risk', 'time', 'apples'"):
        choices("wealth")  # type: ignore[arg-type]
