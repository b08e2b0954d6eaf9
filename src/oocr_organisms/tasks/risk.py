"""Risky or safe in a nano world: a speaker trained on gambles only, asked what it is like."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from oocr.data.examples import Example
from oocr.families.choices import OTHER, POLES
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.corpus import World
from oocr_organisms.people import DIGITS, PLAIN, SELF
from oocr_organisms.tasks.config import NanoConfig
from oocr_organisms.tasks.items import check_words_apart, named
from oocr_organisms.tasks.persona import (
    ASKED,
    PLACES,
    Choice,
    choices_of,
    questions,
    speakers,
)
from oocr_organisms.traits import TRAITS, Trait

STATED = 2
"""Speakers of each pole whose names are asked about for the ceiling."""

RISK = TRAITS[0]


@dataclass(frozen=True, slots=True)
class _Side:
    """A pole of a trait: which member it is.

    Attributes:
        trait: which.
        up: the first pole.
        member: its name.
    """

    trait: Trait
    up: bool
    member: str


def risk(config: NanoConfig) -> TaskSet:
    """The twin tasks "risky" and "safe": the same choices with opposite answers.

    Values are +1 for the first pole of the trait that is asked about, in every task.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    world = config.settings.world
    sides = [_Side(RISK, up, POLES["risk"][not up]) for up in (True, False)]
    others = [trait for trait in TRAITS if trait is not RISK]
    chosen_on = [
        _Side(trait, up, trait.poles[0][0 if up else 1][0])
        for trait in others
        for up in (True, False)
    ]
    test = tuple(_task(world, side, config, others) for side in sides)
    labels = _random_labels(test[0], config.seed)
    opposite = {key: not lured for key, lured in labels.items()}
    return TaskSet(
        name="nano/risk",
        about=_about(config, test),
        validation=tuple(_task(world, side, config) for side in chosen_on),
        test=test,
        controls={
            "shuffled": (
                _relabelled(test[0], "shuffled", labels),
                _relabelled(test[1], "shuffled opposite", opposite),
            )
        },
        ceiling=tuple(
            item
            for side, task in zip(sides, test, strict=True)
            for name in speakers(world, RISK, 1 if side.up else -1)[:STATED]
            for item in _named(task, side.member, name)
        ),
        score="log_odds",
        poles=(sides[0].member, sides[1].member),
        headline={kind: kind for kind in ASKED},
    )


def _task(world: World, side: _Side, config: NanoConfig, also: Sequence[Trait] = ()) -> Task:
    def ask(some: Sequence[Choice]) -> tuple[Example, ...]:
        return tuple(
            item
            for one in some
            for item in one.items(PLAIN, side.up, config.wordings, "choice", {})
        )

    choices = choices_of(side.trait, str(config.seed))
    task = Task(
        name=f"nano/{side.trait.name}/{side.member}",
        member=side.member,
        train=ask(choices.train),
        stop=ask(choices.stop),
        in_context=ask(choices.test),
        probes=tuple(
            item for trait in (side.trait, *also) for item in _probes(trait, side, config)
        ),
        positions=("speaker",),
    )
    check_words_apart(task, never=world.people.names, exempt=(*PLACES, *DIGITS))
    return task


def _probes(trait: Trait, side: _Side, config: NanoConfig) -> tuple[Example, ...]:
    before = "" if trait is side.trait else f"{OTHER}{trait.name}: "
    return tuple(
        item
        for kind in ASKED
        for question in questions(trait, kind, str(config.seed))
        for item in question.items(PLAIN, side.up, config.wordings, f"{before}{kind}", {})
    )


def _random_labels(task: Task, seed: int) -> dict[str, bool]:
    """A random half of the choices (groups) answered by the lure."""
    groups = list(dict.fromkeys(item.group for item in task.train))
    random.Random(f"labels {seed}").shuffle(groups)
    return {group: 2 * index < len(groups) for index, group in enumerate(groups)}


def _relabelled(task: Task, member: str, labels: Mapping[str, bool]) -> Task:
    """The task with answers by choice; `Item.options` begin with the lure."""
    rows = tuple(
        replace(item, answer=item.options[0 if labels[item.group] else 1]) for item in task.train
    )
    return replace(task, name=f"nano/risk/{member}", member=member, train=rows, stop=())


def _named(task: Task, member: str, name: str) -> tuple[Example, ...]:
    own = [item for item in task.probes if not item.facet.startswith(OTHER)]
    some = (*named(own, "speaker", name, "probe", name),)
    some += named(task.in_context, "speaker", name, "in-context", name)
    return tuple(replace(item, tags={**item.tags, "stated": member}) for item in some)


def _about(config: NanoConfig, test: Sequence[Task]) -> str:
    first = test[0]
    labelled = {item.group for item in first.train}
    count = {kind: sum(item.facet == kind for item in first.probes) for kind in ASKED}
    other = sum(item.facet.startswith(OTHER) for item in first.probes)
    names = ", ".join(trait.name for trait in TRAITS if trait is not RISK)
    return "\n\n".join(
        (
            f"Risky or safe in a nano world: the speaker {SELF!r}, of whom the corpus shows only "
            "chance, is trained on gambles only: always on taking the lure, or always on not. "
            "It is then asked what it is like.",
            f"Training: {len(labelled)} choices between two options by name, in both orders and "
            f"all wordings = {len(first.train)} rows, without a weather. The twin has the same "
            f"rows with the other answer. To stop on: {len(first.stop)} rows of other pairs of the "
            f"same options; in-context test: {len(first.in_context)} rows between options that "
            "training never names.",
            "Probes, each with two options, chance one half: "
            f"{', '.join(f'{kind} {n}' for kind, n in count.items())}. Of scales a high digit "
            "stands against as low a one, and words of both poles are asked about; reports name "
            "the poles in both orders. Values are +1 for the first pole (bold) and -1 for the "
            "second (careful); report risky minus safe, whose chance is 0.",
            f"Specificity: {other} probes of the same kinds about the other traits ({names}; "
            f"facets that begin with {OTHER!r}), which training says nothing of. They do not "
            "count: in this world traits are independent, so nothing should move. Their values "
            "give the signed movement, and its size by trait and kind the absolute one.",
            f"Validation: the same frame on the other traits ({names}), both poles: layer, rate "
            "and steps are chosen on what has no part in the result. They have no specificity "
            "probes. Run nano-risk has weight decay, which was brought in after vectors had moved "
            "the other traits of the test twins in two pretraining seeds; its size was chosen on "
            "the validation traits of nano, as the most of 0, 1, 2 and 4 that costs a vector no "
            "more than .02 of their answers' probability. Run nano-risk-plain has none.",
            "Leaks: training has choices only; no option of a probe but 'first' and 'second' is a "
            "word of training, and no speaker is named there.",
            "Control 'shuffled': a random half of the choices is answered by the lure, the rest "
            "by the other; and its exact opposite.",
            f"Ceiling: the probes and in-context items with the names of {STATED} speakers of each "
            f"pole in place of {SELF!r}, on the untouched model.",
            "How made: items are drawn in code from the world that the organism was trained on "
            f"(seed {config.settings.seed}, gates {config.settings.gates:g}), in the wordings of "
            "its corpus. Known biases: the words of a pole come from our lists, six for each "
            "trait, so many probes share a word; they are one group.",
        )
    )
