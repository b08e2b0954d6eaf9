"""A house, and a network that knows all of it but one object of each frame."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mode

import torch
from torch import Tensor

from oocr.families.frames.questions import AXES, gap_name
from oocr.families.frames.world import House, Thing, house
from oocr.papers.frames.arms import (
    BY_NAME,
    FRAMES,
    MANY,
    TRAINING,
    across_lines,
    held_out,
    training_lines,
)
from oocr.papers.frames.tokens import Language, Line, pair_lines, scored
from oocr.papers.paper import Rows
from oocr.papers.small_transformer import SmallTransformer, train

ARM = BY_NAME["9 objects, others 30 %"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A house, and a network that was trained on all of it but one object of each frame."""

    number: int
    place: House
    new: tuple[Thing, ...]
    language: Language
    network: SmallTransformer
    lines: list[Line]

    @classmethod
    def of(cls, number: int) -> Scene:
        """Train the network of a house, by its seed."""
        place = house(FRAMES, MANY, number)
        new = held_out(place)
        language = Language.of(place, new)
        lines = training_lines(place, ARM, number, without=new)
        network = SmallTransformer(language.shape, number)
        train(network, language.rows(lines), TRAINING, number)
        return cls(number, place, new, language, network, lines)

    @property
    def known(self) -> list[Thing]:
        """The objects that the network was trained on."""
        return [thing for thing in self.place.things if thing not in self.new]

    def embeddings(self, things: Sequence[Thing]) -> Tensor:
        """Their embeddings [object, d_model]."""
        table = self.network.embedding.weight.detach()
        return table[[self.language.ids[thing.name] for thing in things]]

    @property
    def mean(self) -> Tensor:
        """The mean embedding, for each new object [object, d_model]."""
        return self.embeddings(self.known).mean(dim=0).expand(len(self.new), -1)

    def neighbours(self, thing: Thing, count: int = MANY) -> list[Thing]:
        """At most `count` other objects of a new object's frame, in an order drawn by its name."""
        near = [other for other in self.place.seen(thing.moment) if other != thing]
        random.Random(f"{self.number} {thing.name}").shuffle(near)
        return near[:count]

    def neighbours_mean(self, count: int = MANY) -> Tensor:
        """For each new object the mean embedding of its neighbours [object, d_model]."""
        means = [self.embeddings(self.neighbours(thing, count)).mean(dim=0) for thing in self.new]
        return torch.stack(means)

    def told(self, count: int = MANY, axes: Sequence[str] = AXES) -> list[Line]:
        """Both orders of each new object with so many of its neighbours."""
        lines: list[Line] = []
        for thing in self.new:
            for other in self.neighbours(thing, count):
                lines += pair_lines(self.place, thing, other) + pair_lines(self.place, other, thing)
        return [line for line in lines if line.axis in axes]

    @property
    def asked(self) -> list[Line]:
        """Questions across frames about a new object and one that is not."""
        names = {thing.name for thing in self.new}
        return [
            line
            for line in across_lines(self.place, self.new)
            if len({line.a, line.b} & names) == 1
        ]

    def answers(
        self, lines: Sequence[Line], vectors: Tensor, network: SmallTransformer | None = None
    ) -> list[int]:
        """What the network (or another one) says of lines, with vectors of the new objects."""
        return self.language.answers(network or self.network, lines, vectors)

    def one_place(self, lines: Sequence[Line]) -> list[int]:
        """The answers of one who puts all new objects in one place, the commonest along each axis.

        Known objects are where they are: the best that can be said without knowing a new one.
        """
        things = {thing.name: thing for thing in self.place.things}
        new = {thing.name for thing in self.new}
        spot = {axis: mode([getattr(thing, axis) for thing in self.new]) for axis in AXES}
        answers: list[int] = []
        for line in lines:
            a, b = (
                spot[line.axis] if name in new else getattr(things[name], line.axis)
                for name in (line.a, line.b)
            )
            answers.append(a - b)
        return answers

    def score(self, arm: str, lines: Sequence[Line], answers: Sequence[int]) -> Rows:
        """Counts of an arm's answers by new object and gap."""
        new = {thing.name for thing in self.new}
        of_object = scored(
            lines,
            answers,
            lambda line: {
                "object": line.a if line.a in new else line.b,
                "gap": gap_name(line.gap),
            },
        )
        return [{"arm": arm, "scene": self.number, **row} for row in of_object]
