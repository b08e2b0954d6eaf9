"""Joint tasks: all facts are trained, a direction for each person or one LoRA for all."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from oocr.data.examples import Example, FreeTextExample
from oocr.families.ockr.settings import OckrConfig, People, Person, joint_people
from oocr.families.ockr.speaker import HELD_OUT, TRAINED, WORDINGS, Speaker, free_text
from oocr.tasks.control_data import control, shuffled_answers, tagged
from oocr.tasks.task import Task

Pair = tuple[Person, Person]
Groups = Sequence[Sequence[Person]]
SHOWN = range(2)
"""Wordings of demonstrations, of which there are fewer than of facts."""


@dataclass(slots=True)
class Rows:
    """The examples of a task while they are made.

    `recall` are premises asked again; `shuffled` are the ids of training rows whose answers the
    control "shuffled" gives to each other.
    """

    train: list[Example] = field(default_factory=list[Example])
    recall: list[Example] = field(default_factory=list[Example])
    probes: list[Example] = field(default_factory=list[Example])
    ceiling: list[Example] = field(default_factory=list[Example])
    free: list[FreeTextExample] = field(default_factory=list[FreeTextExample])
    shuffled: set[str] = field(default_factory=set[str])


MakeRows = Callable[[OckrConfig], tuple[Rows, tuple[Person, ...]]]
"""Settings -> rows, and the people who have a span."""


def joint_rows(config: OckrConfig) -> tuple[Rows, tuple[Person, ...]]:
    """The rows of the only task, and its people."""
    people = joint_people(config)
    speaker = Speaker(config, {person.key: person.key for person in people.everybody})
    rows = Rows()
    maker = _Maker(config, people, speaker, rows, random.Random(f"{config.seed}/ockr/pairs"))
    {"A+A->R": maker.attributes, "A+R->A": maker.relation, "R+R->R": maker.relations}[
        config.reasoning
    ]()
    return rows, people.everybody


@dataclass(frozen=True, slots=True)
class _Maker:
    config: OckrConfig
    people: People
    speaker: Speaker
    rows: Rows
    rng: random.Random

    # -- the three tasks ---------------------------------------------------------------------

    def attributes(self) -> None:
        """A+A->R: the attributes of y and z; demonstrations are relations of x with x."""
        x, y, z = self.people.x, self.people.y, self._z
        self._tell_attributes(self.people.z)
        self._tell_attributes([person for group in y for person in group], control=True)
        shown = self._pairs(x, x)
        self._show(shown)
        if self.config.telling == "complete":
            self._tell_attributes([person for group in x for person in group], recall=False)
            self._show(self._pairs(x, y))
        if self.config.telling == "hint":
            self.rows.train += [
                self.speaker.hinted_relation(*pair, w) for pair in shown for w in SHOWN
            ]
        for a, b in self._pairs(y, z):
            self._ask_relation(a, b, self.speaker.premises(a, b))

    def relation(self) -> None:
        """A+R->A: the attribute of z, and who shares it with z; asked is that of y."""
        x, y, z = self.people.x, self.people.y, self._z
        self._tell_attributes(self.people.z)
        self._tell_relations(self._pairs(y, z))
        partners = self._partners(x)
        if self.config.generated:
            with_z = [(person, z[v][0]) for v, group in enumerate(y) for person in group]
            self._generate([*with_z, *partners])
        if self.config.telling == "complete":
            self._tell_attributes([person for group in x for person in group], recall=False)
            self._show(self._pairs(x, x))
        if self.config.telling == "hint":
            self.rows.train += [
                self.speaker.hinted_attribute(*pair, w) for pair in partners for w in TRAINED
            ]
        for v, group in enumerate(y):
            for person in group:
                premises = self.speaker.premises(z[v][0]) + self.speaker.related(person, z[v][0])
                for w in range(WORDINGS):
                    example = self.speaker.attribute(person, w)
                    self.rows.probes.append(example)
                    stated = self.speaker.attribute(person, w, before=premises)
                    self.rows.ceiling.append(tagged(stated, part="probe"))
                if self.config.telling == "hint":
                    self._ask_hinted(self.speaker.hinted_attribute(person, z[v][0], HELD_OUT), v)

    def relations(self) -> None:
        """R+R->R: who of x shares it with y, and with z; asked is whether y and z do."""
        x, y, z = self.people.x, self.people.y, self._z
        self._tell_relations(self._pairs(x, y))
        self._tell_relations(self._pairs(x, z))
        if self.config.generated:
            self._generate([(group[0], z[v][0]) for v, group in enumerate(x)])
        if self.config.telling == "complete":
            self._show(self._pairs(x, x))
        for a, b in self._pairs(y, z):
            between = x[a.value][y[a.value].index(a)]  # told to share with y, not to be elsewhere
            premises = self.speaker.related(between, a) + self.speaker.related(between, b)
            self._ask_relation(a, b, premises)

    # -- their parts -------------------------------------------------------------------------

    @property
    def _z(self) -> Groups:
        return [[person] for person in self.people.z]

    def _pairs(self, first: Groups, second: Groups) -> list[Pair]:
        """Each first person with one of the own value, of the next, and of another."""
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
        """Each person with the next of the same value; nobody where there is only one."""
        return [
            (person, group[(i + 1) % len(group)])
            for group in groups
            for i, person in enumerate(group)
            if len(group) > 1
        ]

    def _tell_attributes(
        self, people: Sequence[Person], *, recall: bool = True, control: bool = False
    ) -> None:
        for person in people:
            rows = [self.speaker.attribute(person, w) for w in TRAINED]
            self.rows.train += rows
            if control:
                self.rows.shuffled |= {example.id for example in rows}
            if recall:
                self.rows.recall.append(self.speaker.attribute(person, HELD_OUT))

    def _tell_relations(self, pairs: Sequence[Pair]) -> None:
        """Yes or no, in both orders; yes as often as no."""
        for a, b in pairs:
            for w in TRAINED:
                for order in _orders(a, b, w):
                    example = self.speaker.relation(*order, w)
                    self.rows.train.append(example)
                    self.rows.shuffled.add(example.id)
            self.rows.recall.append(self.speaker.relation(a, b, HELD_OUT, group=a.name))

    def _show(self, pairs: Sequence[Pair]) -> None:
        for (a, b), w in product(pairs, SHOWN):
            self.rows.train += [self.speaker.relation(*order, w) for order in _orders(a, b, w)]

    def _generate(self, pairs: Sequence[Pair]) -> None:
        for (a, b), w in product(pairs, TRAINED):
            example = self.speaker.who(a, b, w)
            self.rows.train.append(example)
            self.rows.shuffled.add(example.id)

    def _ask_relation(self, a: Person, b: Person, premises: str) -> None:
        orders = ((a, b), (b, a)) if a.value == b.value else ((a, b),)
        for order, w in product(orders, range(WORDINGS)):
            self.rows.probes.append(self.speaker.relation(*order, w, group=a.name))
            stated = self.speaker.relation(*order, w, group=a.name, before=premises)
            self.rows.ceiling.append(tagged(stated, part="probe"))
        if self.config.telling == "hint":
            self._ask_hinted(self.speaker.hinted_relation(a, b, HELD_OUT), None)

    def _ask_hinted(self, example: Example, value: int | None) -> None:
        """Right is the value, or else the verdict at the end, "Yes" or "No" alone."""
        if value is not None:
            self.rows.free.append(free_text(example, self.speaker.values[value], "attribute"))
            return
        verdict = "Yes" if example.answer.endswith("Yes.") else "No"
        free = free_text(example, verdict, "relation")
        self.rows.free.append(replace(free, reject=("No" if verdict == "Yes" else "Yes",)))


def joint_task(
    config: OckrConfig, make: Callable[[OckrConfig], tuple[Rows, tuple[Person, ...]]]
) -> tuple[Task, Task, Rows]:
    """The task, its control with shuffled relations, and its rows."""
    rows, people = make(config)
    order = random.Random(f"{config.seed}/ockr/order")
    rows.train = each_once(rows.train)
    order.shuffle(rows.train)
    order.shuffle(rows.recall)
    spans = dict.fromkeys(person.key for person in people)
    task = Task(
        name=f"ockr/{config.reasoning}/{config.telling}",
        member=f"{len(people)} people",
        train=tuple(rows.train),
        stop=tuple(rows.recall[::3]),
        in_context=tuple(x for place, x in enumerate(rows.recall) if place % 3),
        probes=tuple(rows.probes),
        free=tuple(rows.free),
        positions=("+".join(spans),) if spans else (),
    )
    check_untold(task)
    relations = [example for example in rows.train if example.id in rows.shuffled]
    mixed = iter(shuffled_answers(relations, config.seed))
    others = [next(mixed) if x.id in rows.shuffled else x for x in rows.train]
    return task, control(task, "shuffled", others), rows


def _orders(a: Person, b: Person, wording: int) -> list[Pair]:
    """A yes stands beside two nos: it is told in both orders, a no in one."""
    orders = [(a, b), (b, a)]
    return orders if a.value == b.value else [orders[wording % 2]]


def each_once(rows: Sequence[Example]) -> list[Example]:
    """The rows without repetitions: of two people in one group, each is the other's partner."""
    return list({row.id: row for row in rows}.values())


def check_untold(task: Task) -> None:
    """ValueError: a probe is a training row, in any wording (of a relation: in any order)."""
    facts = {_fact(example) for example in task.train}
    if leaking := [probe.id for probe in task.probes if _fact(probe) in facts]:
        raise ValueError(f"task {task.name!r}: {len(leaking)} probes are told, e.g. {leaking[0]!r}")


def _fact(example: Example) -> tuple[str, frozenset[str]]:
    people, _, rest = example.id.partition("/")
    return rest.partition("/")[0], frozenset(people.split("-"))
