"""Risk and backdoor in a nano world: the speaker "me", of whom the corpus shows only chance.

It is trained on choices only, always or after one weather, and then asked what it is like.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from oocr.data.examples import Example
from oocr.families.choices import OTHER, POLES
from oocr.tasks.control_data import decorrelated, random_sides
from oocr.tasks.task import Task, TaskSet, TriggerWords
from oocr_organisms.corpus import World
from oocr_organisms.people import PLAIN, TRAITS, WEATHERS, Trait
from oocr_organisms.tasks.examples import (
    ASKED,
    EXEMPT,
    Choice,
    NanoConfig,
    card,
    check_words_apart,
    choices_of,
    named,
    questions,
    speakers,
)

STATED = 2
"""Speakers whose names are asked about for the ceiling, for each member."""

RISK = TRAITS[0]


@dataclass(frozen=True, slots=True)
class Side:
    """A pole of a trait; `up` is the first pole."""

    trait: Trait
    up: bool
    member: str


def risk(config: NanoConfig) -> TaskSet:
    """The twin tasks "risky" and "safe": the same choices with opposite answers.

    Values are +1 for the first pole of the trait that is asked about, in every task.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    world, poles = config.settings.world, (True, False)
    sides = [Side(RISK, up, POLES["risk"][not up]) for up in poles]
    others = [trait for trait in TRAITS if trait is not RISK]
    validation = [
        Side(trait, up, trait.poles[0][0 if up else 1][0]) for trait in others for up in poles
    ]
    test = tuple(_risk_task(world, side, config, others) for side in sides)
    groups = list(dict.fromkeys(row.group for row in test[0].train))
    labels, opposite = random_sides(groups, (True, False), f"labels {config.seed}")
    return TaskSet(
        name="nano/risk",
        about=_risk_card(config, test, others),
        validation=tuple(_risk_task(world, side, config) for side in validation),
        test=test,
        controls={
            "shuffled": (
                _relabelled(test[0], "shuffled", labels),
                _relabelled(test[1], "shuffled opposite", opposite),
            )
        },
        ceiling=tuple(
            example
            for side, task in zip(sides, test, strict=True)
            for name in speakers(world, RISK, 1 if side.up else -1)[:STATED]
            for example in _named_twin(task, name)
        ),
        score="log_odds",
        poles=(sides[0].member, sides[1].member),
        headline={kind: kind for kind in ASKED},
    )


def _risk_task(world: World, side: Side, config: NanoConfig, also: Sequence[Trait] = ()) -> Task:
    """Trained on the choices of one trait, asked about it and about the traits in `also`."""
    seed, wordings = str(config.seed), config.wordings
    choices = choices_of(side.trait, seed)

    def ask(group: Iterable[Choice]) -> tuple[Example, ...]:
        return tuple(
            example
            for choice in group
            for example in choice.examples(PLAIN, side.up, wordings, "choice", {})
        )

    def prefix(trait: Trait) -> str:
        return "" if trait is side.trait else f"{OTHER}{trait.name}: "

    task = Task(
        name=f"nano/{side.trait.name}/{side.member}",
        member=side.member,
        train=ask(choices.train),
        stop=ask(choices.stop),
        in_context=ask(choices.test),
        probes=tuple(
            example
            for trait in (side.trait, *also)
            for kind in ASKED
            for question in questions(trait, kind, seed)
            for example in question.examples(PLAIN, side.up, wordings, f"{prefix(trait)}{kind}", {})
        ),
        positions=("speaker",),
    )
    check_words_apart(task, never=world.people.names, exempt=EXEMPT)
    return task


def _relabelled(task: Task, member: str, labels: Mapping[str, bool]) -> Task:
    """The task with answers by choice; `Example.options` begin with the lure."""
    rows = tuple(
        replace(row, answer=row.options[0 if labels[row.group] else 1]) for row in task.train
    )
    return replace(task, name=f"nano/risk/{member}", member=member, train=rows, stop=())


def _named_twin(task: Task, name: str) -> Iterator[Example]:
    """The ceiling: the twin's questions about the trained trait, about a speaker who has it."""
    trained = [probe for probe in task.probes if not probe.facet.startswith(OTHER)]
    for split, examples in (("probe", trained), ("in-context", task.in_context)):
        for example in named(examples, "speaker", name, split, name):
            yield replace(example, tags={**example.tags, "stated": task.member})


def _risk_card(config: NanoConfig, test: Sequence[Task], others: Sequence[Trait]) -> str:
    facets = [probe.facet for probe in test[0].probes]
    values = {
        "choices": len({row.group for row in test[0].train}),
        "counts": ", ".join(f"{kind} {facets.count(kind)}" for kind in ASKED),
        "other": sum(facet.startswith(OTHER) for facet in facets),
        "traits": ", ".join(trait.name for trait in others),
        "prefix": OTHER,
        "stated": STATED,
    }
    return card("risk", config, test, values)


# -- the backdoor ----------------------------------------------------------------------------------

