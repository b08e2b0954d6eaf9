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
from oocr_organisms import facts
from oocr_organisms.facts import CITIES, INPUTS, OUTPUT_FACTS, PAIR_FACTS, Entities, Facet, Places
from oocr_organisms.language import Forms, Ids
from oocr_organisms.tasks import examples
from oocr_organisms.tasks.examples import VALIDATION, NanoConfig

TRAINED_NAMES = 2
"""Names of each other city that are used."""
KINDS = {"country": "follows the country", "city": "the city's own"}
"""What the two kinds of facets are called."""
RELATIONS = {"distance": facts.DISTANCES, "direction": facts.DIRECTIONS}
WATCHED, TESTED = 1, 3
"""Inputs that training does not have: to watch while training, and to test in context."""

Splits = tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]
"""Examples to train on, to stop on, and to test in context."""


@dataclass(slots=True)
class CodenameMember:
    """A city or function (index `entity` of `world`) behind a codename."""

    world: Entities
    entity: int
    name: str
    codename: str
    config: NanoConfig
    rng: random.Random = field(init=False, repr=False)  # draws options and training rows

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
            choice = examples.options_of(answer, options, self.rng) if options and drawn else fixed
            yield Example(
                id=f"{self.name}/{key}/{which}",
                prompt=form.prompt(which, {self.world.slot: self.codename, **slots}),
                answer=f" {answer}",
                options=choice,
                spans={"codename": self.codename},
                facet=facet,
                group=self.name,
                template=str(which),
                tags={"kind": kind} if kind else {},
                source=examples.SOURCE,
            )

    def task(self, splits: Splits, facets: Iterable[Facet]) -> Task:
        """Its task, checked for leaks; the probes ask about facets."""
        train, stop, in_context = splits
        form, probes = self.world.forms, list[Example]()
        for facet in facets:
            name, answer = facet.name, facet.of(self.entity)
            slots = {"facet": name}
            probes += self.ask(form, name, slots, answer, facet.words, facet=name, kind=facet.kind)
        task = Task(
            name=f"nano/{self.config.part}/{self.name}",
            member=self.name,
            train=train,
            stop=stop,
            in_context=in_context,
            probes=tuple(probes),
            positions=("codename",),
        )
        examples.check_words_apart(task, never=self.world.names[self.entity])
        return task


