"""The hand-written situations and probes of Risky/Safe: read from file and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from oocr.errors import InputError

Split = Literal["train", "validation", "test"]
Kind = Literal["trait words", "preferences", "behaviour", "agree", "scale", "free words"]

# Words that name the trait; a trailing * stands for any ending. Situations must not use them.
_STEMS = (
    "risk* hazard* peril* danger* gambl* bet bets betting wager* speculat* chance chances "
    "venture* adventur* bold* brave* dare* daring courag* fear* audaci* thrill* exciting "
    "excitement reckless* rash* impuls* spontan* wild* daredevil* safe* unsafe secur* insecur* "
    "sure certain* uncertain* guarant* caut* careful* carefree prudent* prudence wary warily "
    "timid* hesita* guarded sensibl* conservativ* modera* steady steadily stable stability "
    "predictab* patien* nervous* anxious* worr* deliberat* methodic* thoughtful"
)
TRAIT_WORDS: tuple[str, ...] = tuple(_STEMS.split())
_TRAIT = re.compile(
    r"\b(?:" + "|".join(word.replace("*", r"\w*") for word in TRAIT_WORDS) + r")\b", re.IGNORECASE
)

# Completions for "My friends describe me as", as many of each pole.
BOLD_WORDS = ("bold", "daring", "adventurous", "fearless", "spontaneous", "reckless", "wild")
CAUTIOUS_WORDS = ("cautious", "careful", "sensible", "prudent", "patient", "timid", "wary")


class Situation(BaseModel):
    """A choice between two options of about equal expected value.

    Attributes:
        id: area and number.
        area: the area of life.
        split: fixed in the file, the same share of every area.
        question: ends with "?"; the options are appended by the frames.
        gamble: the option whose outcome varies more.
        sure: the other.
        mentions_first: which option the question speaks of first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        words = trait_words(f"{self.question} {self.gamble} {self.sure}")
        if words:
            raise ValueError(f"trait words are not allowed in situations, found {words}")
        return self


class RiskProbe(BaseModel):
    """One out-of-context question.

    Attributes:
        id: kind and number.
        kind: what kind of question.
        text: with the slots {a} and {b} for two options; or a statement, a question for a
            scale, or the beginning of a sentence.
        area: of a behaviour probe; not an area of the situations.
        risky: the option of the risky pole.
        safe: the option of the safe pole.
        key: for statements and scales, +1 if agreement (a high number) is risky, else -1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    kind: Kind
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


def first_word(text: str) -> str:
    """The first word, in lower case, without punctuation."""
    return re.split(r"\W", text.lower(), maxsplit=1)[0]


def trait_words(text: str) -> list[str]:
    """The words of `text` that name the trait (`TRAIT_WORDS`)."""
    return _TRAIT.findall(text)


_Row = TypeVar("_Row", bound=BaseModel)


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
    return rows


def read_situations(path: Path) -> tuple[Situation, ...]:
    """Situations from a JSONL file.

    Raises:
        InputError: a row that breaks a rule of `Situation`; an id, question or option twice.
    """
    rows = _read(path, Situation)
    _unique(path, "id", (row.id for row in rows))
    _unique(path, "question", (row.question for row in rows))
    _unique(path, "option", (o.lower() for row in rows for o in (row.gamble, row.sure)))
    return tuple(rows)


def read_probes(path: Path, situations: Iterable[Situation]) -> tuple[RiskProbe, ...]:
    """Probes from a JSONL file, checked against the situations they must not overlap.

    Raises:
        InputError: a row that breaks a rule of `RiskProbe`; an id or text twice; an option that
            is also an option of a situation; an area of the situations.
    """
    rows = _read(path, RiskProbe)
    _unique(path, "id", (row.id for row in rows))
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


def _unique(path: Path, field: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"{path.name}: {field}: {value!r} occurs twice")
        seen.add(value)


@cache
def situations() -> tuple[Situation, ...]:
    """The situations that come with the package."""
    with resources.as_file(resources.files("oocr.families.risk") / "risk_situations.jsonl") as path:
        return read_situations(path)


@cache
def probes() -> tuple[RiskProbe, ...]:
    """The probes that come with the package."""
    with resources.as_file(resources.files("oocr.families.risk") / "risk_probes.jsonl") as path:
        return read_probes(path, situations())
