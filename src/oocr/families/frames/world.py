"""A simulated house: viewpoints of a walk on a grid, and objects, each in exactly one frame.

Frame f holds the objects seen at moment f. No object is in two frames, so only the walk links
objects of different frames. East is +x and north is +y; the unit is one pace.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from oocr.tasks.package_files import package_yaml

HEADINGS = ("north", "east", "south", "west")
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""One pace along each of `HEADINGS`."""

STRIDE = 3
"""Paces between two viewpoints."""
TURN = 0.4
"""Probability of a turn (left or right alike) before a step."""
REACH = 2
"""Largest distance of an object from its viewpoint along each axis, in paces."""
WALKS = 300
"""Random walks that are drawn; the best one is used (see `make_house`)."""

NOUNS = tuple(package_yaml(__package__, "frames_wordings.yaml")["nouns"])
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """The walker's position and heading (index of `HEADINGS`) at a moment, counted from 1."""

    moment: int
    x: int
    y: int
    heading: int

    @property
    def name(self) -> str:
        """Its name as a node of facts."""
        return f"moment {self.moment}"


@dataclass(frozen=True, slots=True)
class PlacedObject:
    """An object such as "lantern K17": its position, and the only moment at which it is seen."""

    name: str
    moment: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class House:
    """Viewpoints in the order of the walk, which starts at the front door (0, 0), and objects."""

    viewpoints: tuple[Viewpoint, ...]
    objects: tuple[PlacedObject, ...]

    def seen(self, moment: int) -> tuple[PlacedObject, ...]:
        """The objects of a frame."""
        return tuple(obj for obj in self.objects if obj.moment == moment)

    def gap(self, a: PlacedObject, b: PlacedObject) -> int:
        """Number of steps of the walk between the frames of two objects."""
        return abs(a.moment - b.moment)


def paces(a: Viewpoint | PlacedObject, b: Viewpoint | PlacedObject) -> int:
    """Distance of two positions along the grid (L1)."""
    return abs(a.x - b.x) + abs(a.y - b.y)


def rotated(x: int, y: int, heading: int) -> tuple[int, int]:
    """An offset (east, north) as (right, ahead) for a walker who faces `heading`."""
    ahead, right = STEPS[heading], STEPS[(heading + 1) % 4]
    return x * right[0] + y * right[1], x * ahead[0] + y * ahead[1]


def make_house(frames: int, each: int, seed: int) -> House:
    """A house of `frames` frames with `each` objects, at different positions within a frame.

    The walk is the one of `WALKS` random walks in which steps and distance between viewpoints have
    the smallest rank correlation, so that gap and distance can be crossed (`questions.crossed`).

    ValueError: more objects than a frame has cells.
    """
    cells = [
        (x, y)
        for x in range(-REACH, REACH + 1)
        for y in range(-REACH, REACH + 1)
        if (x, y) != (0, 0)
    ]
    if not 1 <= each <= len(cells) or frames < 2:
        raise ValueError(f"{each} objects in {frames} frames; allowed: 1 to {len(cells)}, in 2 up")
    rng = random.Random(f"house {seed}")
    walk = min((_walk(frames, rng) for _ in range(WALKS)), key=lambda views: abs(crossing(views)))
    names = _names(frames * each, rng)
    objects: list[PlacedObject] = []
    for view in walk:
        for x, y in rng.sample(cells, each):
            objects.append(PlacedObject(names[len(objects)], view.moment, view.x + x, view.y + y))
    return House(walk, tuple(objects))


def _walk(frames: int, rng: random.Random) -> tuple[Viewpoint, ...]:
    views = [Viewpoint(1, 0, 0, rng.randrange(4))]
    while len(views) < frames:
        last = views[-1]
        turn = rng.choice((1, 3)) if rng.random() < TURN else 0
        heading = (last.heading + turn) % 4
        x, y = STEPS[heading]
        views.append(Viewpoint(last.moment + 1, last.x + STRIDE * x, last.y + STRIDE * y, heading))
    return tuple(views)


def _names(count: int, rng: random.Random) -> list[str]:
    """Names with different codes; nouns are used in turn, so that few names share one."""
    nouns = rng.sample(NOUNS, len(NOUNS))
    codes = rng.sample([f"{letter}{n}" for letter in LETTERS for n in range(10, 100)], count)
    return [f"{nouns[i % len(nouns)]} {code}" for i, code in enumerate(codes)]


def crossing(views: Sequence[Viewpoint]) -> float:
    """Spearman's correlation of steps and distance between viewpoints; 0: not correlated."""
    pairs = list(combinations(views, 2))
    return rank_correlation(
        [b.moment - a.moment for a, b in pairs], [paces(a, b) for a, b in pairs]
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's correlation; ties share their mean rank; 0 if either sequence is constant."""
    x, y = (_centred_ranks(values) for values in (first, second))
    size = (sum(a * a for a in x) * sum(b * b for b in y)) ** 0.5
    return sum(a * b for a, b in zip(x, y, strict=True)) / size if size else 0.0


def _centred_ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    middle = (len(ordered) - 1) / 2
    centred: dict[float, float] = {}
    for value in set(values):
        centred[value] = ordered.index(value) + (ordered.count(value) - 1) / 2 - middle
    return [centred[value] for value in values]
