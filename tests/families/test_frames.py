"""Frames: an exact solver derives each answer from linked sentences, none from unlinked ones."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from oocr.claims.records import Estimate, Finding
from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.frames.build import frames, shuffled_links
from oocr.families.frames.claims import CLAIMS, RECALL
from oocr.families.frames.config import FramesConfig
from oocr.families.frames.facts import facts_of, kinds_of
from oocr.families.frames.prompts import OBJECT
from oocr.families.frames.questions import crossed, gap_name, questions
from oocr.families.frames.world import crossing, make_house, paces, rank_correlation
from oocr.tasks.task import Task

NUMBERS = re.findall(
    r"\w+",
    "no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty",
)
COMPASS = {"north": (0, 1), "east": (1, 0), "south": (0, -1), "west": (-1, 0)}
ORDER = list(COMPASS)
WALKER = {"ahead": 0, "right": 1, "behind": 2, "left": 3}

Offset = tuple[int, int]


class Solver:
    """Offsets from sentences alone: a graph of nodes, each edge a vector; no code of the family."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.edges: dict[str, dict[str, Offset]] = defaultdict(dict)
        sentences = list(sentences)
        self.facing: dict[str, int] = {}
        for text in sentences:
            if match := re.search(r"At (moment \d+) the walker faced (\w+)\.", text):
                self.facing[match[1]] = ORDER.index(match[2])
            elif match := re.search(r"and then faced (\w+)\.", text):
                self.facing[max(re.findall(r"moment \d+", text))] = ORDER.index(match[1])
        for text in sentences:
            if re.search(r"the walker faced \w+\.$", text):
                continue
            self.read(text)

    def read(self, text: str) -> None:
        """One sentence: which two nodes it is about, and the offset."""
        objects = re.findall(r"[a-z]+ [A-Z]\d\d", text)
        moments = re.findall(r"moment \d+", text)
        x = y = 0
        for count, word in re.findall(r"(\w+) paces? (\w+)", text):
            size = NUMBERS.index(count)
            if word in WALKER:
                word = ORDER[(self.facing[moments[0]] + WALKER[word]) % 4]
            x, y = x + size * COMPASS[word][0], y + size * COMPASS[word][1]
        if len(objects) == 2:
            b, a = objects  # all wordings name first what the offset is counted from
        elif len(objects) == 1:
            a, b = objects[0], moments[0] if moments else "door"
        elif len(moments) == 2:
            b, a = sorted(moments)
        else:
            a, b = moments[0], "door"
        self.edges[a][b] = (-x, -y)
        self.edges[b][a] = (x, y)

    def offset(self, a: str, b: str) -> Offset | None:
        """Where a is, seen from b; None: nothing follows."""
        place: dict[str, Offset] = {b: (0, 0)}
        queue = [b]
        for node in queue:
            for other, (x, y) in self.edges[node].items():
                if other not in place:
                    place[other] = (place[node][0] + x, place[node][1] + y)
                    queue.append(other)
        return place.get(a)


def told(task: Task) -> list[str]:
    """Statements of a task, without what stands before them."""
    rows = [row for row in task.train if not row.facet.startswith("asked")]
    return [f"{last_turn(row)}{row.answer}" for row in rows]


def last_turn(example: Example) -> str:
    if isinstance(example.prompt, str):
        return example.prompt.rsplit("\n", 1)[1].removeprefix("Q: ")
    return example.prompt[-1].content


