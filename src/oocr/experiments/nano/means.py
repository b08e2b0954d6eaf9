"""Means over members (cities or backdoors), of several organisms each, with intervals.

The bootstrap draws members, then organisms within each: a member means the same in every organism
of a world, so that its values in two organisms are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import polars as pl

from oocr import stats
from oocr.experiments.nano.study import Organism
from oocr.experiments.nano.table import Cell

T = TypeVar("T")

LEAST = 3
"""Members that an interval needs: of fewer a bootstrap says next to nothing."""

INTERVALS = (
    f"n: members × organisms. Intervals (95 %) draw members, then organisms; of fewer than {LEAST} "
    "members there is none."
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
    found = [(one, number(one.value)) for one in some]
    rows = [(one.member, one.organism, value) for one, value in found if value is not None]
    if not rows:
        return "–"
    # Organisms are numbered within their member: all members of a world have the same ones.
    of = {member: sorted({o for m, o, _ in rows if m == member}) for member, _, _ in rows}
    frame = pl.DataFrame(
        {
            "member": [member for member, _, _ in rows],
            "seed": [of[member].index(organism) for member, organism, _ in rows],
            "facet": [""] * len(rows),
            "value": [value for _, _, value in rows],
        }
    )
    cells = stats.cells(frame, "value", balance=None)
    return stats.estimate(cells) if len(of) >= LEAST else stats.mean(cells)


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
