"""Prompts with the answers of each arm, the expected answer found in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oocr.charts.arms import Arm
from oocr.report.runs import Run

SHOWN_AT_FIRST = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """One arm's continuation, cut where the expected answer stands in it ("" where it doesn't)."""

    arm: Arm
    before: str
    marked: str
    after: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One prompt and its answers; `more`: behind a fold."""

    member: str
    prompt: str
    expected: str
    answers: tuple[Answer, ...]
    more: bool


def shown_examples(run: Run) -> tuple[Shown, ...]:
    """All examples, different members first."""
    seen: dict[str, int] = {}
    turns = []
    for place, example in enumerate(run.examples):
        turn = seen.get(example.member, 0)
        seen[example.member] = turn + 1
        turns.append((turn, place, example))
    return tuple(
        Shown(
            example.member,
            example.prompt,
            example.expected.strip(),
            tuple(
                _answer(arm, text, example.expected.strip())
                for arm, text in _ordered(example.answers)
            ),
            more=shown >= SHOWN_AT_FIRST,
        )
        for shown, (_, _, example) in enumerate(sorted(turns, key=lambda one: one[:2]))
    )


def _ordered(answers: dict[str, str]) -> list[tuple[Arm, str]]:
    """The untouched model before everything else."""
    pairs = [(Arm(name), text) for name, text in answers.items()]
    return sorted(pairs, key=lambda pair: (pair[0].name != "base", pair[0].order))


def _answer(arm: Arm, text: str, expected: str) -> Answer:
    text = re.sub(r"\s*\n\s*", " ⏎ ", text.strip())
    place = text.lower().find(expected.lower()) if expected else -1
    if place < 0 or len(text.lower()) != len(text):  # some letters change length with their case
        return Answer(arm, text, "", "")
    end = place + len(expected)
    return Answer(arm, text[:place], text[place:end], text[end:])
