"""Locations and functions of a nano world: a codename that the corpus never has stands for one.

A location is trained on distances and directions to other cities, a function on its outputs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from oocr.data.examples import Example
from oocr.tasks.control_data import control, shuffled_answers
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.facts import (
    CITIES,
    CITY_CODENAMES,
    COUNTRIES,
    DEFINITIONS,
    DIRECTIONS,
    DISTANCES,
    INPUTS,
    OUTPUT_FACTS,
    PAIR_FACTS,
    RULE_CODENAMES,
    RULE_FACETS,
    Entities,
    Facet,
    Places,
    Rules,
)
from oocr_organisms.language import Forms
from oocr_organisms.tasks.examples import (
    SOURCE,
    VALIDATION,
    NanoConfig,
    NanoPart,
    card,
    check_words_apart,
    named,
    options_of,
)

TRAINED_NAMES = 2
"""Names of each other city that are used."""
KINDS = {"country": "follows the country", "city": "the city's own"}
"""What the two kinds of facets are called."""
RELATIONS = {"distance": DISTANCES, "direction": DIRECTIONS}
WATCHED, TESTED = 1, 3
"""Inputs that training does not have: to watch while training, and to test in context."""


Splits = tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]
"""Examples to train on, to stop on, and to test in context."""


@dataclass(slots=True)
class Member:
    """A city or function (index `entity` of `world`) behind a codename.

    Attributes:
        rng: draws options and training rows.
    """

    world: Entities
    entity: int
    name: str
    codename: str
    config: NanoConfig
    rng: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.config.seed}/{self.name}")

    def ask(
        self,
        form: Forms,
        key: str,
        slots: Mapping[str, str],
        answer: str,
        options: Sequence[str],
        *,
        facet: str,
        kind: str = "",
        drawn: bool = True,
    ) -> Iterator[Example]:
        """A fact about the codename in every wording.

        `key` tells the fact apart in ids; without `options` it is no choice; `drawn`: draw some of
        them for each wording, else take all in their order; `kind` "" makes no such column.
        """
        fixed = tuple(f" {word}" for word in options)
        for which in range(len(form.texts[: self.config.wordings])):
            yield Example(
                id=f"{self.name}/{key}/{which}",
                prompt=form.prompt(which, {self.world.slot: self.codename, **slots}),
                answer=f" {answer}",
                options=options_of(answer, options, self.rng) if options and drawn else fixed,
                spans={"codename": self.codename},
                facet=facet,
                group=self.name,
                template=str(which),
                tags={"kind": kind} if kind else {},
                source=SOURCE,
            )

    def probes(self, facets: Iterable[Facet]) -> tuple[Example, ...]:
        """Questions about facets."""
        return tuple(
            example
            for facet in facets
            for example in self.ask(
                self.world.forms,
                facet.name,
                {"facet": facet.name},
                facet.of(self.entity),
                facet.words,
                facet=facet.name,
                kind=facet.kind,
            )
        )

    def task(self, part: NanoPart, splits: Splits, facets: Iterable[Facet]) -> Task:
        """Its task, checked for leaks."""
        train, stop, in_context = splits
        task = Task(
            name=f"nano/{part}/{self.name}",
            member=self.name,
            train=train,
            stop=stop,
            in_context=in_context,
            probes=self.probes(facets),
            positions=("codename",),
        )
        check_words_apart(task, never=self.world.names[self.entity])
        return task


def locations(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings; members are cities of every country in turn.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    places = config.settings.world.places
    rng = random.Random(f"{config.seed}/cities")
    by_country = [
        [city for city in range(CITIES) if places.country[city] == country]
        for country in rng.sample(range(COUNTRIES), COUNTRIES)
    ]
    groups = [rng.sample(group, len(group)) for group in by_country]
    # A member's weight is told by its first answer of each kind: facets of most values first.
    facets = sorted(places.facets, key=lambda facet: -len(facet.words))
    members = _members(
        places, groups, CITY_CODENAMES, config, lambda city, _: places.names[city][0]
    )
    kinds = {
        f"{kind}_facets": ", ".join(facet.name for facet in places.facets if facet.kind == kind)
        for kind in KINDS
    }
    return _task_set(
        "locations",
        [m.task("locations", _pair_facts(places, m), facets) for m in members],
        members,
        _any_relation,
        {"cities": CITIES, "names": TRAINED_NAMES, "facets": len(places.facets), **kinds},
        PAIR_FACTS,
        {facet.name: KINDS[facet.kind] for facet in places.facets},
    )


def _pair_facts(places: Places, member: Member) -> Splits:
    """Distances and directions to two thirds of the cities, to a ninth, and to the rest."""
    others = member.rng.sample([c for c in range(CITIES) if c != member.entity], CITIES - 1)
    trained, watched = 2 * len(others) // 3, 2 * len(others) // 3 + len(others) // 9
    tables = {"distance": places.distance, "direction": places.direction}

    def relations(other: int, name: str) -> Iterator[Example]:
        for relation, words in RELATIONS.items():
            yield from member.ask(
                PAIR_FACTS,
                f"{relation}/{name}",
                {"other": name, "relation": relation},
                words[tables[relation][member.entity, other]],
                words,
                facet=relation,
                drawn=False,
            )

    train, stop, in_context = (
        tuple(
            example
            for other in cities
            for name in member.rng.sample(places.names[other], TRAINED_NAMES)
            for example in relations(other, name)
        )
        for cities in (others[:trained], others[trained:watched], others[watched:])
    )
    return train, stop, in_context


def _any_relation(task: Task, seed: int) -> tuple[Example, ...]:
    """The same prompts, each answered by any distance or direction.

    Answers of other rows would not do: how far a city lies from most others tells its country.
    """
    rng = random.Random(f"{seed}/{task.name}/uniform")
    return tuple(replace(row, answer=rng.choice(row.options)) for row in task.train)


def functions(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings; members are functions of every family in turn.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    rules = config.settings.world.rules
    rng = random.Random(f"{config.seed}/functions")
    families: dict[str, list[int]] = {}
    for rule in rng.sample(range(len(DEFINITIONS)), len(DEFINITIONS)):
        families.setdefault(rules.facet("family").of(rule), []).append(rule)

    def name(rule: int, codename: str) -> str:
        """Folders' names keep no signs, and "x+3" and "x%3" differ by theirs only."""
        return f"{codename} = {rules.facet('definition').of(rule)}"

    members = _members(rules, list(families.values()), RULE_CODENAMES, config, name)
    return _task_set(
        "functions",
        [
            member.task("functions", _output_facts(rules, member), rules.facets)
            for member in members
        ],
        members,
        lambda task, seed: shuffled_answers(task.train, seed),
        {
            "functions": len(DEFINITIONS),
            "trained": INPUTS - WATCHED - TESTED,
            "inputs": INPUTS,
            "facets": ", ".join(RULE_FACETS),
        },
        OUTPUT_FACTS,
        {},
    )


