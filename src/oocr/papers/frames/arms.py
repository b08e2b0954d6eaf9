"""Networks trained on different facts about a house: which of them answer across frames?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from oocr.families.frames.facts import FactKind, facts_of
from oocr.families.frames.questions import gap_name
from oocr.families.frames.world import House, PlacedObject, make_house
from oocr.papers.frames.probe import positions_of, r2, ridge
from oocr.papers.frames.tokens import Line, Vocabulary, count_right, lines_of, pair_lines
from oocr.papers.paper import Cell, PaperSettings, Rows
from oocr.papers.small_transformer import Optimizer, SmallTransformer, train

FRAMES = 12
FEW, MANY = 5, 9
"""Objects in each frame: in most arms, and in the arm that learns to answer across frames."""

TRAINING = Optimizer(steps=1600, rate=3e-3, batch=128, cooling=0.2)


@dataclass(frozen=True, slots=True)
class Arm:
    """What a network is trained on in addition to co-visible questions.

    Attributes:
        facts: kinds of facts.
        others_share: trained share of the questions across frames about objects not held out.
        objects_per_frame: number of objects in each frame.
    """

    name: str
    facts: tuple[FactKind, ...] = ()
    others_share: float = 0.0
    objects_per_frame: int = FEW


ARMS = (
    Arm("unlinked"),
    Arm("trajectory", ("seen", "step")),
    Arm("map", ("seen", "map")),
    Arm("oracle", ("oracle",)),
    Arm("others 10 %", others_share=0.1),
    Arm("others 20 %", others_share=0.2),
    Arm("others 20 %, oracle", ("oracle",), others_share=0.2),
    Arm("others 50 %", others_share=0.5),
    Arm("9 objects, others 30 %", others_share=0.3, objects_per_frame=MANY),
)
BY_NAME: Mapping[str, Arm] = {arm.name: arm for arm in ARMS}


FULL_ONLY = ("map", "others 10 %")
"""Arms that a quick run leaves out."""


class ArmCell(Cell):
    """One network: an arm and a seed, which is also the seed of the house."""

    arm: str


def cells(settings: PaperSettings) -> list[ArmCell]:
    """All arms with three seeds; in a quick run fewer arms with one seed."""
    arms = [arm for arm in ARMS if not (settings.quick and arm.name in FULL_ONLY)]
    return [ArmCell(seed=seed, arm=arm.name) for seed in settings.seeds(3, 1) for arm in arms]


def held_out(house: House) -> tuple[PlacedObject, ...]:
    """One object of each frame; no trained question across frames is about it."""
    return tuple(house.seen(view.moment)[0] for view in house.viewpoints)


def training_lines(
    house: House, arm: Arm, seed: int, without: Sequence[PlacedObject] = ()
) -> list[Line]:
    """The training rows of an arm's network; none is about the objects `without`."""
    excluded = {obj.name for obj in without}
    facts = facts_of(house, ("co-visible", *arm.facts))
    lines = lines_of(fact for fact in facts if not {fact.a, fact.b} & excluded)
    kept_out = held_out(house)
    pairs = [
        (a, b)
        for a, b in permutations(house.objects, 2)
        if a.moment < b.moment and a not in kept_out and b not in kept_out
    ]
    random.Random(f"others {seed}").shuffle(pairs)
    for a, b in pairs[: round(arm.others_share * len(pairs))]:
        lines += pair_lines(house, a, b) + pair_lines(house, b, a)
    return lines


def across_lines(house: House, about: Sequence[PlacedObject]) -> list[Line]:
    """All questions across frames that are about at least one of these objects."""
    return [
        line
        for a, b in permutations(house.objects, 2)
        if a.moment != b.moment and (a in about or b in about)
        for line in pair_lines(house, a, b)
    ]


def compute(cell: ArmCell) -> Rows:
    """Train the network; count its right answers to the training rows and across frames."""
    arm = BY_NAME[cell.arm]
    house = make_house(FRAMES, arm.objects_per_frame, cell.seed)
    vocabulary = Vocabulary.of(house)
    lines = training_lines(house, arm, cell.seed)
    network = SmallTransformer(vocabulary.shape, cell.seed)
    train(network, vocabulary.rows(lines), TRAINING, cell.seed)
    rows: Rows = [
        {"part": "recall", **row}
        for row in count_right(
            lines,
            vocabulary.answers(network, lines),
            lambda line: {"kind": "others" if line.gap else line.relation},
        )
    ]
    across = across_lines(house, held_out(house))
    names = {obj.name for obj in held_out(house)}
    answers = vocabulary.answers(network, across)
    rows += [
        {"part": "across", **row}
        for row in count_right(
            across,
            answers,
            lambda line: {
                "held": len({line.a, line.b} & names),
                "object": line.a if line.a in names else line.b,
                "gap": gap_name(line.gap),
                "distance": line.distance,
            },
        )
    ]
    rows += [
        {"part": "commonest", **row} for row in count_right(across, commonest(across), lambda _: {})
    ]
    value = embedding_r2(network, vocabulary, house)
    return [*rows, {"part": "probe", "kind": "embeddings", "value": value}]


def commonest(lines: Sequence[Line]) -> list[int]:
    """For each line the most frequent answer along its axis: the best constant guess."""
    most = {
        axis: Counter(line.value for line in lines if line.axis == axis).most_common(1)[0][0]
        for axis in dict.fromkeys(line.axis for line in lines)
    }
    return [most[line.axis] for line in lines]


def embedding_r2(network: SmallTransformer, vocabulary: Vocabulary, house: House) -> float:
    """R² of the held-out objects' positions, by ridge regression on the other embeddings."""
    kept_out = held_out(house)
    others = [obj for obj in house.objects if obj not in kept_out]
    table = network.embedding.weight.detach().double()
    x, x_test = (
        table[[vocabulary.ids[obj.name] for obj in objects]] for objects in (others, kept_out)
    )
    y, y_test = (positions_of(objects) for objects in (others, kept_out))
    return r2((x_test - x.mean(dim=0)) @ ridge(x, y) + y.mean(dim=0), y_test)
