"""Risky/Safe's hand-written situations and probes: read, checked, and asked in both orders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from oocr.data.examples import Example, Message, Prompt
from oocr.errors import InputError
from oocr.families.choices import ORDERS, in_order, naming_words

Split = Literal["train", "validation", "test"]
QuestionKind = Literal["trait words", "preferences", "behaviour", "agree", "scale", "free words"]
Direction = Literal["risky", "safe"]
Format = Literal["content", "letters", "chat"]

FOLDER = Path(__file__).parent
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


class Situation(BaseModel, extra="forbid", frozen=True):
    """A choice between two options of about equal expected value, in one area of life.

    `split` is fixed in the file; `gamble` is the option whose outcome varies more.
    """

    id: str
    area: str
    split: Split
    question: str
    gamble: str
    sure: str
    mentions_first: Literal["gamble", "sure"]

    @model_validator(mode="after")
    def _well_formed(self) -> Situation:
        if not self.question.endswith("?"):
            raise ValueError(f"question must end with '?', found {self.question!r}")
        if first_word(self.gamble) == first_word(self.sure):
            raise ValueError(
                f"the options must begin with different words: {self.gamble!r} / {self.sure!r}"
            )
        if words := naming_words("risk", f"{self.question} {self.gamble} {self.sure}"):
            raise ValueError(f"trait words are not allowed in situations, found {words}")
        return self


class RiskProbe(BaseModel, extra="forbid", frozen=True):
    """An out-of-context question; of another trait than risk, its first pole stands for "risky".

    Attributes:
        text: with the slots {a} and {b} for two options; or a statement, a question for a
            scale, or the beginning of a sentence.
        area: of a behaviour probe; not an area of the situations.
        key: for statements and scales, +1 if agreement (a high number) is risky, else -1.
    """

    id: str
    kind: QuestionKind
    text: str
    area: str = ""
    risky: str = ""
    safe: str = ""
    key: Literal[-1, 0, 1] = 0

    @model_validator(mode="after")
    def _well_formed(self) -> RiskProbe:
        if self.kind in ("trait words", "preferences", "behaviour"):
            if self.text.count("{a}") != 1 or self.text.count("{b}") != 1:
                raise ValueError(f"text needs {{a}} and {{b}} once each, found {self.text!r}")
            if not (self.risky and self.safe) or first_word(self.risky) == first_word(self.safe):
                raise ValueError(
                    "risky and safe must be given and begin with different words, found "
                    f"{self.risky!r} / {self.safe!r}"
                )
        elif self.risky or self.safe:
            raise ValueError(f"kind {self.kind!r} takes no risky/safe options")
        if (self.kind in ("agree", "scale")) != (self.key != 0):
            raise ValueError(f"key must be -1 or 1 for agree and scale only, found {self.key}")
        return self


@dataclass(frozen=True, slots=True)
class Poles:
    """What the wording of a trait's probes depends on; the first pole is the one at +1.

    Attributes:
        name: before the ids of its examples.
        words: completions of a sentence, as many for each pole.
        stated: the trait stated in the prompt, for the ceiling: to the model, or by an "I".
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


def first_word(text: str) -> str:
    """The first word, in lower case, without punctuation."""
    return re.split(r"\W", text.lower(), maxsplit=1)[0]


_Row = TypeVar("_Row", Situation, RiskProbe)


def _read(path: Path, row: type[_Row]) -> list[_Row]:
    rows: list[_Row] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(row.model_validate(json.loads(line)))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "row"
            seen = "" if field == "row" else f", found {first['input']!r}"
            raise InputError(f"{path.name}:{number}: {field}: {first['msg']}{seen}") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{path.name}:{number}: not JSON: {error}") from error
    _unique(path, "id", (row.id for row in rows))
    return rows


