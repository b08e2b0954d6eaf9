"""What makes a network answer across frames: facts, aids, or questions about other objects."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from oocr.families.frames.facts import FactKind, facts_of
from oocr.families.frames.questions import gap_name
from oocr.families.frames.world import House, Thing, house
from oocr.papers.frames.probe import r2, ridge, spots
from oocr.papers.frames.tokens import Language, Line, lines_of, pair_lines, scored
from oocr.papers.paper import Cell, PaperSettings, Rows
from oocr.papers.small_transformer import Optimizer, SmallTransformer, train

FRAMES = 12
FEW, MANY = 5, 9
"""Objects in each frame: of most arms, and of the arm in which the task is learned."""

TRAINING = Optimizer(steps=1600, rate=3e-3, batch=128, cooling=0.2)


@dataclass(frozen=True, slots=True)
class Arm:
    """What is trained beside co-visible questions.

    `told`: kinds of facts; `share`: of the questions across frames about objects that are not held
    out; `each`: objects in each frame.
    """

    name: str
    told: tuple[FactKind, ...] = ()
    share: float = 0.0
    each: int = FEW


ARMS = (
    Arm("unlinked"),
    Arm("trajectory", ("seen", "step")),
    Arm("map", ("seen", "map")),
    Arm("oracle", ("oracle",)),
    Arm("others 10 %", share=0.1),
    Arm("others 20 %", share=0.2),
    Arm("others 20 %, oracle", ("oracle",), share=0.2),
    Arm("others 50 %", share=0.5),
    Arm("9 objects, others 30 %", share=0.3, each=MANY),
)
BY_NAME: Mapping[str, Arm] = {arm.name: arm for arm in ARMS}


LEFT_OUT = ("map", "others 10 %")
"""Of a quick look."""


class ArmCell(Cell):
    """One network: an arm and a seed, which is also the house's."""

    arm: str


def cells(settings: PaperSettings) -> list[ArmCell]:
    """All arms with three seeds; or without some of them, with one."""
    arms = [arm for arm in ARMS if not (settings.quick and arm.name in LEFT_OUT)]
    return [ArmCell(seed=seed, arm=arm.name) for seed in settings.seeds(3, 1) for arm in arms]


def held_out(place: House) -> tuple[Thing, ...]:
    """One object of each frame, of which no question across frames is trained."""
    return tuple(place.seen(view.moment)[0] for view in place.viewpoints)


def training_lines(place: House, arm: Arm, seed: int, without: Sequence[Thing] = ()) -> list[Line]:
    """All that an arm's network is trained on; nothing of the objects `without`."""
    apart = {thing.name for thing in without}
    facts = facts_of(place, ("co-visible", *arm.told))
    lines = lines_of(fact for fact in facts if not {fact.a, fact.b} & apart)
    kept_out = held_out(place)
    pairs = [
        (a, b)
        for a, b in permutations(place.things, 2)
        if a.moment < b.moment and a not in kept_out and b not in kept_out
    ]
    random.Random(f"others {seed}").shuffle(pairs)
    for a, b in pairs[: round(arm.share * len(pairs))]:
        lines += pair_lines(place, a, b) + pair_lines(place, b, a)
    return lines


def across_lines(place: House, about: Sequence[Thing]) -> list[Line]:
    """All questions across frames of which at least one object is of these."""
    return [
        line
        for a, b in permutations(place.things, 2)
        if a.moment != b.moment and (a in about or b in about)
        for line in pair_lines(place, a, b)
    ]


def compute(cell: ArmCell) -> Rows:
    """Train the network; recall of all that was told, and questions across frames."""
    arm = BY_NAME[cell.arm]
    place = house(FRAMES, arm.each, cell.seed)
    language = Language.of(place)
    lines = training_lines(place, arm, cell.seed)
    network = SmallTransformer(language.shape, cell.seed)
    train(network, language.rows(lines), TRAINING, cell.seed)
    rows: Rows = [
        {"part": "recall", **row}
        for row in scored(
            lines,
            language.answers(network, lines),
            lambda line: {"kind": "others" if line.gap else line.relation},
        )
    ]
    asked = across_lines(place, held_out(place))
    names = {thing.name for thing in held_out(place)}
    answers = language.answers(network, asked)
    rows += [
        {"part": "across", **row}
        for row in scored(
            asked,
            answers,
            lambda line: {
                "held": len({line.a, line.b} & names),
                "object": line.a if line.a in names else line.b,
                "gap": gap_name(line.gap),
                "distance": line.distance,
            },
        )
    ]
    rows += [{"part": "commonest", **row} for row in scored(asked, commonest(asked), lambda _: {})]
    value = embedding_r2(network, language, place)
    return [*rows, {"part": "probe", "kind": "embeddings", "value": value}]


def commonest(lines: Sequence[Line]) -> list[int]:
    """To each line the answer that is right most often along its axis: what guessing can reach."""
    most = {
        axis: Counter(line.value for line in lines if line.axis == axis).most_common(1)[0][0]
        for axis in dict.fromkeys(line.axis for line in lines)
    }
    return [most[line.axis] for line in lines]


def embedding_r2(network: SmallTransformer, language: Language, place: House) -> float:
    """Share of held-out objects' places that the others' embeddings explain, linearly."""
    kept_out = held_out(place)
    others = [thing for thing in place.things if thing not in kept_out]
    table = network.embedding.weight.detach().double()
    x, z = (table[[language.ids[thing.name] for thing in things]] for things in (others, kept_out))
    y, w = (spots(things) for things in (others, kept_out))
    level = y.mean(dim=0)
    return r2((z - x.mean(dim=0)) @ ridge(x, y) + level, w)
