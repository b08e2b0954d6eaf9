"""Texts of facts and questions, and the answer options."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from oocr.families.frames.facts import Fact, FactKind, facts_of
from oocr.families.frames.questions import Axis, Question
from oocr.families.frames.world import HEADINGS, House, rotated
from oocr.tasks.control_data import in_rounds
from oocr.tasks.package_files import package_yaml

SOURCE = "frames_wordings.yaml"

Frame = Literal["compass", "walker"]
"""Frame of reference: north and east, or ahead and right of the walker."""

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
    """A number as a word, up to `MOST_PACES`."""
    return NUMBERS[count] if count <= MOST_PACES else str(count)


def offset_words(x: int, y: int, frame: Frame = "compass") -> str:
    """An offset as text: "two paces north and one pace west", or "at the same place"."""
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
    """A fact as text: `begun` is the text before the answer; the answer has the full stop."""

    begun: str
    answer: str
    fact: Fact | None
    template: str

    @property
    def text(self) -> str:
        """The whole sentence."""
        return self.begun + self.answer


def sentence(fact: Fact, house: House, wording: int, frame: Frame) -> Sentence:
    """A fact in one of its wordings (`wording` modulo their number).

    Only facts that a frame shows use the walker's directions; the walk, the map and the oracle
    always use the compass.
    """
    x, y = fact.dx, fact.dy
    directions: Frame = "compass"
    if frame == "walker" and fact.kind in ("seen", "co-visible", "coordinates"):
        x, y = rotated(x, y, house.viewpoints[fact.moment - 1].heading)
        directions = frame
    texts = wordings()[fact.kind]
    index = wording % len(texts)
    now, before = _moment(fact.moment), _moment(fact.moment - 1)
    begun = texts[index].format(a=fact.a, b=fact.b, m=now, n=before)
    if fact.kind == "co-visible" and frame == "walker":
        begun = f"As the walker faced at {now}, {begun[0].lower()}{begun[1:]}"
    answer = (
        f" ({x}, {y})." if fact.kind == "coordinates" else f" {offset_words(x, y, directions)}."
    )
    if fact.kind == "step" and frame == "walker":
        heading = HEADINGS[house.viewpoints[fact.moment - 1].heading]
        answer = f"{answer[:-1]}, and then faced {heading}."
    return Sentence(begun, answer, fact, f"{fact.kind} {index + 1}")


def held_out_wording(kind: FactKind) -> int:
    """Index of the last wording; no training row uses it."""
    return len(wordings()[kind]) - 1


def _moment(moment: int) -> str:
    return f"moment {moment}"


def sentences(
    facts: Sequence[Fact], house: House, times: Mapping[FactKind, int], frame: Frame, seed: str
) -> list[Sentence]:
    """Each fact in `times[kind]` wordings, drawn from those of its kind that are not held out."""
    rng = random.Random(seed)
    drawn: list[Sentence] = []
    for fact in facts:
        usable = range(held_out_wording(fact.kind))
        chosen = rng.sample(usable, min(times[fact.kind], len(usable)))
        drawn += [sentence(fact, house, wording, frame) for wording in chosen]
    return drawn


def first_heading(house: House) -> Sentence:
    """The walker's first heading, without which the walker's directions have no meaning."""
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
    """Text for a prompt: the facts of these kinds in the order of the walk, one sentence each.

    Co-visible facts are left out, since "seen" facts imply them. `without`: names of objects that
    are left out; `filler`: number of unrelated sentences after each frame.
    """
    order: tuple[FactKind, ...] = ("step", "map", "seen", "coordinates", "oracle")
    all_facts = facts_of(house, [kind for kind in order if kind in kinds])
    facts = [fact for fact in all_facts if fact.a not in without]
    facts.sort(key=lambda fact: (fact.moment, order.index(fact.kind)))
    rng = random.Random(f"{seed}/notes")
    filler_sentences = in_rounds(wordings()["filler"], rng)
    lines = [first_heading(house).text] if frame == "walker" else []
    for index, fact in enumerate(facts):
        lines.append(sentence(fact, house, 0, frame).text)
        last = index + 1 == len(facts) or facts[index + 1].moment > fact.moment
        lines += [next(filler_sentences) for _ in range(filler if last else 0)]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class QuestionText:
    """A question as text with its answer options."""

    text: str
    answer: str
    options: tuple[str, ...]
    template: str
    order: str


def question_text(question: Question, wording: int, first: int, largest: int) -> QuestionText:
    """A question in one of its wordings (`wording` modulo their number).

    `first`: index of the pole that is named first, 0 or 1; `largest`: the largest number of paces
    among the options of "paces".
    """
    kind, names = question.kind, {"a": question.a.name, "b": question.b.name}
    texts = wordings()[kind]
    index = wording % len(texts)
    positive = question.value > 0
    if question.c is not None:
        poles = (f"the {question.c.name}", f"the {question.b.name}")
        shown_poles = (question.c.name, question.b.name)
    else:
        axis: Axis = "y" if question.axis == "y" else "x"
        poles = shown_poles = DIRECTIONS["walker" if question.moment else "compass"][axis]
    words = {
        "first": shown_poles[first],
        "second": shown_poles[1 - first],
        "direction": shown_poles[positive],
    }
    text = texts[index].format(**names, **words)
    if question.moment:
        lead = wordings()["from"].format(m=_moment(question.moment))
        text = f"{lead} {text[0].lower()}{text[1:]}"
    if kind == "paces":
        options = tuple(NUMBERS[1 : largest + 1])
        answer = number(abs(question.value))
    else:
        options, answer = poles, poles[positive]
    return QuestionText(text, answer, options, f"{kind} {index + 1}", "ab" if first == 0 else "ba")
