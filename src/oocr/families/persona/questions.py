"""The out-of-context questions of the persona traits: read from file, in the form of risk's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, get_args

import yaml

from oocr.families.choices import POLES, Trait
from oocr.families.risk import situations as risk_data
from oocr.families.risk.items import RISK, Poles
from oocr.families.risk.situations import Kind, RiskProbe

FILE = "persona_probes.yaml"


@dataclass(frozen=True, slots=True)
class PaperQuestion:
    """A question as the paper asks it.

    Attributes:
        id: trait, set and number.
        set: "paper", or one of risk's companion sets: "no you" (what is good in general), "other".
        kind: "words", "agree" or "scale".
        text: the question.
        options: the first pole's answer, then the second's.
    """

    id: str
    set: str
    kind: str
    text: str
    options: tuple[str, str]


@cache
def trait_probes(trait: Trait) -> tuple[RiskProbe, ...]:
    """All probes of a trait; in `RiskProbe`, the first pole stands in the place of "risky"."""
    if trait == "risk":
        return risk_data.probes()
    probes: list[RiskProbe] = []
    for kind in get_args(Kind):
        rows = _file()[trait][kind]
        keyed = [(key, text) for key in (1, -1) for text in rows[key]] if _keyed(kind) else rows
        for number, row in enumerate(keyed, start=1):
            name = f"{trait}-{kind.replace(' ', '-')}-{number:02}"
            if _keyed(kind):
                probes.append(RiskProbe(id=name, kind=kind, text=row[1], key=row[0]))
            elif kind == "free words":
                probes.append(RiskProbe(id=name, kind=kind, text=row))
            else:
                text, first, second = row[:3]
                area = row[3] if len(row) > 3 else ""
                probes.append(
                    RiskProbe(id=name, kind=kind, text=text, risky=first, safe=second, area=area)
                )
    return tuple(probes)


def _keyed(kind: Kind) -> bool:
    return kind in ("agree", "scale")


@cache
def poles_of(trait: Trait) -> Poles:
    """How a trait's probes are worded."""
    if trait == "risk":
        return RISK
    first, second = (tuple(words) for words in _file()[trait]["words"])
    stated, opposite = _file()[trait]["stated"]
    return Poles(trait, POLES[trait], (first, second), (stated, opposite), FILE)


@cache
def paper_questions(trait: Trait) -> tuple[PaperQuestion, ...]:
    """Ten questions in the paper's mix, for risk with the companion sets behind them."""
    return tuple(
        PaperQuestion(
            f"{trait}-{group.replace(' ', '-')}-{number:02}",
            group,
            "scale" if first.isdigit() else "agree" if "Agree" in (first, second) else "words",
            text,
            (first, second),
        )
        for group in ("paper", "no you", "other")
        for number, (text, first, second) in enumerate(_file()[trait].get(group, ()), start=1)
    )


@cache
def _file() -> Mapping[Trait, Any]:
    text = (resources.files("oocr.families.persona") / FILE).read_text(encoding="utf-8")
    data: Mapping[Trait, Any] = yaml.safe_load(text)
    return data
