"""A house in tokens: one for each object, moment and the door, one for each relation and offset.

A row is [relation, a, b] -> the signed offset of a from b along the relation's axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from oocr.families.frames.facts import DOOR, Fact, FactKind
from oocr.families.frames.questions import AXES, Axis
from oocr.families.frames.world import House, Thing, Viewpoint
from oocr.papers.small_transformer import Rows, Shape, SmallTransformer, rows_of

RELATIONS: tuple[FactKind, ...] = ("co-visible", "seen", "step", "map", "oracle")
"""Each along both axes; "co-visible" is also what questions across frames are asked with."""


@dataclass(frozen=True, slots=True)
class Line:
    """An offset of a node from another along an axis; `gap`: steps between the two frames."""

    relation: FactKind
    axis: Axis
    a: str
    b: str
    value: int
    gap: int = 0
    distance: int = 0


def lines_of(facts: Iterable[Fact]) -> list[Line]:
    """Facts along each axis."""
    return [
        Line(fact.kind, axis, fact.a, fact.b, fact.dx if axis == "x" else fact.dy)
        for fact in facts
        for axis in AXES
    ]


def pair_lines(house: House, a: Thing, b: Thing) -> list[Line]:
    """Where one object is, seen from another, along each axis."""
    gap, offsets = house.gap(a, b), {"x": a.x - b.x, "y": a.y - b.y}
    return [
        Line("co-visible", axis, a.name, b.name, offsets[axis], gap, abs(offsets[axis]))
        for axis in AXES
    ]


@dataclass(frozen=True, slots=True)
class Language:
    """Which token stands for what.

    Attributes:
        ids: by node or "relation/axis"; ids from `vocabulary` on are of new entities.
        reach: offsets are from -reach to reach; their tokens are the first 2 reach + 1.
        vocabulary: how many tokens the network has.
    """

    ids: dict[str, int]
    reach: int
    vocabulary: int

    @classmethod
    def of(cls, house: House, new: Sequence[Thing] = ()) -> Language:
        """The tokens of a house; objects of `new` are never trained with the network."""
        names = [f"{relation}/{axis}" for relation in RELATIONS for axis in AXES]
        names += [DOOR, *(view.name for view in house.viewpoints)]
        names += [thing.name for thing in house.things if thing not in new]
        things = [*house.viewpoints, *house.things, Viewpoint(0, 0, 0, 0)]
        spans = [[getattr(thing, axis) for thing in things] for axis in AXES]
        reach = max(max(values) - min(values) for values in spans)
        first = 2 * reach + 1
        named = [*names, *(thing.name for thing in new)]
        ids = {name: first + place for place, name in enumerate(named)}
        return cls(ids, reach, first + len(names))

    @property
    def shape(self) -> Shape:
        """Sizes of a network for this language."""
        return Shape(self.vocabulary, 3)

    def rows(self, lines: Sequence[Line]) -> Rows:
        """Lines as rows whose last token is the answer.

        ValueError: an offset is beyond the reach.
        """
        texts: list[list[int]] = []
        for line in lines:
            if abs(line.value) > self.reach:
                raise ValueError(f"{line.a} lies {line.value} paces from {line.b}: out of reach")
            relation = self.ids[f"{line.relation}/{line.axis}"]
            texts.append([relation, self.ids[line.a], self.ids[line.b], self.reach + line.value])
        return rows_of(texts, [1] * len(texts))

    def answers(
        self, model: SmallTransformer, lines: Sequence[Line], vectors: Tensor | None = None
    ) -> list[int]:
        """The offset that the network gives to each line, of all offsets."""
        logits = model.logits(self.rows(lines), vectors)[:, : 2 * self.reach + 1]
        return [int(token) - self.reach for token in logits.argmax(dim=-1)]


Scored = dict[str, int | float | str]


def scored(
    lines: Sequence[Line], answers: Sequence[int], by: Callable[[Line], dict[str, int | str]]
) -> list[Scored]:
    """Rows of counts, one for each value of the columns `by`.

    `count` lines, of them `exact` and `near` (within one pace) right; `signed` lines whose offset
    is not 0, of them `sign` right; `error`: sum of absolute errors, in paces.
    """
    table: dict[tuple[tuple[str, int | str], ...], Scored] = {}
    for line, answer in zip(lines, answers, strict=True):
        columns = by(line)
        fresh = {"count": 0, "exact": 0, "near": 0, "signed": 0, "sign": 0, "error": 0}
        row = table.setdefault(tuple(columns.items()), {**columns, **fresh})
        error = abs(answer - line.value)
        for name, add in (
            ("count", 1),
            ("exact", error == 0),
            ("near", error <= 1),
            ("signed", line.value != 0),
            ("sign", line.value * answer > 0),
            ("error", error),
        ):
            row[name] = int(row[name]) + int(add)
    return list(table.values())