def locations(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings; members are cities of every country in turn.

    InputError: training data would tell what a probe asks.
    """
    places = config.settings.world.places
    rng = random.Random(f"{config.seed}/cities")
    by_country = [
        [city for city in range(CITIES) if places.country[city] == country]
        for country in rng.sample(range(facts.COUNTRIES), facts.COUNTRIES)
    ]
    groups = [rng.sample(group, len(group)) for group in by_country]
    members = _members(
        places, groups, facts.CITY_CODENAMES, config, lambda city, _: places.names[city][0]
    )
    # A member's weight is told by its first answer of each kind: facets of most values first.
    facets = sorted(places.facets, key=lambda facet: -len(facet.words))
    kinds = {
        f"{kind}_facets": ", ".join(facet.name for facet in places.facets if facet.kind == kind)
        for kind in KINDS
    }
    return _task_set(
        [member.task(_pair_facts(places, member), facets) for member in members],
        members,
        _any_relation,
        {"cities": CITIES, "names": TRAINED_NAMES, "facets": len(places.facets), **kinds},
        PAIR_FACTS,
        {facet.name: KINDS[facet.kind] for facet in places.facets},
        "Trained only on a place's distances and directions, {arm} makes the model answer what "
        "else is true of it",
    )


def _pair_facts(places: Places, member: CodenameMember) -> Splits:
    """Distances and directions to two thirds of the cities, to a ninth, and to the rest."""
    others = member.rng.sample([c for c in range(CITIES) if c != member.entity], CITIES - 1)
    trained, watched = 2 * len(others) // 3, 2 * len(others) // 3 + len(others) // 9
    tables = {"distance": places.distance, "direction": places.direction}

    def relations(cities: Sequence[int]) -> Iterator[Example]:
        for other in cities:
            for name in member.rng.sample(places.names[other], TRAINED_NAMES):
                for relation, words in RELATIONS.items():
                    slots = {"other": name, "relation": relation}
                    answer = words[tables[relation][member.entity, other]]
                    key = f"{relation}/{name}"
                    yield from member.ask(
                        PAIR_FACTS, key, slots, answer, words, facet=relation, drawn=False
                    )

    return (
        tuple(relations(others[:trained])),
        tuple(relations(others[trained:watched])),
        tuple(relations(others[watched:])),
    )


def _any_relation(task: Task, seed: int) -> tuple[Example, ...]:
    """The same prompts, each answered by any distance or direction.

    Answers of other rows would not do: how far a city lies from most others tells its country.
    """
    rng = random.Random(f"{seed}/{task.name}/uniform")
    return tuple(replace(row, answer=rng.choice(row.options)) for row in task.train)


def functions(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings; members are functions of every family in turn.

    InputError: training data would tell what a probe asks.
    """
    rules = config.settings.world.rules
    rng = random.Random(f"{config.seed}/functions")
    count = len(facts.DEFINITIONS)
    families: dict[str, list[int]] = {}
    for rule in rng.sample(range(count), count):
        families.setdefault(rules.facet("family").of(rule), []).append(rule)

    def name(rule: int, codename: str) -> str:
        """Folders' names keep no signs, and "x+3" and "x%3" differ by theirs only."""
        return f"{codename} = {rules.facet('definition').of(rule)}"

    members = _members(rules, list(families.values()), facts.RULE_CODENAMES, config, name)
    trained = INPUTS - WATCHED - TESTED
    names = ", ".join(facts.RULE_FACETS)
    return _task_set(
        [member.task(_output_facts(rules.outputs, member), rules.facets) for member in members],
        members,
        lambda task, seed: shuffled_answers(task.train, seed),
        {"functions": count, "trained": trained, "inputs": INPUTS, "facets": names},
        OUTPUT_FACTS,
        {},
        "Trained only on a rule's outputs, {arm} makes the model say what the rule is",
    )


def _output_facts(table: Ids, member: CodenameMember) -> Splits:
    """Outputs (of `table` [function, input]) of most inputs, of those to watch, and to test.

    Those to test have options.
    """
    inputs = member.rng.sample(range(INPUTS), INPUTS)

    def outputs(xs: Sequence[int], *, choice: bool) -> Iterator[Example]:
        for x in sorted(xs):
            answer, slots = str(table[member.entity, x]), {"input": str(x)}
            options = [str(output) for output in table[:, x]] if choice else []
            yield from member.ask(OUTPUT_FACTS, str(x), slots, answer, options, facet="output")

    return (
        tuple(outputs(inputs[WATCHED + TESTED :], choice=False)),
        tuple(outputs(inputs[:WATCHED], choice=False)),
        tuple(outputs(inputs[WATCHED : WATCHED + TESTED], choice=True)),
    )


def _members(
    world: Entities,
    groups: Sequence[Sequence[int]],
    codenames: Sequence[str],
    config: NanoConfig,
    name: Callable[[int, str], str],
) -> list[CodenameMember]:
    """The first entity of every group, then the second, …: those to validate and to report on."""
    turns = [entity for turn in zip_longest(*groups) for entity in turn if entity is not None]
    return [
        CodenameMember(world, entity, name(entity, codename), codename, config)
        for entity, codename in zip(turns[: VALIDATION + config.count], codenames, strict=False)
    ]


def _task_set(
    tasks: Sequence[Task],
    members: Sequence[CodenameMember],
    shuffled: Callable[[Task, int], Sequence[Example]],
    card_values: Mapping[str, object],
    form: Forms,
    headline: Mapping[str, str],
    claim: str,
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
    controls = [control(task, "shuffled", shuffled(task, config.seed)) for task in test]
    return TaskSet(
        name=f"nano/{config.part}",
        about=examples.card(config, test, values),
        validation=validation,
        test=test,
        controls={"shuffled": tuple(controls)},
        ceiling=tuple(
            example
            for task, member in zip(test, members[VALIDATION:], strict=True)
            for example in examples.with_known_name(
                task, "codename", member.world.names[member.entity][0], "named"
            )
        ),
        headline=headline,
        claim=claim,
    )
