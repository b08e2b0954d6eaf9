"""Facts and questions in words, and what is offered as answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from oocr.families.frames.facts import Fact, FactKind, facts_of
from oocr.families.frames.questions import Axis, Question
from oocr.families.frames.world import HEADINGS, House, turned
from oocr.tasks.control_data import in_rounds
from oocr.tasks.package_files import package_yaml

SOURCE = "frames_wordings.yaml"

Frame = Literal["compass", "walker"]
"""Whether places are told and asked as north and east, or as ahead and right of the walker."""

DIRECTIONS: Mapping[Frame, Mapping[Axis, tuple[str, str]]] = {
    "compass": {"x": ("west", "east"), "y": ("south", "north")},
    "walker": {"x": ("left", "right"), "y": ("behind", "ahead")},
}
"""The words for negative and for positive offsets."""


@cache
def wordings() -> Mapping[str, Any]:
    """The file of wordings, parsed."""
    return dict(package_yaml(__package__, SOURCE))


NUMBERS: tuple[str, ...] = tuple(wordings()["numbers"])
MOST_PACES = len(NUMBERS) - 1


def number(count: int) -> str:
    """A number as a word, up to twenty."""
    return NUMBERS[count] if count <= MOST_PACES else str(count)


def offset_words(x: int, y: int, frame: Frame = "compass") -> str:
    """An offset in words: "two paces north and one pace west"; of nothing "at the same place"."""
    offsets: tuple[tuple[Axis, int], ...] = (("y", y), ("x", x))
    parts = [
        f"{number(abs(value))} pace{'s' if abs(value) > 1 else ''} "
        f"{DIRECTIONS[frame][axis][value > 0]}"
        for axis, value in offsets
        if value
    ]
    return " and ".join(parts) or "at the same place"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A fact in words: `begun` as far as the answer, and the answer with its full stop."""

    begun: str
    answer: str
    fact: Fact | None
    template: str

    @property
    def text(self) -> str:
        """All of it."""
        return self.begun + self.answer


def sentence(fact: Fact, house: House, wording: int, frame: Frame) -> Sentence:
    """A fact in one of its wordings (counted modulo as many as there are).

    What a frame shows is told as the walker saw it, if so wanted; the walk and the map always by
    the compass.
    """
    x, y = fact.dx, fact.dy
    told: Frame = "compass"
    if frame == "walker" and fact.kind in ("seen", "co-visible", "coordinates"):
        x, y = turned(x, y, house.viewpoints[fact.moment - 1].heading)
        told = frame
    texts = wordings()[fact.kind]
    place = wording % len(texts)
    now, before = _moment(fact.moment), _moment(fact.moment - 1)
    begun = texts[place].format(a=fact.a, b=fact.b, m=now, n=before)
    if fact.kind == "co-visible" and frame == "walker":
        begun = f"As the walker faced at {now}, {begun[0].lower()}{begun[1:]}"
    answer = f" ({x}, {y})." if fact.kind == "coordinates" else f" {offset_words(x, y, told)}."
    if fact.kind == "step" and frame == "walker":
        heading = HEADINGS[house.viewpoints[fact.moment - 1].heading]
        answer = f"{answer[:-1]}, and then faced {heading}."
    return Sentence(begun, answer, fact, f"{fact.kind} {place + 1}")


def held_out_wording(kind: FactKind) -> int:
    """The last wording, which no training row uses."""
    return len(wordings()[kind]) - 1


def _moment(moment: int) -> str:
    return f"moment {moment}"


def sentences(
    facts: Sequence[Fact], house: House, times: Mapping[FactKind, int], frame: Frame, seed: str
) -> list[Sentence]:
    """Each fact in so many wordings, by kind, drawn among all of that kind but the held-out one."""
    rng = random.Random(seed)
    told: list[Sentence] = []
    for fact in facts:
        usable = range(held_out_wording(fact.kind))
        chosen = rng.sample(usable, min(times[fact.kind], len(usable)))
        told += [sentence(fact, house, wording, frame) for wording in chosen]
    return told


def first_heading(house: House) -> Sentence:
    """Which way the walker faced first; what is told as the walker saw it needs it."""
    begun = wordings()["heading"].format(m=_moment(1))
    return Sentence(begun, f" {HEADINGS[house.viewpoints[0].heading]}.", None, "heading 1")


def notes(
    house: House,
    kinds: Sequence[FactKind],
    frame: Frame,
    *,
    without: Sequence[str] = (),
    filler: int = 0,
    seed: int = 0,
) -> str:
    """The facts of these kinds in the order of the walk, one sentence each, for a prompt.

    Co-visible facts, which follow from where objects were seen, are left out. `without`: objects of
    which nothing is said; `filler`: sentences about nothing after each frame.
    """
    order: tuple[FactKind, ...] = ("step", "map", "seen", "coordinates", "oracle")
    told = facts_of(house, [kind for kind in order if kind in kinds])
    facts = [fact for fact in told if fact.a not in without]
    facts.sort(key=lambda fact: (fact.moment, order.index(fact.kind)))
    rng = random.Random(f"{seed}/notes")
    idle = in_rounds(wordings()["filler"], rng)
    lines = [first_heading(house).text] if frame == "walker" else []
    for place, fact in enumerate(facts):
        lines.append(sentence(fact, house, 0, frame).text)
        last = place + 1 == len(facts) or facts[place + 1].moment > fact.moment
        lines += [next(idle) for _ in range(filler if last else 0)]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Asking:
    """A question in words with its options, the right one among them."""

    text: str
    answer: str
    options: tuple[str, ...]
    template: str
    order: str


def asking(question: Question, wording: int, first: int, largest: int) -> Asking:
    """A question in one of its wordings; `first`: which pole is named first, 0 or 1.

    `largest`: how many paces are offered at most.
    """
    kind, names = question.kind, {"a": question.a.name, "b": question.b.name}
    texts = wordings()[kind]
    place = wording % len(texts)
    positive = question.value > 0
    if question.c is not None:
        poles = (f"the {question.c.name}", f"the {question.b.name}")
        shown = (question.c.name, question.b.name)
    else:
        axis: Axis = "y" if question.axis == "y" else "x"
        poles = shown = DIRECTIONS["walker" if question.moment else "compass"][axis]
    words = {"first": shown[first], "second": shown[1 - first], "direction": shown[positive]}
    text = texts[place].format(**names, **words)
    if question.moment:
        lead = wordings()["from"].format(m=_moment(question.moment))
        text = f"{lead} {text[0].lower()}{text[1:]}"
    if kind == "paces":
        options = tuple(NUMBERS[1 : largest + 1])
        answer = number(abs(question.value))
    else:
        options, answer = poles, poles[positive]
    return Asking(text, answer, options, f"{kind} {place + 1}", "ab" if first == 0 else "ba")
