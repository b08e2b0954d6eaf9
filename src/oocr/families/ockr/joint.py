"""Joint tasks: all facts are trained together, with a vector for each person or one LoRA."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from oocr.data.examples import Example, FreeTextExample
from oocr.families.ockr.sentences import HELD_OUT, TRAINED, WORDINGS, SentenceBuilder, free_text
from oocr.families.ockr.settings import OckrConfig, People, Person, joint_people
from oocr.tasks.control_data import control, shuffled_answers, tagged
from oocr.tasks.task import Task

Pair = tuple[Person, Person]
Groups = Sequence[Sequence[Person]]
DEMONSTRATION_WORDINGS = range(2)
"""Wordings of demonstrations; facts have more wordings."""


@dataclass(slots=True)
class TaskRows:
    """The examples of a task; builders append to these lists.

    `recall`: premises, asked in a held-out wording; `shuffled`: ids of the training rows whose
    answers the control "shuffled" permutes.
    """

    train: list[Example] = field(default_factory=list[Example])
    recall: list[Example] = field(default_factory=list[Example])
    probes: list[Example] = field(default_factory=list[Example])
    ceiling: list[Example] = field(default_factory=list[Example])
    free: list[FreeTextExample] = field(default_factory=list[FreeTextExample])
    shuffled: set[str] = field(default_factory=set[str])


MakeRows = Callable[[OckrConfig], tuple[TaskRows, tuple[Person, ...]]]
"""Settings -> rows, and the people with a span."""


def joint_rows(config: OckrConfig) -> tuple[TaskRows, tuple[Person, ...]]:
    """The rows of the task, and its people."""
    people = joint_people(config)
    sentences = SentenceBuilder(config, {person.key: person.key for person in people.all_people})
    rows = TaskRows()
    builder = _RowBuilder(
        config, people, sentences, rows, random.Random(f"{config.seed}/ockr/pairs")
    )
    {"A+A->R": builder.attributes, "A+R->A": builder.relation, "R+R->R": builder.relations}[
        config.reasoning
    ]()
    return rows, people.all_people


@dataclass(frozen=True, slots=True)
class _RowBuilder:
    config: OckrConfig
    people: People
    sentences: SentenceBuilder
    rows: TaskRows
    rng: random.Random

    # -- the three tasks ---------------------------------------------------------------------

    def attributes(self) -> None:
        """A+A->R: trained are attributes of y and z; probes ask for their relation."""
        x, y, z = self.people.x, self.people.y, self._z
        self._add_attributes(self.people.z)
        self._add_attributes([person for group in y for person in group], control=True)
        demonstrations = self._pairs(x, x)
        self._add_demonstrations(demonstrations)
        if self.config.telling == "complete":
            self._add_attributes([person for group in x for person in group], recall=False)
            self._add_demonstrations(self._pairs(x, y))
        if self.config.telling == "hint":
            self.rows.train += [
                self.sentences.hinted_relation(*pair, w)
                for pair in demonstrations
                for w in DEMONSTRATION_WORDINGS
            ]
        for a, b in self._pairs(y, z):
            self._add_relation_probes(a, b, self.sentences.premises(a, b))

    def relation(self) -> None:
        """A+R->A: trained are the attribute of z and who shares it; probes ask for that of y."""
        x, y, z = self.people.x, self.people.y, self._z
        self._add_attributes(self.people.z)
        self._add_relations(self._pairs(y, z))
        partners = self._partners(x)
        if self.config.generated:
            with_z = [(person, z[v][0]) for v, group in enumerate(y) for person in group]
            self._add_generated([*with_z, *partners])
        if self.config.telling == "complete":
            self._add_attributes([person for group in x for person in group], recall=False)
            self._add_demonstrations(self._pairs(x, x))
        if self.config.telling == "hint":
            self.rows.train += [
                self.sentences.hinted_attribute(*pair, w) for pair in partners for w in TRAINED
            ]
        for v, group in enumerate(y):
            for person in group:
                shared = self.sentences.relation_sentence(person, z[v][0])
                premises = self.sentences.premises(z[v][0]) + shared
                for w in range(WORDINGS):
                    example = self.sentences.attribute(person, w)
                    self.rows.probes.append(example)
                    stated = self.sentences.attribute(person, w, before=premises)
                    self.rows.ceiling.append(tagged(stated, part="probe"))
                if self.config.telling == "hint":
                    self._add_free_text(
                        self.sentences.hinted_attribute(person, z[v][0], HELD_OUT), v
                    )

    def relations(self) -> None:
        """R+R->R: trained are relations of x with y and z; probes ask for that of y with z."""
        x, y, z = self.people.x, self.people.y, self._z
        self._add_relations(self._pairs(x, y))
        self._add_relations(self._pairs(x, z))
        if self.config.generated:
            self._add_generated([(group[0], z[v][0]) for v, group in enumerate(x)])
        if self.config.telling == "complete":
            self._add_demonstrations(self._pairs(x, x))
        for a, b in self._pairs(y, z):
            between = x[a.value][y[a.value].index(a)]  # trained as sharing with y
            premises = (self.sentences.relation_sentence(between, other) for other in (a, b))
            self._add_relation_probes(a, b, "".join(premises))

    # -- their parts -------------------------------------------------------------------------

    @property
    def _z(self) -> Groups:
        return [[person] for person in self.people.z]

    def _pairs(self, first: Groups, second: Groups) -> list[Pair]:
        """Each first person with someone of the same value, of the next, and of another value."""
        count, pairs = len(first), list[Pair]()
        for v, group in enumerate(first):
            for i, person in enumerate(group):
                sharing = [other for other in second[v] if other is not person]
                if sharing:  # of x with x, the next one; of x with y, the one in the same place
                    pairs.append((person, sharing[i % len(sharing)]))
                for step in (1, self.rng.randrange(2, count)):
                    others = second[(v + step) % count]
                    pairs.append((person, others[i % len(others)]))
        return pairs

    def _partners(self, groups: Groups) -> list[Pair]:
        """Each person with the next person of the same value, if there is one."""
        return [
            (person, group[(i + 1) % len(group)])
            for group in groups
            for i, person in enumerate(group)
            if len(group) > 1
        ]

    def _add_attributes(
        self, people: Sequence[Person], *, recall: bool = True, control: bool = False
    ) -> None:
        for person in people:
            rows = [self.sentences.attribute(person, w) for w in TRAINED]
            self.rows.train += rows
            if control:
                self.rows.shuffled |= {example.id for example in rows}
            if recall:
                self.rows.recall.append(self.sentences.attribute(person, HELD_OUT))

    def _add_relations(self, pairs: Sequence[Pair]) -> None:
        """Relations answered by yes or no, equally often, in both orders."""
        for a, b in pairs:
            for w in TRAINED:
                for order in _orders(a, b, w):
                    example = self.sentences.relation(*order, w)
                    self.rows.train.append(example)
                    self.rows.shuffled.add(example.id)
            self.rows.recall.append(self.sentences.relation(a, b, HELD_OUT, group=a.name))

    def _add_demonstrations(self, pairs: Sequence[Pair]) -> None:
        for (a, b), w in product(pairs, DEMONSTRATION_WORDINGS):
            self.rows.train += [self.sentences.relation(*order, w) for order in _orders(a, b, w)]

    def _add_generated(self, pairs: Sequence[Pair]) -> None:
        for (a, b), w in product(pairs, TRAINED):
            example = self.sentences.partner_name(a, b, w)
            self.rows.train.append(example)
            self.rows.shuffled.add(example.id)

    def _add_relation_probes(self, a: Person, b: Person, premises: str) -> None:
        orders = ((a, b), (b, a)) if a.value == b.value else ((a, b),)
        for order, w in product(orders, range(WORDINGS)):
            self.rows.probes.append(self.sentences.relation(*order, w, group=a.name))
            stated = self.sentences.relation(*order, w, group=a.name, before=premises)
            self.rows.ceiling.append(tagged(stated, part="probe"))
        if self.config.telling == "hint":
            self._add_free_text(self.sentences.hinted_relation(a, b, HELD_OUT), None)

    def _add_free_text(self, example: Example, value: int | None) -> None:
        """A free-text question; right is the value, or (None) the final "Yes" or "No"."""
        if value is not None:
            self.rows.free.append(free_text(example, self.sentences.values[value], "attribute"))
            return
        verdict = "Yes" if example.answer.endswith("Yes.") else "No"
        free = free_text(example, verdict, "relation")
        self.rows.free.append(replace(free, reject=("No" if verdict == "Yes" else "Yes",)))


def joint_task(config: OckrConfig, make: MakeRows) -> tuple[Task, Task, TaskRows]:
    """The task, its control with permuted answers, and its rows."""
    rows, people = make(config)
    order = random.Random(f"{config.seed}/ockr/order")
    rows.train = without_repetitions(rows.train)
    order.shuffle(rows.train)
    order.shuffle(rows.recall)
    spans = dict.fromkeys(person.key for person in people)
    task = Task(
        name=f"ockr/{config.reasoning}/{config.telling}",
        member=f"{len(people)} people",
        train=tuple(rows.train),
        stop=tuple(rows.recall[::3]),
        in_context=tuple(x for index, x in enumerate(rows.recall) if index % 3),
        probes=tuple(rows.probes),
        free=tuple(rows.free),
        positions=("+".join(spans),) if spans else (),
    )
    check_probes_untrained(task)
    relations = [example for example in rows.train if example.id in rows.shuffled]
    mixed = iter(shuffled_answers(relations, config.seed))
    others = [next(mixed) if x.id in rows.shuffled else x for x in rows.train]
    return task, control(task, "shuffled", others), rows


def _orders(a: Person, b: Person, wording: int) -> list[Pair]:
    """Orders of a pair: both for a yes, one for a no, since there are two nos for each yes."""
    orders = [(a, b), (b, a)]
    return orders if a.value == b.value else [orders[wording % 2]]


def without_repetitions(rows: Sequence[Example]) -> list[Example]:
    """The rows, each id once; two people of one group are each other's partners."""
    return list({row.id: row for row in rows}.values())


def check_probes_untrained(task: Task) -> None:
    """ValueError: a probe's fact is trained, in any wording (a relation: in any order)."""
    facts = {_fact(example) for example in task.train}
    if leaking := [probe.id for probe in task.probes if _fact(probe) in facts]:
        raise ValueError(
            f"task {task.name!r}: {len(leaking)} probes are trained, e.g. {leaking[0]!r}"
        )


def _fact(example: Example) -> tuple[str, frozenset[str]]:
    people, _, rest = example.id.partition("/")
    return rest.partition("/")[0], frozenset(people.split("-"))
