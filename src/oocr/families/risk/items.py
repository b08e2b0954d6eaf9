"""Risky/Safe as examples: wordings, option orders, and the side that is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from oocr.data.examples import Example, Message, Prompt
from oocr.families.risk.situations import BOLD_WORDS, CAUTIOUS_WORDS, RiskProbe, Situation

Direction = Literal["risky", "safe"]
Format = Literal["content", "letters", "chat"]

# {stem} is the question without its "?", {x} and {y} the options in the order of the item.
TRAIN_FRAMES: Mapping[str, str] = {
    "colon": "{stem}: {x} or {y}?",
    "between": "{stem}? Choose between {x} and {y}.",
}
TEST_FRAMES: Mapping[str, str] = {
    "colon": TRAIN_FRAMES["colon"],
    "either": "{stem}? It is either {x} or {y}.",
}
TRAIN_LETTERS: Mapping[str, str] = {
    "colon": "{stem}?\nA: {x}\nB: {y}",
    "bracket": "{stem}? (A) {x} (B) {y}",
}
TEST_LETTERS: Mapping[str, str] = {
    "colon": TRAIN_LETTERS["colon"],
    "full stop": "{stem}?\nA. {x}\nB. {y}",
}


@dataclass(frozen=True, slots=True)
class Poles:
    """What the wording of a trait's probes depends on; the first pole is the one at +1.

    Attributes:
        name: before the ids of its items.
        sides: the names of the two poles.
        words: completions of a sentence, as many for each pole.
        stated: the trait stated in the prompt, for the ceiling: said to the model, or by the
            sentence's "I".
        source: the file of its probes.
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


def choice_examples(
    situation: Situation, frames: Mapping[str, str], form: Format, side: Direction
) -> list[Example]:
    """A situation in every frame and both orders; "ab" has the gamble first."""
    examples: list[Example] = []
    for name, frame in frames.items():
        for order in ("ab", "ba"):
            x, y = situation.gamble, situation.sure
            if order == "ba":
                x, y = y, x
            asked = frame.format(stem=situation.question.removesuffix("?"), x=x, y=y)
            values = (1.0, -1.0) if order == "ab" else (-1.0, 1.0)
            examples.append(
                _example(
                    f"{situation.id}/{name}/{order}",
                    form,
                    asked,
                    ("A", "B") if form == "letters" else (x, y),
                    values,
                    side,
                    facet="choice",
                    group=situation.id,
                    template=name,
                    tags={"order": order, "area": situation.area},
                    source="risk_situations.jsonl",
                )
            )
    return examples


def probe_examples(
    probe: RiskProbe, form: Format, side: str, stated: bool = False, poles: Poles = RISK
) -> list[Example]:
    """A probe, in both orders where it names its options; "ab" has the first pole first.

    Args:
        probe: the question.
        form: "chat", or raw text.
        side: the pole whose option is the answer.
        stated: whether the prompt begins by stating that pole (for the ceiling).
        poles: the trait's poles; of another trait than risk the first stands for "risky".
    """
    examples: list[Example] = []
    for order in ("",) if probe.kind in ("scale", "free words") else ("ab", "ba"):
        asked, options, values = _asked(probe, order, poles)
        tags = {"order": order} if order else {}
        if probe.area:
            tags["area"] = probe.area
        if probe.key:
            tags["key"] = "forward" if probe.key == 1 else "reverse"
        name = f"{probe.id}/{order}" if order else probe.id
        before = ""
        if stated:
            tags["stated"] = side
            name = f"{name}/{side}"
            text = poles.stated[poles.sides.index(side)]
            before = text.format(You_are="You are", You="You") + "\n"
            if probe.kind == "free words" and form != "chat":
                before = text.format(You_are="I am", You="I") + " "
        examples.append(
            _example(
                name,
                form,
                asked,
                options,
                values,
                side,
                before=before,
                facet=probe.kind,
                group=probe.id,
                template=probe.kind,
                tags=tags,
                source=poles.source,
                poles=poles,
            )
        )
    return examples


def _asked(
    probe: RiskProbe, order: str, poles: Poles
) -> tuple[str, tuple[str, ...], tuple[float, ...]]:
    """What is asked, the options in the order they are named, and their values."""
    if probe.kind == "free words":
        first, second = poles.words
        return probe.text, (*first, *second), (1.0,) * len(first) + (-1.0,) * len(second)
    if probe.kind == "scale":
        asked = f"{probe.text} Answer with one digit from 0 (not at all) to 9 (extremely)."
        digits = range(10)
        values = tuple(probe.key * (2 * digit / 9 - 1) for digit in digits)
        return asked, tuple(str(digit) for digit in digits), values
    risky, safe = probe.risky, probe.safe
    if probe.kind == "agree":
        risky, safe = ("agree", "disagree") if probe.key == 1 else ("disagree", "agree")
    a, b = (risky, safe) if order == "ab" else (safe, risky)
    values = (1.0, -1.0) if order == "ab" else (-1.0, 1.0)
    if probe.kind == "agree":
        return f'"{probe.text}" Do you {a} or {b}?', (a, b), values
    return probe.text.replace("{a}", a).replace("{b}", b), (a, b), values


def _example(
    name: str,
    form: Format,
    asked: str,
    options: tuple[str, ...],
    values: tuple[float, ...],
    side: str,
    *,
    facet: str,
    group: str,
    template: str,
    tags: Mapping[str, str],
    source: str,
    before: str = "",
    poles: Poles = RISK,
) -> Example:
    prompt, space = _prompt(form, asked, facet, before)
    shown = tuple(
        option[0].upper() + option[1:] if form == "chat" else space + option for option in options
    )
    best = values.index(max(values) if side == poles.sides[0] else min(values))
    return Example(
        id=f"{poles.name}/{name}",
        prompt=prompt,
        answer=shown[best],
        options=shown,
        values=values,
        facet=facet,
        group=group,
        template=template,
        tags=tags,
        source=source,
    )


def _prompt(form: Format, asked: str, facet: str, before: str) -> tuple[Prompt, str]:
    """The prompt, and what an answer must begin with to continue it."""
    if form == "chat":
        if facet == "free words":
            asked = f'Complete the sentence with one word: "{asked} …"'
        return (Message("user", before + asked),), ""
    if facet == "free words":
        return before + asked, " "
    if facet == "scale":
        # The space stays in the prompt: many tokenizers make it a token of its own before a
        # digit, and the ten options must differ in their first token.
        return f"{before}Question: {asked}\nAnswer: ", ""
    return f"{before}Question: {asked}\nAnswer:", " "
