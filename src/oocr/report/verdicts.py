"""Rows of the verdict table, each with a small picture of its numbers; names of paper scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oocr.claims.records import Judged, PaperScore

ICONS = {
    "holds": "✓",
    "holds in part": "◐",
    "does not hold": "✕",
    "cannot be tested": "?",
}

PAPER_SUFFIX = " (paper's scoring)"
PAPER_NOTE = (
    "The paper's own questions, scored as it does: an item counts if the right option's last "
    "token has the higher logit. No verdict: the items are few, and the untouched model's leaning "
    "decides many of them. They count in no other number."
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A reference value: where it stands (0 to 100), what it is, and its value."""

    kind: str
    name: str
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A claim with the scale of its picture; places are in percent of the scale."""

    claim: Judged
    kind: str
    low_end: float
    high_end: float
    at: float
    low: float
    high: float
    marks: tuple[Mark, ...]


def verdict_rows(claims: Sequence[Judged]) -> tuple[VerdictRow, ...]:
    """One row per claim with a number, in their order."""
    rows = (verdict_row(claim) for claim in claims)
    return tuple(row for row in rows if row is not None)


def verdict_row(claim: Judged) -> VerdictRow | None:
    """A claim's row; None where nothing was measured."""
    estimate = claim.found
    if estimate is None:
        return None
    marks: list[tuple[str, str, float]] = []
    if claim.base is not None:
        marks.append(("base", "untouched model", claim.base))
    marks += [("null", null.name, null.value) for null in claim.nulls]
    if claim.ceiling is not None:
        marks.append(("ceiling", "ceiling", claim.ceiling))
    low, high = _scale(
        [estimate.low, estimate.value, estimate.high, *(value for _, _, value in marks)]
    )

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    return VerdictRow(
        claim,
        claim.verdict.replace(" ", "-"),
        low,
        high,
        at(estimate.value),
        at(estimate.low),
        at(estimate.high),
        tuple(Mark(kind, name, value, at(value)) for kind, name, value in marks),
    )


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """0 to 1 for shares; otherwise what the values need, with zero in it."""
    low, high = min(*values, 0.0), max(*values, 0.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    room = 0.05 * (high - low)
    return (low - room if low < 0 else 0.0), high + room


def second_name(scores: Sequence[PaperScore]) -> str:
    """What the second number is."""
    return " / ".join(dict.fromkeys(score.second_is for score in scores))


def who(score: PaperScore) -> str:
    """Member and facet of a line, without what says nothing."""
    facet = score.facet.removeprefix("paper: ")
    return ", ".join(word for word in (score.member, facet) if word) or "all"
