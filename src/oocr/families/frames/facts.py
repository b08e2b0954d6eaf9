"""What can be said of a house: every fact is the offset of one node from another.

Nodes are objects, moments (where the walker stood), and the front door. What facts determine is
therefore plain: the offset between two nodes follows exactly if a chain of facts connects them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Literal

from oocr.families.frames.world import House, Thing, Viewpoint

DOOR = "the front door"

FactKind = Literal["seen", "co-visible", "step", "map", "coordinates", "oracle"]
"""Object from where it was seen; object from object of its frame; moment from the one before;
moment from the front door; object from where it was seen, in numbers; object from the door."""

FRAME_KINDS: tuple[FactKind, ...] = ("seen", "co-visible")
"""What frames themselves show."""

Aid = Literal["trajectory", "map", "frame coordinates", "oracle"]

AIDS: dict[Aid, FactKind] = {
    "trajectory": "step",
    "map": "map",
    "frame coordinates": "coordinates",
    "oracle": "oracle",
}
"""Further facts, as a ladder: all steps of the walk; the absolute place of each viewpoint; objects'
coordinates in their own frame; objects' absolute coordinates."""

LINKING: tuple[Aid, ...] = ("trajectory", "map", "oracle")
"""Aids any of which ties frames together; without one, no question across frames has an answer."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Node `a` lies `dx` paces east and `dy` north of node `b`; `moment`: of the frame."""

    kind: FactKind
    a: str
    b: str
    dx: int
    dy: int
    moment: int


def facts_of(house: House, kinds: Sequence[FactKind]) -> list[Fact]:
    """All facts of these kinds, co-visible ones of both orders."""
    views, door = house.viewpoints, Viewpoint(0, 0, 0, 0)
    by_moment = {view.moment: view for view in views}
    of_kind: dict[FactKind, list[Fact]] = {
        "seen": [_seen("seen", thing, by_moment[thing.moment]) for thing in house.things],
        "co-visible": [
            _fact("co-visible", a.name, b.name, a, b)
            for view in views
            for a, b in permutations(house.seen(view.moment), 2)
        ],
        "step": [_fact("step", b.name, a.name, b, a) for a, b in pairwise(views)],
        "map": [_fact("map", view.name, DOOR, view, door) for view in views],
        "coordinates": [
            _seen("coordinates", thing, by_moment[thing.moment]) for thing in house.things
        ],
        "oracle": [_fact("oracle", thing.name, DOOR, thing, door) for thing in house.things],
    }
    return [fact for kind in kinds for fact in of_kind[kind]]


def _fact(
    kind: FactKind, a: str, b: str, first: Viewpoint | Thing, second: Viewpoint | Thing
) -> Fact:
    return Fact(kind, a, b, first.x - second.x, first.y - second.y, first.moment)


def _seen(kind: FactKind, thing: Thing, view: Viewpoint) -> Fact:
    return _fact(kind, thing.name, view.name, thing, view)


def kinds_of(aids: Sequence[Aid]) -> tuple[FactKind, ...]:
    """What frames show, and what these aids add."""
    return (*FRAME_KINDS, *(AIDS[aid] for aid in aids))
