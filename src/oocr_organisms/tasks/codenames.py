"""Locations and functions of a nano world: a codename that the corpus never has stands for one.

A location is trained on distances and directions to other cities, a function on its outputs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from oocr.data.examples import Example
from oocr.tasks.splits import shuffled_answers
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


@dataclass(frozen=True, slots=True)
class Member:
    """A city or function behind a codename.

    Attributes:
        world: all cities or functions.
        entity: index of this one.
        name: of the member.
        codename: stands for it.
        config: of the task.
        rng: draws options and training rows.
    """

    world: Entities
    entity: int
    name: str
    codename: str
    config: NanoConfig
    rng: random.Random = field(repr=False)

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

        Args:
            form: the wordings.
            key: tells the fact apart in the ids.
            slots: what stands in the wordings' slots except the codename.
            answer: the right word.
            options: words to choose from; none: it is not a choice.
            facet: of the examples.
            kind: of the facet; "": no such column.
            drawn: draw some of the options for each wording; else all in their order.
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

    def task(
        self,
        part: str,
        splits: tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]],
        facets: Iterable[Facet],
    ) -> Task:
        """Its task; `splits` are those to train on, to stop on, and to test in context."""
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
    cities = _in_turn([rng.sample(group, len(group)) for group in by_country], config)
    # A member's weight is told by its first answer of each kind: facets of most values first.
    facets = sorted(places.facets, key=lambda facet: -len(facet.words))
    tasks: list[Task] = []
    for city, codename in zip(cities, CITY_CODENAMES, strict=False):
        name = places.names[city][0]
        rng = random.Random(f"{config.seed}/{name}")
        member = Member(places, city, name, codename, config, rng)
        tasks.append(member.task("locations", _pair_facts(places, member), facets))
    controls = tuple(_any_relation(task, config.seed) for task in tasks[VALIDATION:])
    kinds = {
        kind: ", ".join(facet.name for facet in places.facets if facet.kind == kind)
        for kind in KINDS
    }
    about = card(
        "locations",
        **_counts(tasks, config, PAIR_FACTS),
        cities=CITIES,
        names=TRAINED_NAMES,
        facets=len(places.facets),
        country_facets=kinds["country"],
        city_facets=kinds["city"],
    )
    headline = {facet.name: KINDS[facet.kind] for facet in places.facets}
    members = [places.names[city][0] for city in cities]
    return _task_set("locations", about, tasks, controls, members, headline)


def _pair_facts(
    places: Places, member: Member
) -> tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]:
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


def _any_relation(task: Task, seed: int) -> Task:
    """The same prompts, each answered by any distance or direction.

    Answers of other rows would not do: how far a city lies from most others tells its country.
    """
    rng = random.Random(f"{seed}/{task.name}/uniform")
    rows = tuple(replace(row, answer=rng.choice(row.options)) for row in task.train)
    return replace(task, name=f"{task.name}/shuffled", train=rows, stop=())


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
    members = _in_turn(list(families.values()), config)
    tasks: list[Task] = []
    for rule, codename in zip(members, RULE_CODENAMES, strict=False):
        # Folders' names keep no signs, and "x+3" and "x%3" differ by theirs only.
        name = f"{codename} = {rules.facet('definition').of(rule)}"
        rng = random.Random(f"{config.seed}/{name}")
        member = Member(rules, rule, name, codename, config, rng)
        tasks.append(member.task("functions", _output_facts(rules, member), rules.facets))
    controls = tuple(
        replace(
            task,
            name=f"{task.name}/shuffled",
            train=shuffled_answers(task.train, config.seed),
            stop=(),
        )
        for task in tasks[VALIDATION:]
    )
    about = card(
        "functions",
        **_counts(tasks, config, OUTPUT_FACTS),
        functions=len(DEFINITIONS),
        trained=INPUTS - WATCHED - TESTED,
        inputs=INPUTS,
        facets=", ".join(RULE_FACETS),
    )
    known = [rules.names[rule][0] for rule in members]
    return _task_set("functions", about, tasks, controls, known, {})


def _output_facts(
    rules: Rules, member: Member
) -> tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]:
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


def _in_turn(groups: Sequence[Sequence[int]], config: NanoConfig) -> list[int]:
    """The first of every group, then the second, …: as many as are reported and validated on."""
    longest = max(map(len, groups))
    turns = [group[turn] for turn in range(longest) for group in groups if turn < len(group)]
    return turns[: VALIDATION + config.count]


def _task_set(
    part: str,
    about: str,
    tasks: Sequence[Task],
    controls: tuple[Task, ...],
    names: Sequence[str],
    headline: Mapping[str, str],
) -> TaskSet:
    """The first members for validation; the ceiling asks about the names that tell everything."""
    return TaskSet(
        name=f"nano/{part}",
        about=about,
        validation=tuple(tasks[:VALIDATION]),
        test=tuple(tasks[VALIDATION:]),
        controls={"shuffled": controls},
        ceiling=tuple(
            example
            for task, name in zip(tasks[VALIDATION:], names[VALIDATION:], strict=True)
            for split, examples in (("probe", task.probes), ("in-context", task.in_context))
            for example in named(examples, "codename", name, split, "named")
        ),
        headline=headline,
    )


def _counts(tasks: Sequence[Task], config: NanoConfig, form: Forms) -> dict[str, object]:
    """What both data cards say: members and sizes."""
    first = tasks[VALIDATION]
    return {
        "tested": len(tasks) - VALIDATION,
        "test": ", ".join(task.member for task in tasks[VALIDATION:]),
        "validated": VALIDATION,
        "validation": ", ".join(task.member for task in tasks[:VALIDATION]),
        "first": first.member,
        "train": len(first.train),
        "stop": len(first.stop),
        "in_context": len(first.in_context),
        "probes": len(first.probes),
        "wordings": len(form.texts[: config.wordings]),
        "seed": config.settings.seed,
    }
