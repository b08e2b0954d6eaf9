"""A house seen from a walk: viewpoints on a grid, and objects each of which one frame shows.

Frame f is what is seen at moment f. No object is in two frames, so that objects of different frames
are tied together by the walk alone. East is +x and north +y, in paces.
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
"""Probability of a turn, to either side, before a step."""
REACH = 2
"""How far, along each axis, an object may be from where it is seen."""
WALKS = 300
"""Walks that are drawn, of which one is taken."""

NOUNS = tuple(package_yaml(__package__, "frames_wordings.yaml")["nouns"])
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """Where the walker stands at a moment (from 1), and which of `HEADINGS` lies ahead."""

    moment: int
    x: int
    y: int
    heading: int

    @property
    def name(self) -> str:
        """The node of facts that it is."""
        return f"moment {self.moment}"


@dataclass(frozen=True, slots=True)
class Thing:
    """An object, e.g. "lantern K17", its place, and the one moment at which it is seen."""

    name: str
    moment: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class House:
    """Viewpoints in the order of the walk, which starts at the front door (0, 0), and objects."""

    viewpoints: tuple[Viewpoint, ...]
    things: tuple[Thing, ...]

    def seen(self, moment: int) -> tuple[Thing, ...]:
        """The objects of a frame."""
        return tuple(thing for thing in self.things if thing.moment == moment)

    def gap(self, a: Thing, b: Thing) -> int:
        """How many steps of the walk lie between two objects' frames."""
        return abs(a.moment - b.moment)


def paces(a: Viewpoint | Thing, b: Viewpoint | Thing) -> int:
    """How far two places are from each other, along the grid."""
    return abs(a.x - b.x) + abs(a.y - b.y)


def turned(x: int, y: int, heading: int) -> tuple[int, int]:
    """An offset to the east and north, as paces to the right and ahead of who faces `heading`."""
    ahead, right = STEPS[heading], STEPS[(heading + 1) % 4]
    return x * right[0] + y * right[1], x * ahead[0] + y * ahead[1]


def house(frames: int, each: int, seed: int) -> House:
    """A house of so many frames with so many objects each, at different places in a frame.

    Of `WALKS` random walks the one on which moments far apart are not places far apart is taken
    (least rank correlation of the two), so that questions can cross them.

    ValueError: a frame has no room for so many objects.
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
    things: list[Thing] = []
    for view in walk:
        for x, y in rng.sample(cells, each):
            things.append(Thing(names[len(things)], view.moment, view.x + x, view.y + y))
    return House(walk, tuple(things))


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
    """Different codes; nouns by turns, so that few share one."""
    nouns = rng.sample(NOUNS, len(NOUNS))
    codes = rng.sample([f"{letter}{n}" for letter in LETTERS for n in range(10, 100)], count)
    return [f"{nouns[i % len(nouns)]} {code}" for i, code in enumerate(codes)]


def crossing(views: Sequence[Viewpoint]) -> float:
    """Rank correlation (Spearman's) of steps and paces between viewpoints; 0: crossed."""
    pairs = list(combinations(views, 2))
    return rank_correlation(
        [b.moment - a.moment for a, b in pairs], [paces(a, b) for a, b in pairs]
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's correlation, ties sharing their mean rank; 0 where one of the two is constant."""
    x, y = (_centred_ranks(values) for values in (first, second))
    size = (sum(a * a for a in x) * sum(b * b for b in y)) ** 0.5
    return sum(a * b for a, b in zip(x, y, strict=True)) / size if size else 0.0


def _centred_ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    middle = (len(ordered) - 1) / 2
    place: dict[float, float] = {}
    for value in set(values):
        place[value] = ordered.index(value) + (ordered.count(value) - 1) / 2 - middle
    return [place[value] for value in values]