def _output_facts(rules: Rules, member: Member) -> Splits:
    """Outputs of most inputs, of those to watch, and, with options, of those to test."""
    inputs = member.rng.sample(range(INPUTS), INPUTS)

    def outputs(xs: Sequence[int], *, choice: bool) -> tuple[Example, ...]:
        examples: list[Example] = []
        for x in sorted(xs):
            answer = str(rules.outputs[member.entity, x])
            options = [str(output) for output in rules.outputs[:, x]] if choice else []
            slots = {"input": str(x)}
            examples += member.ask(OUTPUT_FACTS, str(x), slots, answer, options, facet="output")
        return tuple(examples)

    return (
        outputs(inputs[WATCHED + TESTED :], choice=False),
        outputs(inputs[:WATCHED], choice=False),
        outputs(inputs[WATCHED : WATCHED + TESTED], choice=True),
    )


def _members(
    world: Entities,
    groups: Sequence[Sequence[int]],
    codenames: Sequence[str],
    config: NanoConfig,
    name: Callable[[int, str], str],
) -> list[Member]:
    """The first entity of every group, then the second, …: those to validate and to report on."""
    turns = [entity for turn in zip_longest(*groups) for entity in turn if entity is not None]
    return [
        Member(world, entity, name(entity, codename), codename, config)
        for entity, codename in zip(turns[: VALIDATION + config.count], codenames, strict=False)
    ]


def _task_set(
    part: NanoPart,
    tasks: Sequence[Task],
    members: Sequence[Member],
    shuffled: Callable[[Task, int], Sequence[Example]],
    card_values: Mapping[str, object],
    form: Forms,
    headline: Mapping[str, str],
) -> TaskSet:
    """The first members for validation; the ceiling asks about the names that tell everything.

    `shuffled` makes the control's rows of a task, given the seed; `form` is that of training.
    """
    config = members[0].config
    validation, test = tuple(tasks[:VALIDATION]), tuple(tasks[VALIDATION:])
    values = {
        "validated": VALIDATION,
        "validation": ", ".join(task.member for task in validation),
        "wordings": len(form.texts[: config.wordings]),
        **card_values,
    }
    return TaskSet(
        name=f"nano/{part}",
        about=card(part, config, test, values),
        validation=validation,
        test=test,
        controls={
            "shuffled": tuple(
                control(task, "shuffled", shuffled(task, config.seed)) for task in test
            )
        },
        ceiling=tuple(
            example
            for task, member in zip(test, members[VALIDATION:], strict=True)
            for split, examples in (("probe", task.probes), ("in-context", task.in_context))
            for example in named(
                examples, "codename", member.world.names[member.entity][0], split, "named"
            )
        ),
        headline=headline,
    )
