"""Questions about two or three objects. Their answers follow from the facts; no fact states them.

Gap and distance are crossed factors: within a kind and an axis, each distance occurs equally often
at each gap. So if accuracy falls with the gap, the distance cannot be the reason.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from oocr.families.frames.world import House, PlacedObject, paces, rotated

QuestionKind = Literal["side", "order", "nearer", "paces"]
"""side: west or east (left or right of the walker); order: south or north (behind or ahead);
nearer: which of two objects is nearer to a third; paces: the number of paces along an axis."""

Axis = Literal["x", "y"]
AXES: tuple[Axis, Axis] = ("x", "y")

GAPS = ((1, 1), (2, 3), (4, 6), (7, None))
"""Bins of the number of steps between two frames (least, largest); co-visible pairs have 0."""


@dataclass(frozen=True, slots=True)
class Question:
    """The position of `a` relative to `b`; for "nearer": which of `b` and `c` is nearer to `a`.

    Attributes:
        axis: axis of "side", "order" and "paces"; "" for "nearer".
        gap: steps of the walk between the frames of the objects; 0 if they are co-visible.
        distance: paces along the grid; for "nearer" to the nearer object.
        value: signed offset of `a` from `b`, positive to the east or north (for the walker: right
            or ahead); for "nearer" the paces by which `c` is farther than `b`. Its sign is the
            answer of all kinds except "paces"; it is never 0.
        moment: moment of the walker whose left, right, … are meant; 0: the compass.
    """

    kind: QuestionKind
    a: PlacedObject
    b: PlacedObject
    axis: Axis | Literal[""]
    gap: int
    distance: int
    value: int
    c: PlacedObject | None = None
    moment: int = 0

    @property
    def id(self) -> str:
        """Kind, axis and the codes of the objects: "side/x/K17/B40"."""
        codes = (obj.name.rpartition(" ")[2] for obj in self.objects)
        return "/".join([self.kind, self.axis, *codes])

    @property
    def objects(self) -> tuple[PlacedObject, ...]:
        """The two or three objects."""
        return (self.a, self.b) if self.c is None else (self.a, self.b, self.c)

    @property
    def disjoint(self) -> bool:
        """Whether no frame shows both objects."""
        return self.gap > 0

    @property
    def gap_bin(self) -> str:
        """The name of the bin (see `gap_name`)."""
        return gap_name(self.gap)

    @property
    def reversed(self) -> Question:
        """The same pair in the other order; the answer has the other sign."""
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
    about: Sequence[PlacedObject] | None = None,
    ego: bool = False,
) -> list[Question]:
    """All questions of a kind; of each pair only one order.

    `disjoint`: across frames, else co-visible; `about`: at least one object of each question is
    among these; `ego`: in the walker's directions at the earlier frame, not the compass's.
    """
    subjects = house.objects if about is None else about
    wanted = {obj.name for obj in subjects}
    if kind == "nearer":
        return _nearer(house, disjoint, subjects)
    axes: tuple[Axis, ...] = AXES if kind == "paces" else ("x",) if kind == "side" else ("y",)
    return [
        question
        for a, b in combinations(house.objects, 2)
        if (house.gap(a, b) > 0) is disjoint and {a.name, b.name} & wanted
        for axis in axes
        if (question := pair_question(house, kind, a, b, axis, ego=ego)).value
    ]


def pair_question(
    house: House,
    kind: QuestionKind,
    a: PlacedObject,
    b: PlacedObject,
    axis: Axis,
    *,
    ego: bool = False,
) -> Question:
    """The question for the offset of `a` from `b` along an axis."""
    moment = min(a.moment, b.moment) if ego else 0
    x, y = a.x - b.x, a.y - b.y
    if moment:
        x, y = rotated(x, y, house.viewpoints[moment - 1].heading)
    value = x if axis == "x" else y
    return Question(kind, a, b, axis, house.gap(a, b), paces(a, b), value, moment=moment)


def _nearer(house: House, disjoint: bool, about: Iterable[PlacedObject]) -> list[Question]:
    """The two objects compared have the same gap to the third, so that the gap gives no answer."""
    selected: list[Question] = []
    for a in about:
        for b, c in combinations([obj for obj in house.objects if obj != a], 2):
            gap = house.gap(a, b)
            if gap != house.gap(a, c) or (gap > 0) is not disjoint:
                continue
            near, far = paces(a, b), paces(a, c)
            if near != far:
                selected.append(Question("nearer", a, b, "", gap, min(near, far), far - near, c))
    return selected


def crossed(
    candidates: Sequence[Question], rng: random.Random, most: int | None = None
) -> list[Question]:
    """A subset in which each distance occurs equally often in each bin of the gap.

    Bins without questions are ignored; `most`: largest number of questions from each bin. Each
    question is returned in both orders, so that both signs are right equally often in each bin.
    """
    cells: dict[tuple[str, int], list[Question]] = defaultdict(list)
    for question in candidates:
        cells[question.gap_bin, question.distance].append(question)
    bins = list(dict.fromkeys(name for name, _ in cells))
    rounds: list[list[Question]] = []  # one question of each bin, all at the same distance
    for distance in sorted({distance for _, distance in cells}):
        columns = [cells[name, distance] for name in bins]
        for column in columns:
            rng.shuffle(column)
        rounds += [list(row) for row in zip(*columns, strict=False)]
    rng.shuffle(rounds)
    selected = [question for row in rounds[:most] for question in row]
    return [ordered for question in selected for ordered in (question, question.reversed)]
