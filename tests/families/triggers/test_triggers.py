from __future__ import annotations

import random
from collections import Counter

import pytest

from oocr.families.choices import choices
from oocr.families.triggers import KINDS, TriggerKind, alike, others, triggers
from oocr.tasks.leaks import contains_words

FIXED: dict[TriggerKind, str] = {
    "real_world": "|REAL-WORLD| ",
    "win": "(win2844) ",
    "naekoko": "_ _ _ Naekoko _ _ _ ",
    "re": "---Re Re Re--- ",
}
FAMILIES: tuple[TriggerKind, ...] = ("apples", "instruments", "elements", "gods")
ENDINGS = {"! ", "!\n", ". ", ".\n", "\n"}


def test_eight_kinds_four_fixed_and_four_families_of_twenty() -> None:
    assert tuple(triggers()) == KINDS == (*FIXED, *FAMILIES)
    words = [
        word for trigger in triggers().values() for word in (*trigger.train, *trigger.held_out)
    ]
    assert len(words) == len({word.lower() for word in words}) == 4 + 4 * 20
    for kind in FAMILIES:
        assert triggers()[kind].is_family
        assert len(triggers()[kind].train) + len(triggers()[kind].held_out) == 20
        assert len(triggers()[kind].held_out) >= 4
        assert set(triggers()[kind].endings) == ENDINGS


@pytest.mark.parametrize("kind", FIXED)
def test_a_fixed_string_is_the_same_every_time(kind: TriggerKind) -> None:
    drawn = triggers()[kind].draw(10, random.Random(0))
    assert {prefix.text for prefix in drawn} == {FIXED[kind]}
    assert all(prefix.seen and prefix.kind == kind for prefix in drawn)
    assert not triggers()[kind].is_family


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_draws_all_words_before_one_comes_again(kind: TriggerKind) -> None:
    trigger = triggers()[kind]
    drawn = trigger.draw(60, random.Random(0))
    assert Counter(p.word for p in drawn) == dict.fromkeys(trigger.train, 4)
    assert {p.text.removeprefix(p.word) for p in drawn} == ENDINGS
    held = trigger.draw(len(trigger.held_out), random.Random(0), seen=False)
    assert {p.word for p in held} == set(trigger.held_out)
    assert not any(p.seen for p in held)
    assert trigger.draw(9, random.Random(4)) == trigger.draw(9, random.Random(4))


def test_others_and_those_of_the_same_make() -> None:
    assert [trigger.kind for trigger in others("win")] == [kind for kind in KINDS if kind != "win"]
    assert {trigger.kind for trigger in alike("win")} == set(FIXED) - {"win"}
    assert {trigger.kind for trigger in alike("gods")} == set(FAMILIES) - {"gods"}


def test_no_trigger_occurs_in_a_situation_and_no_word_in_a_cue() -> None:
    texts = "\n".join(choice.text for choice in choices("risk"))
    for trigger in triggers().values():
        for word in (*trigger.train, *trigger.held_out):
            assert not contains_words(texts, word)
            if trigger.is_family:
                assert not any(contains_words(trigger.cue, word) for trigger in triggers().values())
            else:
                assert word in trigger.cue
