"""Questions about two objects (or three), whose answers facts determine but never say.

Gap and distance are crossed: within a kind and axis, every distance occurs equally often at each
gap, so that an accuracy that falls with the gap cannot come from the distance.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from oocr.families.frames.world import House, Thing, paces, turned

QuestionKind = Literal["side", "order", "nearer", "paces"]
"""West or east of (from a moment: left or right)? South or north of (behind or ahead)? Which of two
is nearer to a third? How many paces?"""

Axis = Literal["x", "y"]
AXES: tuple[Axis, Axis] = ("x", "y")

GAPS = ((1, 1), (2, 3), (4, 6), (7, None))
"""Least and largest number of steps between two frames, by bin; co-visible pairs have 0."""


@dataclass(frozen=True, slots=True)
class Question:
    """Where `a` lies, seen from `b`; or, of "nearer", which of `b` and `c` is nearer to `a`.

    Attributes:
        axis: along which side, order and paces are asked ("" of "nearer").
        gap: steps of the walk between the two frames (of "nearer": to the farther one), 0 of
            co-visible objects.
        distance: in paces along the grid (of "nearer": to the nearer object).
        value: the signed offset of `a` from `b`, to the east or the north (from a moment: to the
            right or ahead); of "nearer" the paces by which `c` is farther than `b`. Its sign is
            the answer of all kinds but "paces"; it is never 0.
        moment: whose walker says what is left and ahead; 0: the compass does.
    """

    kind: QuestionKind
    a: Thing
    b: Thing
    axis: Axis | Literal[""]
    gap: int
    distance: int
    value: int
    c: Thing | None = None
    moment: int = 0

    @property
    def id(self) -> str:
        """What is asked, in a few characters."""
        codes = (thing.name.rpartition(" ")[2] for thing in self.things)
        return "/".join([self.kind, self.axis, *codes])

    @property
    def things(self) -> tuple[Thing, ...]:
        """The two or three objects."""
        return (self.a, self.b) if self.c is None else (self.a, self.b, self.c)

    @property
    def disjoint(self) -> bool:
        """Whether no frame shows both."""
        return self.gap > 0

    @property
    def gap_bin(self) -> str:
        """The bin of `GAPS`, in words."""
        return gap_name(self.gap)

    @property
    def turned(self) -> Question:
        """The same pair asked the other way round: the other sign is right."""
        if self.c is not None:
            return replace(self, b=self.c, c=self.b, value=-self.value)
        return replace(self, a=self.b, b=self.a, value=-self.value)


def gap_name(gap: int) -> str:
    """The bin of a gap: "0", "1", "2-3", "4-6", "7+"."""
    for low, high in GAPS:
        if gap >= low and (high is None or gap <= high):
            return f"{low}+" if high is None else f"{low}-{high}" if high > low else str(low)
    return "0"


def questions(
    house: House,
    kind: QuestionKind,
    *,
    disjoint: bool,
    about: Sequence[Thing] | None = None,
    ego: bool = False,
) -> list[Question]:
    """All questions of a kind, one order of each pair.

    `about`: one object at least is of these; `ego`: asked as the walker saw it from the earlier of
    the two frames, not by the compass.
    """
    asked = house.things if about is None else about
    wanted = {thing.name for thing in asked}
    if kind == "nearer":
        return _nearer(house, disjoint, asked)
    axes: tuple[Axis, ...] = AXES if kind == "paces" else ("x",) if kind == "side" else ("y",)
    return [
        question
        for a, b in combinations(house.things, 2)
        if (house.gap(a, b) > 0) is disjoint and {a.name, b.name} & wanted
        for axis in axes
        if (question := pair_question(house, kind, a, b, axis, ego=ego)).value
    ]


def pair_question(
    house: House, kind: QuestionKind, a: Thing, b: Thing, axis: Axis, *, ego: bool = False
) -> Question:
    """Where one object lies along an axis, seen from another."""
    moment = min(a.moment, b.moment) if ego else 0
    x, y = a.x - b.x, a.y - b.y
    if moment:
        x, y = turned(x, y, house.viewpoints[moment - 1].heading)
    value = x if axis == "x" else y
    return Question(kind, a, b, axis, house.gap(a, b), paces(a, b), value, moment=moment)


def _nearer(house: House, disjoint: bool, about: Iterable[Thing]) -> list[Question]:
    """Of two objects at the same gap from a third, so that the gap cannot tell them apart."""
    kept: list[Question] = []
    for a in about:
        for b, c in combinations([thing for thing in house.things if thing != a], 2):
            gap = house.gap(a, b)
            if gap != house.gap(a, c) or (gap > 0) is not disjoint:
                continue
            near, far = paces(a, b), paces(a, c)
            if near != far:
                kept.append(Question("nearer", a, b, "", gap, min(near, far), far - near, c))
    return kept


def crossed(
    asked: Sequence[Question], rng: random.Random, most: int | None = None
) -> list[Question]:
    """So many of the questions that each distance occurs equally often in each bin of the gap.

    Bins without questions are left out; `most`: in each bin at most. Both orders of each are in the
    answer, so that both signs are right equally often in each bin.
    """
    cells: dict[tuple[str, int], list[Question]] = defaultdict(list)
    for question in asked:
        cells[question.gap_bin, question.distance].append(question)
    bins = list(dict.fromkeys(name for name, _ in cells))
    rounds: list[list[Question]] = []  # one question of each bin, all at the same distance
    for distance in sorted({distance for _, distance in cells}):
        columns = [cells[name, distance] for name in bins]
        for column in columns:
            rng.shuffle(column)
        rounds += [list(row) for row in zip(*columns, strict=False)]
    rng.shuffle(rounds)
    kept = [question for row in rounds[:most] for question in row]
    return [ordered for question in kept for ordered in (question, question.turned)]