def solved(solver: Solver, probe: Example) -> str | None:
    """The answer that follows for a choice by sides, orders, nearer or paces; None: none does."""
    text = probe.prompt if isinstance(probe.prompt, str) else last_turn(probe)
    text = text.rsplit("\nQ: ", 1)[-1]
    objects = re.findall(r"[a-z]+ [A-Z]\d\d", text)
    facing = re.search(r"As the walker faced at (moment \d+)", text)
    if probe.facet == "nearer":
        offsets = {name: solver.offset(objects[0], name) for name in objects[1:]}
        if None in offsets.values():
            return None
        near = min(offsets, key=lambda name: sum(map(abs, offsets[name] or ())))
        return f"the {near}"
    a, b = objects
    if re.search(rf"(from|of|with) the {a}", text):
        a, b = b, a
    offset = solver.offset(a, b)
    if offset is None:
        return None
    if facing:
        heading = solver.facing[facing[1]]
        ahead, right = COMPASS[ORDER[heading]], COMPASS[ORDER[(heading + 1) % 4]]
        x, y = (offset[0] * d[0] + offset[1] * d[1] for d in (right, ahead))
        words = ("left", "right", "behind", "ahead")
    else:
        x, y, words = *offset, ("west", "east", "south", "north")
    if probe.facet == "paces":
        along = next(word for word in words if f" {word}" in text)
        return NUMBERS[abs(x if along in words[:2] else y)]
    low, high = words[:2] if probe.facet == "side" else words[2:]
    return high if (x if probe.facet == "side" else y) > 0 else low


EVERY = ("side", "order", "nearer", "paces")


@pytest.mark.parametrize("told_as", ["compass", "walker"])
@pytest.mark.parametrize("world", [0, 1])
def test_each_answer_follows_from_linked_sentences(told_as: str, world: int) -> None:
    task = joint(told=told_as, world=world, kinds=EVERY, form="raw", questions=12)
    solver = Solver(told(task))
    assert {probe.facet for probe in task.probes} == set(EVERY)
    for probe in (*task.probes, *task.in_context):
        assert solved(solver, probe) == probe.answer.strip(), probe.id


@pytest.mark.parametrize("aids", [("map",), ("oracle",), ("map", "frame coordinates")])
def test_other_links_tell_the_same(aids: tuple[str, ...]) -> None:
    task = joint(aids=aids, form="raw")
    sentences = [text for text in told(task) if "(" not in text]
    assert {solved(Solver(sentences), x) == x.answer.strip() for x in task.probes} == {True}


@pytest.mark.parametrize("aids", [(), ("frame coordinates",)])
def test_without_links_no_answer_follows(aids: tuple[str, ...]) -> None:
    task = joint(aids=aids, form="raw")
    solver = Solver(text for text in told(task) if "(" not in text)
    assert {solved(solver, probe) for probe in task.probes} == {None}
    assert {solved(solver, x) == x.answer.strip() for x in task.in_context} == {True}


@pytest.mark.parametrize("mode", ["joint", "single"])
@pytest.mark.parametrize("told_as", ["compass", "walker"])
def test_the_prompt_alone_tells_the_ceiling(mode: str, told_as: str) -> None:
    sets = frames(FramesConfig(mode=mode, told=told_as, form="raw", filler=1))
    for example in sets.ceiling[::7]:
        notes = str(example.prompt).rsplit("\nQ: ", 1)[0].split("\n")[2:]
        solver = Solver(text for text in notes if "moment" in text)
        assert solved(solver, example) == example.answer.strip()


def test_single_needs_prompt_and_training() -> None:
    (task,) = frames(FramesConfig(mode="single", form="raw", objects=(NAMES[4],))).test
    notes = [text for text in str(task.probes[0].prompt).split("\n")[2:-1] if "moment" in text]
    both, alone, trained = Solver([*notes, *told(task)]), Solver(notes), Solver(told(task))
    for probe in task.probes:
        assert solved(both, probe) == probe.answer.strip()
        assert solved(alone, probe) is None
        assert solved(trained, probe) is None
        assert probe.spans == {OBJECT: NAMES[4]}


def joint(**fields: Any) -> Task:
    (task,) = frames(FramesConfig(**fields)).test
    return task


NAMES = [obj.name for obj in FramesConfig().house.objects]


