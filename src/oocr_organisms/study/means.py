"""Means over members (cities or backdoors), of several organisms each, with intervals.

Intervals are over members, organisms averaged within: a member means the same in every organism of
a world, so that its values in two of them are not independent. They say nothing of how other
organisms would differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Generic, TypeVar

from oocr import stats
from oocr_organisms.study.study import Organism
from oocr_organisms.study.table import Cell

T = TypeVar("T")

INTERVALS = (
    "n: members × organisms. Intervals (95 %) are over members, organisms averaged within: of "
    f"fewer than {stats.FEW} members Student's, of fewer than {stats.FEWEST} none."
)


@dataclass(frozen=True, slots=True)
class Of(Generic[T]):
    """Something that was found, and where.

    Attributes:
        member: city or backdoor, with its world's seed.
        organism: its number in the study.
        value: what was found.
    """

    member: str
    organism: int
    value: T


def mean(some: Iterable[Of[T]], number: Callable[[T], float | None]) -> Cell:
    """Mean over members of the mean over organisms of the mean over what there is of both.

    Without an interval where members are few; "–" where there is no number at all.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for one in some:
        value = number(one.value)
        if value is not None:
            found.setdefault(one.member, {}).setdefault(one.organism, []).append(value)
    means = [fmean(fmean(values) for values in each.values()) for each in found.values()]
    if not means:
        return "–"
    return stats.mean_interval(means) if len(means) >= stats.FEWEST else fmean(means)


def count(some: Sequence[Of[T]]) -> str:
    """How many members and organisms: "12 × 4"."""
    return f"{len({one.member for one in some})} × {len({one.organism for one in some})}"


def by_world(organisms: Sequence[Organism]) -> dict[str, list[Organism]]:
    """Gated and ungated organisms, those that there are."""
    halves = {
        "gated": [one for one in organisms if one.gates],
        "ungated": [one for one in organisms if not one.gates],
    }
    return {name: some for name, some in halves.items() if some}
