"""A claim's small picture: its number, interval and references on one scale; names of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oocr.claims.records import Judged, PaperScore

ICONS = {"holds": "✓", "holds in part": "◐", "does not hold": "✕", "cannot be tested": "?"}


@dataclass(frozen=True, slots=True)
class Mark:
    """A reference value: its kind (base, null, ceiling), its name, and its place on the scale."""

    kind: str
    name: str
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class Scale:
    """The picture of a claim: its scale's ends, and places on it in percent."""

    low_end: float
    high_end: float
    at: float
    low: float
    high: float
    marks: tuple[Mark, ...]


def scale_of(claim: Judged) -> Scale | None:
    """A claim's picture; None where nothing was measured.

    The scale is 0 to 1 for shares; otherwise what the values need, with zero in it.
    """
    estimate = claim.found
    if estimate is None:
        return None
    references = [
        ("base", "untouched model", claim.base),
        *(("null", null.name, null.value) for null in claim.nulls),
        ("ceiling", "ceiling", claim.ceiling),
    ]
    marks = [(kind, name, value) for kind, name, value in references if value is not None]
    values = [estimate.low, estimate.value, estimate.high, *(value for *_, value in marks)]
    low, high = min(*values, 0.0), max(*values, 0.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    else:
        padding = 0.05 * (high - low)
        low, high = (low - padding if low < 0 else 0.0), high + padding

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    placed = tuple(Mark(kind, name, value, at(value)) for kind, name, value in marks)
    return Scale(low, high, at(estimate.value), at(estimate.low), at(estimate.high), placed)


def second_name(scores: Sequence[PaperScore]) -> str:
    """What the second number is."""
    return " / ".join(dict.fromkeys(score.second_is for score in scores))


def who(score: PaperScore) -> str:
    """Member and facet of a line, without what says nothing."""
    facet = score.facet.removeprefix("paper: ")
    return ", ".join(word for word in (score.member, facet) if word) or "all"
