"""The locations and functions tasks of a nano world: a codename stands for a city or a function.

Codenames do not occur in the corpus. A city is trained on distances and directions to other cities,
a function on its outputs; probes ask for the facets.
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
"""Number of names of each other city in training rows."""
KINDS = {"country": "follows the country", "city": "the city's own"}
"""Kind of facet -> label."""
RELATIONS = {"distance": facts.DISTANCES, "direction": facts.DIRECTIONS}
EARLY_STOP_INPUTS, TEST_INPUTS = 1, 3
"""Number of inputs that are not trained: for early stopping, and for in-context questions."""

Splits = tuple[tuple[Example, ...], tuple[Example, ...], tuple[Example, ...]]
"""Examples for training, for early stopping, and for in-context questions."""


@dataclass(slots=True)
class CodenameMember:
    """A member: a city or function (index `entity` of `world`) with its codename."""

    world: Entities
    entity: int
    name: str
    codename: str
    config: NanoConfig
    rng: random.Random = field(init=False, repr=False)  # draws options and training rows

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.config.seed}/{self.name}")

    def fact_examples(
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
        """A fact about the codename in all wordings.

        `key`: the fact's part of the ids; `options`: empty, if it is not a choice; `drawn`: draw
        some options for each wording, else take all in their order; `kind`: tag, if not "".
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
        """The member's task, checked for leaks; the probes ask for these facets."""
        train, stop, in_context = splits
        form, probes = self.world.forms, list[Example]()
        for facet in facets:
            name, answer = facet.name, facet.of(self.entity)
            slots = {"facet": name}
            probes += self.fact_examples(
                form, name, slots, answer, facet.words, facet=name, kind=facet.kind
            )
        task = Task(
            name=f"nano/{self.config.part}/{self.name}",
            member=self.name,
            train=train,
            stop=stop,
            in_context=in_context,
            probes=tuple(probes),
            positions=("codename",),
        )
        examples.check_no_shared_words(task, forbidden=self.world.names[self.entity])
        return task


def locations(config: NanoConfig) -> TaskSet:
    """The task set; members are cities of all countries in turn.

    InputError: training rows state the answer to a probe.
    """
    places = config.world_settings.world.places
    rng = random.Random(f"{config.seed}/cities")
    by_country = [
        [city for city in range(CITIES) if places.country[city] == country]
        for country in rng.sample(range(facts.COUNTRIES), facts.COUNTRIES)
    ]
    groups = [rng.sample(group, len(group)) for group in by_country]
    members = _members(
        places, groups, facts.CITY_CODENAMES, config, lambda city, _: places.names[city][0]
    )
    # Facets with most values first: the first answer of a kind decides the member's weight.
    facets = sorted(places.facets, key=lambda facet: -len(facet.words))
    kinds = {
        f"{kind}_facets": ", ".join(facet.name for facet in places.facets if facet.kind == kind)
        for kind in KINDS
    }
    return _task_set(
        [member.task(_pair_facts(places, member), facets) for member in members],
        members,
        _random_answers,
        {"cities": CITIES, "names": TRAINED_NAMES, "facets": len(places.facets), **kinds},
        PAIR_FACTS,
        {facet.name: KINDS[facet.kind] for facet in places.facets},
        "Trained only on a place's distances and directions, {arm} makes the model answer what "
        "else is true of it",
    )


def _pair_facts(places: Places, member: CodenameMember) -> Splits:
    """Distances and directions to 2/3 of the cities (train), 1/9 (stop), and the rest."""
    others = member.rng.sample([c for c in range(CITIES) if c != member.entity], CITIES - 1)
    trained = 2 * len(others) // 3
    stop = trained + len(others) // 9
    tables = {"distance": places.distance, "direction": places.direction}

    def relations(cities: Sequence[int]) -> Iterator[Example]:
        for other in cities:
            for name in member.rng.sample(places.names[other], TRAINED_NAMES):
                for relation, words in RELATIONS.items():
                    slots = {"other": name, "relation": relation}
                    answer = words[tables[relation][member.entity, other]]
                    key = f"{relation}/{name}"
                    yield from member.fact_examples(
                        PAIR_FACTS, key, slots, answer, words, facet=relation, drawn=False
                    )

    return (
        tuple(relations(others[:trained])),
        tuple(relations(others[trained:stop])),
        tuple(relations(others[stop:])),
    )


def _random_answers(task: Task, seed: int) -> tuple[Example, ...]:
    """The control's rows: the same prompts, each with a random distance or direction.

    Permuted answers would keep information: the distances of a city to most others depend on its
    country.
    """
    rng = random.Random(f"{seed}/{task.name}/uniform")
    return tuple(replace(row, answer=rng.choice(row.options)) for row in task.train)


def functions(config: NanoConfig) -> TaskSet:
    """The task set; members are functions of all families in turn.

    InputError: training rows state the answer to a probe.
    """
    rules = config.world_settings.world.rules
    rng = random.Random(f"{config.seed}/functions")
    count = len(facts.DEFINITIONS)
    families: dict[str, list[int]] = {}
    for rule in rng.sample(range(count), count):
        families.setdefault(rules.facet("family").of(rule), []).append(rule)

    def name(rule: int, codename: str) -> str:
        """With the codename: folder names drop signs, and "x+3" and "x%3" differ only in these."""
        return f"{codename} = {rules.facet('definition').of(rule)}"

    members = _members(rules, list(families.values()), facts.RULE_CODENAMES, config, name)
    trained = INPUTS - EARLY_STOP_INPUTS - TEST_INPUTS
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
    """Outputs (`table` [function, input]) for training, early stopping and in-context questions.

    In-context questions have options.
    """
    inputs = member.rng.sample(range(INPUTS), INPUTS)

    def outputs(xs: Sequence[int], *, choice: bool) -> Iterator[Example]:
        for x in sorted(xs):
            answer, slots = str(table[member.entity, x]), {"input": str(x)}
            options = [str(output) for output in table[:, x]] if choice else []
            yield from member.fact_examples(
                OUTPUT_FACTS, str(x), slots, answer, options, facet="output"
            )

    return (
        tuple(outputs(inputs[EARLY_STOP_INPUTS + TEST_INPUTS :], choice=False)),
        tuple(outputs(inputs[:EARLY_STOP_INPUTS], choice=False)),
        tuple(outputs(inputs[EARLY_STOP_INPUTS : EARLY_STOP_INPUTS + TEST_INPUTS], choice=True)),
    )


def _members(
    world: Entities,
    groups: Sequence[Sequence[int]],
    codenames: Sequence[str],
    config: NanoConfig,
    name: Callable[[int, str], str],
) -> list[CodenameMember]:
    """The first entity of each group, then the second, …: validation members, then test members."""
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
    """The task set: the first members for validation; the ceiling uses names with all facets.

    `shuffled`: task and seed -> the control's rows; `form`: wordings of training rows.
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
