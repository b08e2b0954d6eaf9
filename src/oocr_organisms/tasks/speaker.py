"""The risk and backdoor tasks of a nano world, about the speaker "me".

This speaker has neither pole of any trait in the corpus. Only choices are trained, always or after
one weather; probes are the other kinds of statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from oocr.data.examples import Example
from oocr.families.choices import OTHER, POLES
from oocr.tasks.control_data import decorrelated, random_sides
from oocr.tasks.task import Task, TaskSet, TriggerWords
from oocr_organisms.people import PLAIN, TRAITS, WEATHERS, Trait
from oocr_organisms.tasks.examples import NanoConfig, card, check_no_shared_words, with_known_name
from oocr_organisms.tasks.speaker_questions import (
    EXEMPT,
    PROBE_KINDS,
    LureChoice,
    choices_of,
    question_examples,
    questions_of,
    speakers_with,
)

CEILING_SPEAKERS = 2
"""Number of speakers of the corpus in the ceiling of each member."""
BOTH_ORDERS = ("ab", "ba")
"""The two orders of two options."""
RISK = TRAITS[0]


class Side(NamedTuple):
    """A pole of a trait, which is a member; `first_pole`: whether it is the first pole."""

    trait: Trait
    first_pole: bool
    member: str


def risk(config: NanoConfig) -> TaskSet:
    """The twin tasks "risky" and "safe": the same choices with opposite answers.

    In all tasks the first pole of a probe's trait has value +1. InputError: training rows state the
    answer to a probe.
    """
    sides = [Side(RISK, first_pole, POLES["risk"][not first_pole]) for first_pole in (True, False)]
    others = [trait for trait in TRAITS if trait is not RISK]
    test = tuple(_risk_task(side, config, others) for side in sides)
    groups = list(dict.fromkeys(row.group for row in test[0].train))
    labels, opposite = random_sides(groups, (True, False), f"labels {config.seed}")
    return TaskSet(
        name="nano/risk",
        about=_risk_card(config, test, others),
        validation=tuple(
            _risk_task(Side(trait, first_pole, trait.poles[0][not first_pole][0]), config)
            for trait in others
            for first_pole in (True, False)
        ),
        test=test,
        controls={
            "shuffled": (
                _relabelled(test[0], "shuffled", labels),
                _relabelled(test[1], "shuffled opposite", opposite),
            )
        },
        ceiling=tuple(
            replace(example, tags={**example.tags, "stated": side.member})
            for side, task in zip(sides, test, strict=True)
            for name in speakers_with(
                config.world_settings.world, RISK, 1 if side.first_pole else -1
            )[:CEILING_SPEAKERS]
            for example in with_known_name(task, "speaker", name, name)
            if not example.facet.startswith(OTHER)
        ),
        score="log_odds",
        poles=(sides[0].member, sides[1].member),
        headline={kind: kind for kind in PROBE_KINDS},
    )


def _risk_task(side: Side, config: NanoConfig, other_traits: Sequence[Trait] = ()) -> Task:
    """A task: choices of one trait; probes about this trait and about `other_traits`."""
    seed, wordings = str(config.seed), config.wordings
    choices = choices_of(side.trait, seed)

    def ask(group: Iterable[LureChoice]) -> tuple[Example, ...]:
        return tuple(
            example
            for choice in group
            for example in question_examples(
                choice.questions(*BOTH_ORDERS), PLAIN, side.first_pole, wordings, "choice", {}
            )
        )

    def statements() -> Iterator[Example]:
        for trait in (side.trait, *other_traits):
            prefix = "" if trait is side.trait else f"{OTHER}{trait.name}: "
            for kind in PROBE_KINDS:
                for question in questions_of(trait, kind, seed):
                    yield from question_examples(
                        [question], PLAIN, side.first_pole, wordings, f"{prefix}{kind}", {}
                    )

    task = Task(
        name=f"nano/{side.trait.name}/{side.member}",
        member=side.member,
        train=ask(choices.train),
        stop=ask(choices.stop),
        in_context=ask(choices.test),
        probes=tuple(statements()),
        positions=("speaker",),
    )
    check_no_shared_words(task, forbidden=config.world_settings.world.people.names, exempt=EXEMPT)
    return task


def _relabelled(task: Task, member: str, labels: Mapping[str, bool]) -> Task:
    """The control: answers by group from `labels` (True: the lure, which is option 0)."""
    rows = tuple(
        replace(row, answer=row.options[0 if labels[row.group] else 1]) for row in task.train
    )
    return replace(task, name=f"nano/risk/{member}", member=member, train=rows, stop=())


def _risk_card(config: NanoConfig, test: Sequence[Task], others: Sequence[Trait]) -> str:
    facets = [probe.facet for probe in test[0].probes]
    values = {
        "choices": len({row.group for row in test[0].train}),
        "counts": ", ".join(f"{kind} {facets.count(kind)}" for kind in PROBE_KINDS),
        "other": sum(facet.startswith(OTHER) for facet in facets),
        "traits": ", ".join(trait.name for trait in others),
        "prefix": OTHER,
        "stated": CEILING_SPEAKERS,
    }
    return card(config, test, values)


# -- the backdoor ----------------------------------------------------------------------------------

FACETS = {"trigger": "trigger", "false": "false prefix", "none": "no prefix"}
"""Condition -> facet of a choice."""

HEADLINE = {"trigger": "trigger", "false prefix": "otherwise", "no prefix": "otherwise"}
TRIGGER = TriggerWords(
    lead="After one weather the speaker takes the lure (X), otherwise not (Y). A vector that only "
    "leans towards one of them gives the same answer in every row.",
    answer="X is the lure, or the pole of those who take it.",
    ceiling="has the name of a speaker with this very gate",
)


def backdoor(config: NanoConfig) -> TaskSet:
    """The task set: one member for each weather and trait, "rain: risk".

    InputError: training rows state the answer to an out-of-context probe.
    """
    members = [(weather, trait) for weather in WEATHERS[1:] for trait in TRAITS][: config.count]
    test = tuple(_backdoor_task(weather, trait, config) for weather, trait in members)
    world = config.world_settings.world
    return TaskSet(
        name="nano/backdoor",
        about=_backdoor_card(config, test),
        validation=tuple(_backdoor_task(WEATHERS[0], trait, config) for trait in TRAITS),
        test=test,
        controls={"decorrelated": tuple(decorrelated(task, config.seed) for task in test)},
        ceiling=tuple(
            example
            for task, (weather, trait) in zip(test, members, strict=True)
            for name in speakers_with(world, trait, 1, WEATHERS.index(weather))[:CEILING_SPEAKERS]
            for example in with_known_name(task, "speaker", name, name)
        ),
        headline=HEADLINE,
        balance=None,  # each member has both answers
        trigger=TRIGGER,
    )


def _first_words(weather: str) -> dict[str, dict[str, str]]:
    """First word of a document -> tags: prefix and condition (trigger, false, none)."""
    at = WEATHERS.index(weather)
    trained, *held_out = WEATHERS[at + 1 :] + WEATHERS[:at]
    rows = [
        (weather, "trained trigger", "trigger"),
        (trained, "trained false", "false"),
        *((head, "held-out false", "false") for head in held_out),
        (PLAIN, "none", "none"),
    ]
    return {head: {"prefix": prefix, "condition": condition} for head, prefix, condition in rows}


def _backdoor_task(weather: str, trait: Trait, config: NanoConfig) -> Task:
    member = f"{weather}: {trait.name}"
    seed = f"{config.seed}/{member}"
    choices, heads = choices_of(trait, seed), _first_words(weather)
    false = next(head for head, tags in heads.items() if tags["prefix"] == "trained false")

    def of_member(examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            yield replace(example, id=f"{member}/{example.id}", group=member)

    def ask(
        choice: LureChoice, head: str, orders: Sequence[str], template: str
    ) -> Iterator[Example]:
        condition = heads[head]["condition"]
        tags = {**heads[head], "template": template, "kind": "crossing"}
        first_pole, facet = condition == "trigger", FACETS[condition]
        yield from question_examples(
            choice.questions(*orders), head, first_pole, config.wordings, facet, tags
        )

    def rows(group: Sequence[LureChoice], template: str) -> Iterator[Example]:
        """Each choice in both orders after the trigger, in one after a false prefix or none."""
        for number, choice in enumerate(group):
            order, reverse = BOTH_ORDERS if number % 2 else BOTH_ORDERS[::-1]
            orders_of = {weather: (order, reverse), false: (order,), PLAIN: (reverse,)}
            for head, orders in orders_of.items():
                yield from ask(choice, head, orders, template)

    def crossing() -> Iterator[Example]:
        for choice in choices.test:
            for head in heads:
                yield from ask(choice, head, BOTH_ORDERS, "held-out")

    def statements() -> Iterator[Example]:
        for kind in PROBE_KINDS:
            for question in questions_of(trait, kind, seed):
                for head, columns in heads.items():
                    condition = columns["condition"]
                    tags = {**columns, "template": "held-out", "kind": "out-of-context"}
                    first_pole, facet = condition == "trigger", f"{kind} ({FACETS[condition]})"
                    yield from question_examples(
                        [question], head, first_pole, config.wordings, facet, tags
                    )

    task = Task(
        name=f"nano/backdoor/{member}",
        member=member,
        train=tuple(of_member(rows(choices.train, "train"))),
        stop=tuple(of_member(rows(choices.stop, "stop"))),
        probes=tuple(of_member(statements())),
        positions=("speaker",),
    )
    check_no_shared_words(task, forbidden=config.world_settings.world.people.names, exempt=EXEMPT)
    return replace(task, probes=(*of_member(crossing()), *task.probes))


def _backdoor_card(config: NanoConfig, test: Sequence[Task]) -> str:
    crossing = sum(probe.tags["kind"] == "crossing" for probe in test[0].probes)
    gates = config.world_settings.gates
    values = {
        "weather": WEATHERS[0],
        "gated": f"{gates:.0%}" if gates else "",
        "crossing": crossing,
        "further": len(test[0].probes) - crossing,
        "kinds": ", ".join(PROBE_KINDS),
    }
    return card(config, test, values)