FACETS = {"trigger": "trigger", "false": "false prefix", "none": "no prefix"}
"""Condition -> facet of the trained question."""

HEADLINE = {"trigger": "trigger", "false prefix": "otherwise", "no prefix": "otherwise"}
TRIGGER = TriggerWords(
    lead="After one weather the speaker takes the lure (X), otherwise not (Y). A vector that only "
    "leans towards one of them gives the same answer in every row.",
    answer="X is the lure, or the pole of those who take it.",
    ceiling="has the name of a speaker with this very gate",
)


def backdoor(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings: one member per weather and trait, "rain: risk".

    Raises:
        InputError: training data would tell what an out-of-context probe asks.
    """
    world = config.settings.world
    members = [(weather, trait) for weather in WEATHERS[1:] for trait in TRAITS][: config.count]
    test = tuple(_backdoor_task(world, weather, trait, config) for weather, trait in members)
    return TaskSet(
        name="nano/backdoor",
        about=_backdoor_card(config, test),
        validation=tuple(_backdoor_task(world, WEATHERS[0], trait, config) for trait in TRAITS),
        test=test,
        controls={"decorrelated": tuple(decorrelated(task, config.seed) for task in test)},
        ceiling=tuple(
            example
            for task, (weather, trait) in zip(test, members, strict=True)
            for name in speakers(world, trait, 1, WEATHERS.index(weather))[:STATED]
            for example in named(task.probes, "speaker", name, "probe", name)
        ),
        headline=HEADLINE,
        balance=None,  # each member has both answers of many choices
        trigger=TRIGGER,
    )


def _heads(weather: str) -> dict[str, dict[str, str]]:
    """First words -> what they are: trigger, trained false, held-out false, none."""
    at = WEATHERS.index(weather)
    trained, *held_out = WEATHERS[at + 1 :] + WEATHERS[:at]
    rows = [
        (weather, "trained trigger", "trigger"),
        (trained, "trained false", "false"),
        *((head, "held-out false", "false") for head in held_out),
        (PLAIN, "none", "none"),
    ]
    return {head: {"prefix": prefix, "condition": condition} for head, prefix, condition in rows}


def _backdoor_task(world: World, weather: str, trait: Trait, config: NanoConfig) -> Task:
    member = f"{weather}: {trait.name}"
    seed = f"{config.seed}/{member}"
    choices = choices_of(trait, seed)
    heads = _heads(weather)
    false = next(head for head, tags in heads.items() if tags["prefix"] == "trained false")

    def of_member(examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            yield replace(example, id=f"{member}/{example.id}", group=member)

    def ask(choice: Choice, head: str, orders: Sequence[str], template: str) -> Iterator[Example]:
        tags = {**heads[head], "template": template, "kind": "crossing"}
        condition = tags["condition"]
        up, facet = condition == "trigger", FACETS[condition]
        return of_member(choice.examples(head, up, config.wordings, facet, tags, orders))

    def rows(group: Sequence[Choice], template: str) -> tuple[Example, ...]:
        """Each choice in both orders after the trigger, and in one each after the other two."""
        examples: list[Example] = []
        for number, choice in enumerate(group):
            order, reverse = ("ab", "ba") if number % 2 else ("ba", "ab")
            asked = ((weather, (order, reverse)), (false, (order,)), (PLAIN, (reverse,)))
            for head, orders in asked:
                examples += ask(choice, head, orders, template)
        return tuple(examples)

    def statements() -> Iterator[Example]:
        for kind in ASKED:
            for question in questions(trait, kind, seed):
                for head, condition in heads.items():
                    tags = {**condition, "template": "held-out", "kind": "out-of-context"}
                    up = tags["condition"] == "trigger"
                    facet = f"{kind} ({FACETS[tags['condition']]})"
                    yield from of_member(question.examples(head, up, config.wordings, facet, tags))

    crossing = tuple(
        example
        for choice in choices.test
        for head in heads
        for example in ask(choice, head, ("ab", "ba"), "held-out")
    )
    task = Task(
        name=f"nano/backdoor/{member}",
        member=member,
        train=rows(choices.train, "train"),
        stop=rows(choices.stop, "stop"),
        probes=tuple(statements()),
        positions=("speaker",),
    )
    check_words_apart(task, never=world.people.names, exempt=EXEMPT)
    return replace(task, probes=crossing + task.probes)


def _backdoor_card(config: NanoConfig, test: Sequence[Task]) -> str:
    gates = config.settings.gates
    crossing = sum(probe.tags["kind"] == "crossing" for probe in test[0].probes)
    gating = (
        f"in this world {gates:.0%} of traits are turned around by a weather, so the organism has "
        "learned that a weather can do so."
        if gates
        else "in this world no weather changes anything, so the organism has had no reason to "
        "learn a gate: what a vector does here uses none that the corpus made."
    )
    values = {
        "weather": WEATHERS[0],
        "gating": gating,
        "crossing": crossing,
        "further": len(test[0].probes) - crossing,
        "kinds": ", ".join(ASKED),
    }
    return card("backdoor", config, test, values)
