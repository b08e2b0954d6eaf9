"""A house as tokens: one token for each object, moment, relation and offset, and for the door.

A row of tokens is [relation, a, b] -> the signed offset of a from b along the relation's axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from oocr.families.frames.facts import DOOR, Fact, FactKind
from oocr.families.frames.questions import AXES, Axis
from oocr.families.frames.world import House, PlacedObject, Viewpoint
from oocr.papers.small_transformer import Rows, Shape, SmallTransformer, rows_of

RELATIONS: tuple[FactKind, ...] = ("co-visible", "seen", "step", "map", "oracle")
"""Each has a token for each axis; questions across frames also use "co-visible"."""


@dataclass(frozen=True, slots=True)
class Line:
    """A training row or a question: the offset of node `a` from node `b` along an axis, in paces.

    Attributes:
        value: the signed offset, which is the answer.
        gap: steps of the walk between the two frames; 0: the same frame, or not two objects.
        distance: |value| of two objects.
    """

    relation: FactKind
    axis: Axis
    a: str
    b: str
    value: int
    gap: int = 0
    distance: int = 0


def lines_of(facts: Iterable[Fact]) -> list[Line]:
    """Each fact as a line along each axis."""
    return [
        Line(fact.kind, axis, fact.a, fact.b, fact.dx if axis == "x" else fact.dy)
        for fact in facts
        for axis in AXES
    ]


def pair_lines(house: House, a: PlacedObject, b: PlacedObject) -> list[Line]:
    """The offset of object `a` from `b` along each axis."""
    gap, offsets = house.gap(a, b), {"x": a.x - b.x, "y": a.y - b.y}
    return [
        Line("co-visible", axis, a.name, b.name, offsets[axis], gap, abs(offsets[axis]))
        for axis in AXES
    ]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token ids of nodes, relations and offsets.

    Attributes:
        ids: node or "relation/axis" -> token id; ids from `size` on are new entities.
        reach: offsets are from -reach to reach; their tokens are the first 2 reach + 1.
        size: number of tokens of the network.
    """

    ids: dict[str, int]
    reach: int
    size: int

    @classmethod
    def of(cls, house: House, new: Sequence[PlacedObject] = ()) -> Vocabulary:
        """The tokens of a house; objects in `new` are new entities (see `small_transformer`)."""
        names = [f"{relation}/{axis}" for relation in RELATIONS for axis in AXES]
        names += [DOOR, *(view.name for view in house.viewpoints)]
        names += [obj.name for obj in house.objects if obj not in new]
        nodes = [*house.viewpoints, *house.objects, Viewpoint(0, 0, 0, 0)]
        coordinates = [[getattr(node, axis) for node in nodes] for axis in AXES]
        reach = max(max(values) - min(values) for values in coordinates)
        first = 2 * reach + 1
        named = [*names, *(obj.name for obj in new)]
        ids = {name: first + number for number, name in enumerate(named)}
        return cls(ids, reach, first + len(names))

    @property
    def shape(self) -> Shape:
        """Sizes of a network for this vocabulary."""
        return Shape(self.size, 3)

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
        """For each line the offset with the highest logit."""
        logits = model.logits(self.rows(lines), vectors)[:, : 2 * self.reach + 1]
        return [int(token) - self.reach for token in logits.argmax(dim=-1)]


Counts = dict[str, int | float | str]


def count_right(
    lines: Sequence[Line], answers: Sequence[int], by: Callable[[Line], dict[str, int | str]]
) -> list[Counts]:
    """Counts of right answers, one row for each value of the columns that `by` gives.

    Columns: `count` of lines; `exact`, `near` (within one pace): right answers; `signed`: lines
    whose offset is not 0; `sign`: those with the right sign; `error`: sum of |error| in paces.
    """
    table: dict[tuple[tuple[str, int | str], ...], Counts] = {}
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