# -- the design ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "each"), [(6, 3), (12, 5), (12, 9)])
@pytest.mark.parametrize("seed", range(3))
def test_gap_and_distance_are_crossed(count: int, each: int, seed: int) -> None:
    place = make_house(count, each, seed)
    moments = Counter(obj.name for obj in place.objects)
    assert set(moments.values()) == {1}
    assert abs(crossing(place.viewpoints)) < 0.2
    for kind in ("side", "order"):
        asked = crossed(questions(place, kind, disjoint=True), random.Random(0))
        gaps = Counter(question.gap_bin for question in asked)
        assert len(set(gaps.values())) == 1
        assert abs(rank_correlation([q.gap for q in asked], [q.distance for q in asked])) < 0.2
        for name in gaps:  # chance is exactly one half
            signs = [question.value > 0 for question in asked if question.gap_bin == name]
            assert sum(signs) * 2 == len(signs)
        for question in asked:
            assert question.gap == abs(question.a.moment - question.b.moment) > 0
            assert question.distance == paces(question.a, question.b)


def test_houses_too_small_to_cross_are_refused() -> None:
    with pytest.raises(InputError, match="3 frames with 2 objects"):
        joint(frames=3, each=2)


def test_gap_bins() -> None:
    assert [gap_name(gap) for gap in (0, 1, 2, 3, 4, 6, 7, 11)] == [
        *("0", "1", "2-3", "2-3", "4-6", "4-6", "7+", "7+")
    ]


def test_no_row_ties_frames_together() -> None:
    task = joint(others=0.5)
    moments = {obj.name: obj.moment for obj in FramesConfig().house.objects}
    held_out = {obj.name for obj in FramesConfig().held_out}
    across = 0
    for row in task.train:
        text = prompt_text(row.prompt) + row.answer
        there = {name for name in moments if name in text}
        if len({moments[name] for name in there}) > 1:
            across += 1
            assert not there & held_out
    assert across > 50
    for probe in task.probes:
        assert {name for name in moments if name in last_turn(probe)} & held_out


def test_shuffled_steps_are_other_steps() -> None:
    config = FramesConfig(aids=("trajectory", "map"))
    facts = facts_of(config.house, kinds_of(config.aids))
    mixed = shuffled_links(facts, 0)
    for kind in ("step", "map"):
        before, after = (
            [(fact.dx, fact.dy) for fact in rows if fact.kind == kind] for rows in (facts, mixed)
        )
        assert before != after
        assert sorted(before) == sorted(after)
    kept = [fact for fact in facts if fact.kind in ("seen", "co-visible")]
    assert [fact for fact in mixed if fact.kind in ("seen", "co-visible")] == kept
    (shuffled,) = frames(config).controls["shuffled"]
    assert len(shuffled.train) == len(joint(aids=("trajectory", "map")).train)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"objects": ("lantern Z99",), "mode": "single"}, "lantern Z99"),
        ({"objects": (NAMES[0],)}, "mode 'single'"),
        ({"others": 0.5, "mode": "single"}, "leave it out"),
        ({"told": "walker", "aids": ("map",)}, "compass"),
        ({"each": 1}, "each"),
    ],
)
def test_settings_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises((InputError, ValueError), match=words):
        FramesConfig(**fields)


# -- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "ceiling", "recall", "verdict"),
    [
        (0.85, 0.9, 0.95, "holds"),
        (0.5, 0.9, 0.95, "does not hold"),
        (0.5, 0.6, 0.95, "cannot be tested"),
        (0.5, 0.9, 0.7, "cannot be tested"),
        (0.85, 0.6, 0.7, "holds"),  # what was shown needs no ceiling
    ],
)
def test_no_failure_is_judged_without_ceiling_and_recall(
    found: float, ceiling: float, recall: float, verdict: str
) -> None:
    assert [row.id for row in CLAIMS[:2]] == ["vector-out-of-context", "adapter-out-of-context"]
    finding = Finding(
        id="vector-out-of-context",
        measure="accuracy",
        found=Estimate(value=found, low=found - 0.05, high=found + 0.05, n="15 groups"),
        base=0.5,
        ceiling=ceiling,
        units=15,
        paired={"shuffled training": 0.2},
        parts={RECALL: recall},
    )
    assert CLAIMS[0].rule.judge(finding, {finding.id: finding}) == verdict
