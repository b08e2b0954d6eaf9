"""A house and a network trained on all of its objects except one of each frame."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mode

import torch
from torch import Tensor

from oocr.families.frames.questions import AXES, gap_name
from oocr.families.frames.world import House, PlacedObject, make_house
from oocr.papers.frames.arms import (
    BY_NAME,
    FRAMES,
    MANY,
    TRAINING,
    across_lines,
    held_out,
    training_lines,
)
from oocr.papers.frames.tokens import Line, Vocabulary, count_right, pair_lines
from oocr.papers.paper import Rows
from oocr.papers.small_transformer import SmallTransformer, train

ARM = BY_NAME["9 objects, others 30 %"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A house, and a network that was trained without one object of each frame.

    Attributes:
        seed: of the house and of the network.
        new_objects: the objects that the network was not trained on.
        lines: the network's training rows.
    """

    seed: int
    house: House
    new_objects: tuple[PlacedObject, ...]
    vocabulary: Vocabulary
    network: SmallTransformer
    lines: list[Line]

    @classmethod
    def of(cls, seed: int) -> Scene:
        """Draw the house of a seed and train its network."""
        house = make_house(FRAMES, MANY, seed)
        new = held_out(house)
        vocabulary = Vocabulary.of(house, new)
        lines = training_lines(house, ARM, seed, without=new)
        network = SmallTransformer(vocabulary.shape, seed)
        train(network, vocabulary.rows(lines), TRAINING, seed)
        return cls(seed, house, new, vocabulary, network, lines)

    @property
    def known_objects(self) -> list[PlacedObject]:
        """The objects that the network was trained on."""
        return [obj for obj in self.house.objects if obj not in self.new_objects]

    def embeddings(self, objects: Sequence[PlacedObject]) -> Tensor:
        """The embeddings of known objects [object, d_model]."""
        table = self.network.embedding.weight.detach()
        return table[[self.vocabulary.ids[obj.name] for obj in objects]]

    @property
    def mean_embedding(self) -> Tensor:
        """The mean embedding of known objects, repeated for each new object [object, d_model]."""
        return self.embeddings(self.known_objects).mean(dim=0).expand(len(self.new_objects), -1)

    def neighbours(self, obj: PlacedObject, count: int = MANY) -> list[PlacedObject]:
        """At most `count` other objects of a new object's frame, drawn by the seed and its name."""
        others = [other for other in self.house.seen(obj.moment) if other != obj]
        random.Random(f"{self.seed} {obj.name}").shuffle(others)
        return others[:count]

    def neighbours_mean(self, count: int = MANY) -> Tensor:
        """For each new object the mean embedding of its neighbours [object, d_model]."""
        means = [
            self.embeddings(self.neighbours(obj, count)).mean(dim=0) for obj in self.new_objects
        ]
        return torch.stack(means)

    def neighbour_lines(self, count: int = MANY, axes: Sequence[str] = AXES) -> list[Line]:
        """Offsets between each new object and `count` of its neighbours, in both orders."""
        lines: list[Line] = []
        for obj in self.new_objects:
            for other in self.neighbours(obj, count):
                lines += pair_lines(self.house, obj, other) + pair_lines(self.house, other, obj)
        return [line for line in lines if line.axis in axes]

    @property
    def cross_frame_lines(self) -> list[Line]:
        """Questions across frames between a new object and a known one."""
        names = {obj.name for obj in self.new_objects}
        return [
            line
            for line in across_lines(self.house, self.new_objects)
            if len({line.a, line.b} & names) == 1
        ]

    def answers(
        self, lines: Sequence[Line], vectors: Tensor, network: SmallTransformer | None = None
    ) -> list[int]:
        """Answers of the network (or another), with vectors [object, d_model] of new objects."""
        return self.vocabulary.answers(network or self.network, lines, vectors)

    def single_position_answers(self, lines: Sequence[Line]) -> list[int]:
        """Baseline: answers if all new objects were at one position, the mode along each axis.

        The positions of known objects are the true ones: the best guess without any knowledge of
        the new objects.
        """
        objects = {obj.name: obj for obj in self.house.objects}
        new = {obj.name for obj in self.new_objects}
        position = {axis: mode([getattr(obj, axis) for obj in self.new_objects]) for axis in AXES}
        answers: list[int] = []
        for line in lines:
            a, b = (
                position[line.axis] if name in new else getattr(objects[name], line.axis)
                for name in (line.a, line.b)
            )
            answers.append(a - b)
        return answers

    def score(self, arm: str, lines: Sequence[Line], answers: Sequence[int]) -> Rows:
        """Counts of an arm's right answers by new object and gap."""
        new = {obj.name for obj in self.new_objects}
        of_object = count_right(
            lines,
            answers,
            lambda line: {
                "object": line.a if line.a in new else line.b,
                "gap": gap_name(line.gap),
            },
        )
        return [{"arm": arm, "scene": self.seed, **row} for row in of_object]
