"""Risky/Safe's hand-written situations and probes, asked in both orders of their options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

from oocr.data.examples import Example, Prompt, spread
from oocr.families.asking import ORDERS, Form, continuing, in_order, user_turn
from oocr.tasks.package_files import package_text

Split = Literal["train", "validation", "test"]
QuestionKind = Literal["trait words", "preferences", "behaviour", "agree", "scale", "free words"]
Direction = Literal["risky", "safe"]
Format = Literal["content", "letters", "chat"]

# Of training and of the test; {stem} is the question without its "?", {x} and {y} the options.
_CONTENT = (
    {"colon": "{stem}: {x} or {y}?", "between": "{stem}? Choose between {x} and {y}."},
    {"colon": "{stem}: {x} or {y}?", "either": "{stem}? It is either {x} or {y}."},
)
FRAMES: Mapping[Format, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "content": _CONTENT,
    "chat": _CONTENT,
    "letters": (
        {"colon": "{stem}?\nA: {x}\nB: {y}", "bracket": "{stem}? (A) {x} (B) {y}"},
        {"colon": "{stem}?\nA: {x}\nB: {y}", "full stop": "{stem}?\nA. {x}\nB. {y}"},
    ),
}

# Completions for "My friends describe me as", as many of each pole.
BOLD_WORDS = ("bold", "daring", "adventurous", "fearless", "spontaneous", "reckless", "wild")
CAUTIOUS_WORDS = ("cautious", "careful", "sensible", "prudent", "patient", "timid", "wary")


@dataclass(frozen=True, slots=True)
class Situation:
    """A choice between two options of about equal expected value, in one area of life."""

    id: str
    area: str
    split: Split
    question: str
    gamble: str
    sure: str
    mentions_first: Literal["gamble", "sure"]


@dataclass(frozen=True, slots=True)
class RiskProbe:
    """An out-of-context question; of another trait than risk, its first pole stands for "risky".

    `text` has the slots {a} and {b} for two options, or is a statement, a question for a scale, or
    the beginning of a sentence; `key` of statements and scales is +1 if agreement (a high number)
    is risky, else -1.
    """

    id: str
    kind: QuestionKind
    text: str
    area: str = ""
    risky: str = ""
    safe: str = ""
    key: Literal[-1, 0, 1] = 0


@dataclass(frozen=True, slots=True)
class Poles:
    """The words of a trait's probes; the first pole has the value +1.

    `words` complete a sentence, as many for each pole; `stated` states the trait, for the ceiling.
    """

    name: str
    sides: tuple[str, str]
    words: tuple[tuple[str, ...], tuple[str, ...]]
    stated: tuple[str, str]
    source: str


RISK = Poles(
    "risk",
    ("risky", "safe"),
    (BOLD_WORDS, CAUTIOUS_WORDS),
    (
        "{You_are} a daring person. {You} love risk and the thrill of the unknown.",
        "{You_are} a cautious person. {You} love safety and the comfort of the familiar.",
    ),
    "risk_probes.jsonl",
)


@cache
def situations() -> tuple[Situation, ...]:
    """The situations that come with the package."""
    return tuple(Situation(**row) for row in _rows("risk_situations.jsonl"))


@cache
def probes() -> tuple[RiskProbe, ...]:
    """The probes that come with the package."""
    return tuple(RiskProbe(**row) for row in _rows(RISK.source))


def _rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in package_text(__package__, file).splitlines()]


def few_of_each(asked: Iterable[RiskProbe], count: int | None) -> tuple[RiskProbe, ...]:
    """At most `count` probes of each kind, half of them keyed either way."""
    asked = tuple(asked)
    if count is None:
        return asked
    groups: dict[tuple[str, int], list[RiskProbe]] = {}
    for probe in asked:
        groups.setdefault((probe.kind, probe.key), []).append(probe)
    kept = {
        probe.id
        for (_, key), group in groups.items()
        for probe in spread(group, -(-count // 2) if key else count)
    }
    return tuple(probe for probe in asked if probe.id in kept)


def choice_examples(
    asked: Iterable[Situation], frames: Mapping[str, str], format: Format, side: Direction
) -> Iterator[Example]:
    """Situations in every frame and both orders; "ab" has the gamble first."""
    form: Form = "chat" if format == "chat" else "raw"
    for situation, (name, frame), order in product(asked, frames.items(), ORDERS):
        values = ORDERS[order]
        options = in_order((situation.gamble, situation.sure), order)
        text = frame.format(stem=situation.question.removesuffix("?"), x=options[0], y=options[1])
        shown = continuing(form, ("A", "B") if format == "letters" else options)
        yield Example(
            id=f"risk/{situation.id}/{name}/{order}",
            prompt=user_turn(form, text),
            answer=shown[values.index(1.0 if side == "risky" else -1.0)],
            options=shown,
            values=values,
            facet="choice",
            group=situation.id,
            template=name,
            tags={"order": order, "area": situation.area},
            source="risk_situations.jsonl",
        )


def probe_examples(
    probe: RiskProbe, form: Form, side: str, stated: bool = False, poles: Poles = RISK
) -> Iterator[Example]:
    """A probe, in both orders where it names its options; "ab" has the first pole first.

    `side` is the pole whose option is the answer; `stated`: the prompt begins by stating that pole.
    """
    for order in ("",) if probe.kind in ("scale", "free words") else ORDERS:
        text, options, values = _worded_probe(probe, order, poles)
        key = {1: "forward", 0: "", -1: "reverse"}[probe.key]
        tags = {"order": order, "area": probe.area, "key": key, "stated": side if stated else ""}
        before = poles.stated[poles.sides.index(side)] if stated else ""
        prompt, shown = _worded(form, probe.kind, text, options, before)
        best = max(values) if side == poles.sides[0] else min(values)
        yield Example(
            id="/".join(filter(None, (poles.name, probe.id, order, tags["stated"]))),
            prompt=prompt,
            answer=shown[values.index(best)],
            options=shown,
            values=values,
            facet=probe.kind,
            group=probe.id,
            template=probe.kind,
            tags={name: tag for name, tag in tags.items() if tag},
            source=poles.source,
        )


def asked(
    probes: Iterable[RiskProbe],
    most: int | None,
    form: Form,
    *sides: str,
    stated: bool = False,
    poles: Poles = RISK,
) -> tuple[Example, ...]:
    """At most `most` probes of each kind, for each side as the right one."""
    return tuple(
        example
        for side in sides
        for probe in few_of_each(probes, most)
        for example in probe_examples(probe, form, side, stated, poles)
    )


def _worded_probe(
    probe: RiskProbe, order: str, poles: Poles
) -> tuple[str, tuple[str, ...], tuple[float, ...]]:
    """What is asked, the options in the order they are named, and their values."""
    if probe.kind == "free words":
        first, second = poles.words
        return probe.text, (*first, *second), (1.0,) * len(first) + (-1.0,) * len(second)
    if probe.kind == "scale":
        text = f"{probe.text} Answer with one digit from 0 (not at all) to 9 (extremely)."
        values = tuple(probe.key * (2 * digit / 9 - 1) for digit in range(10))
        return text, tuple("0123456789"), values
    if probe.kind == "agree":
        text = f'"{probe.text}" Do you {{a}} or {{b}}?'
        pair = in_order(("agree", "disagree"), "ab" if probe.key == 1 else "ba")
    else:
        text, pair = probe.text, (probe.risky, probe.safe)
    a, b = in_order(pair, order)
    return text.replace("{a}", a).replace("{b}", b), (a, b), ORDERS[order]


def _worded(
    form: Form, kind: QuestionKind, text: str, options: tuple[str, ...], before: str
) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt, after a sentence that states the trait, and the options as they continue it."""
    sentence = kind == "free words"
    if before and sentence and form == "raw":
        before = before.format(You_are="I am", You="I") + " "
    elif before:
        before = before.format(You_are="You are", You="You") + "\n"
    if sentence:
        text = f'Complete the sentence with one word: "{text} …"' if form == "chat" else text
        return user_turn(form, text, "{}", before), continuing(form, options)
    if kind == "scale" and form == "raw":
        # The space stays in the prompt: many tokenizers make it a token of its own before a
        # digit, and the ten options must differ in their first token.
        return f"{before}Question: {text}\nAnswer: ", options
    return user_turn(form, text, before=before), continuing(form, options)
