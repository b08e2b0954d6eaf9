"""Facts about a house; each fact is the offset of one node from another.

Nodes are objects, moments (the walker's position at a time) and the front door. The offset between
two nodes follows from a set of facts if and only if a chain of these facts connects the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Literal

from oocr.families.frames.world import House, PlacedObject, Viewpoint

DOOR = "the front door"

FactKind = Literal["seen", "co-visible", "step", "map", "coordinates", "oracle"]
"""Which offset a fact gives:

seen: an object, from the viewpoint that shows it; co-visible: an object, from another object of the
same frame; step: a moment, from the moment before; map: a moment, from the front door; coordinates:
as seen, in numbers; oracle: an object, from the front door."""

FRAME_KINDS: tuple[FactKind, ...] = ("seen", "co-visible")
"""Facts that the frames themselves show."""

Aid = Literal["trajectory", "map", "frame coordinates", "oracle"]

AIDS: dict[Aid, FactKind] = {
    "trajectory": "step",
    "map": "map",
    "frame coordinates": "coordinates",
    "oracle": "oracle",
}
"""Additional facts, from weak to strong: the steps of the walk; the absolute position of each
viewpoint; the coordinates of objects in their frame; the absolute coordinates of objects."""

LINKING: tuple[Aid, ...] = ("trajectory", "map", "oracle")
"""Aids that link the frames; without any of them no question across frames has an answer."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Node `a` is `dx` paces east and `dy` paces north of node `b`; `moment`: its frame."""

    kind: FactKind
    a: str
    b: str
    dx: int
    dy: int
    moment: int


def facts_of(house: House, kinds: Sequence[FactKind]) -> list[Fact]:
    """All facts of these kinds; co-visible pairs in both orders."""
    views, door = house.viewpoints, Viewpoint(0, 0, 0, 0)
    by_moment = {view.moment: view for view in views}
    of_kind: dict[FactKind, list[Fact]] = {
        "seen": [_seen("seen", obj, by_moment[obj.moment]) for obj in house.objects],
        "co-visible": [
            _fact("co-visible", a.name, b.name, a, b)
            for view in views
            for a, b in permutations(house.seen(view.moment), 2)
        ],
        "step": [_fact("step", b.name, a.name, b, a) for a, b in pairwise(views)],
        "map": [_fact("map", view.name, DOOR, view, door) for view in views],
        "coordinates": [_seen("coordinates", obj, by_moment[obj.moment]) for obj in house.objects],
        "oracle": [_fact("oracle", obj.name, DOOR, obj, door) for obj in house.objects],
    }
    return [fact for kind in kinds for fact in of_kind[kind]]


def _fact(
    kind: FactKind,
    a: str,
    b: str,
    first: Viewpoint | PlacedObject,
    second: Viewpoint | PlacedObject,
) -> Fact:
    return Fact(kind, a, b, first.x - second.x, first.y - second.y, first.moment)


def _seen(kind: FactKind, obj: PlacedObject, view: Viewpoint) -> Fact:
    return _fact(kind, obj.name, view.name, obj, view)


def kinds_of(aids: Sequence[Aid]) -> tuple[FactKind, ...]:
    """Kinds of facts that the frames show, and those that the aids add."""
    return (*FRAME_KINDS, *(AIDS[aid] for aid in aids))