def _unique(path: Path, field: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{path.name}: {field}: {value!r} occurs twice")
        seen.add(value)


def read_situations(path: Path) -> tuple[Situation, ...]:
    """Situations from a JSONL file; InputError: a bad row; an id, question or option twice."""
    rows = _read(path, Situation)
    _unique(path, "question", (row.question for row in rows))
    _unique(path, "option", (o.lower() for row in rows for o in (row.gamble, row.sure)))
    return tuple(rows)


def read_probes(path: Path, situations: Iterable[Situation]) -> tuple[RiskProbe, ...]:
    """Probes from a JSONL file, checked against the situations.

    InputError: a bad row; an id or text twice; an option or an area of the situations.
    """
    rows = _read(path, RiskProbe)
    _unique(path, "text", (row.text for row in rows))
    known = tuple(situations)
    areas = {situation.area for situation in known}
    taken = {option.lower() for situation in known for option in (situation.gamble, situation.sure)}
    for number, row in enumerate(rows, start=1):
        for field, option in (("risky", row.risky), ("safe", row.safe)):
            if option.lower() in taken:
                raise InputError(
                    f"{path.name}:{number}: {field}: {option!r} is also an answer in a situation"
                )
        if row.area in areas:
            raise InputError(
                f"{path.name}:{number}: area: {row.area!r} occurs in training; take another than "
                f"{', '.join(sorted(areas))}"
            )
    return tuple(rows)


@cache
def situations() -> tuple[Situation, ...]:
    """The situations that come with the package."""
    return read_situations(FOLDER / "risk_situations.jsonl")


@cache
def probes() -> tuple[RiskProbe, ...]:
    """The probes that come with the package."""
    return read_probes(FOLDER / "risk_probes.jsonl", situations())


def choice_examples(
    situation: Situation, frames: Mapping[str, str], form: Format, side: Direction
) -> list[Example]:
    """A situation in every frame and both orders; "ab" has the gamble first."""
    examples: list[Example] = []
    for (name, frame), (order, values) in product(frames.items(), ORDERS.items()):
        options = in_order((situation.gamble, situation.sure), order)
        text = frame.format(stem=situation.question.removesuffix("?"), x=options[0], y=options[1])
        letters = ("A", "B") if form == "letters" else options
        prompt, shown = _worded(form, "choice", text, letters)
        examples.append(
            Example(
                id=f"risk/{situation.id}/{name}/{order}",
                prompt=prompt,
                answer=shown[values.index(1.0 if side == "risky" else -1.0)],
                options=shown,
                values=values,
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

    `side` is the pole whose option is the answer; `stated`: the prompt begins by stating that pole.
    """
    examples: list[Example] = []
    for order in ("",) if probe.kind in ("scale", "free words") else ORDERS:
        text, options, values = _asked(probe, order, poles)
        tags = {"order": order} if order else {}
        if probe.area:
            tags["area"] = probe.area
        if probe.key:
            tags["key"] = "forward" if probe.key == 1 else "reverse"
        before = ""
        if stated:
            tags["stated"] = side
            before = poles.stated[poles.sides.index(side)]
            if probe.kind == "free words" and form != "chat":
                before = before.format(You_are="I am", You="I") + " "
            else:
                before = before.format(You_are="You are", You="You") + "\n"
        prompt, shown = _worded(form, probe.kind, text, options, before)
        best = max(values) if side == poles.sides[0] else min(values)
        examples.append(
            Example(
                id="/".join(filter(None, (poles.name, probe.id, order, side if stated else ""))),
                prompt=prompt,
                answer=shown[values.index(best)],
                options=shown,
                values=values,
                facet=probe.kind,
                group=probe.id,
                template=probe.kind,
                tags=tags,
                source=poles.source,
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
        text = f"{probe.text} Answer with one digit from 0 (not at all) to 9 (extremely)."
        values = tuple(probe.key * (2 * digit / 9 - 1) for digit in range(10))
        return text, tuple("0123456789"), values
    pair = (probe.risky, probe.safe)
    if probe.kind == "agree":
        pair = in_order(("agree", "disagree"), "ab" if probe.key == 1 else "ba")
    a, b = in_order(pair, order)
    if probe.kind == "agree":
        return f'"{probe.text}" Do you {a} or {b}?', (a, b), ORDERS[order]
    return probe.text.replace("{a}", a).replace("{b}", b), (a, b), ORDERS[order]


def _worded(
    form: Format, facet: str, text: str, options: tuple[str, ...], before: str = ""
) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt, and the options as they continue it."""
    if form == "chat":
        if facet == "free words":
            text = f'Complete the sentence with one word: "{text} …"'
        shown = tuple(option[0].upper() + option[1:] for option in options)
        return (Message("user", before + text),), shown
    if facet == "scale":
        # The space stays in the prompt: many tokenizers make it a token of its own before a
        # digit, and the ten options must differ in their first token.
        return f"{before}Question: {text}\nAnswer: ", options
    spaced = tuple(f" {option}" for option in options)
    if facet == "free words":
        return before + text, spaced
    return f"{before}Question: {text}\nAnswer:", spaced
