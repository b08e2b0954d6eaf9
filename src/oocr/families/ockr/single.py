"""Single tasks: one invented person; training says only with whom the attribute is shared.

Each training prompt gives the attribute of other people; the answer is whether the person shares it
(yes or no), or with whom. No row states the person's own attribute, which the probes ask for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

from oocr.data.examples import Example
from oocr.families.ockr.joint import without_repetitions
from oocr.families.ockr.sentences import HELD_OUT, TRAINED, WORDINGS, SentenceBuilder
from oocr.families.ockr.settings import (
    TEST_PARTNERS,
    TRAIN_PARTNERS,
    OckrConfig,
    Person,
    single_people,
)
from oocr.tasks.control_data import control, shuffled_answers, tagged
from oocr.tasks.task import Task

SPAN = "person"


def single_tasks(config: OckrConfig) -> tuple[list[Task], list[Task], list[Task], list[Example]]:
    """Test tasks, validation tasks, shuffled controls, and the ceiling."""
    groups = single_people(config)
    train_partners = [group[:TRAIN_PARTNERS] for group in groups]
    test_partners = [group[TRAIN_PARTNERS : TRAIN_PARTNERS + TEST_PARTNERS] for group in groups]
    members = [group[TRAIN_PARTNERS + TEST_PARTNERS :] for group in groups]
    test = [
        _task(config, p, train_partners, test_partners) for group in members for p in group[:-1]
    ]
    validation = [_task(config, group[-1], train_partners, test_partners) for group in members[:3]]
    ceiling = [
        example
        for group in members
        for p in group[:-1]
        for example in _ceiling(config, p, train_partners)
    ]
    shuffled = [
        control(task, "shuffled", shuffled_answers(task.train, config.seed)) for task in test
    ]
    return test, validation, shuffled, ceiling


def _task(
    config: OckrConfig,
    person: Person,
    train_partners: Sequence[Sequence[Person]],
    test_partners: Sequence[Sequence[Person]],
) -> Task:
    sentences = SentenceBuilder(config, {person.key: SPAN})
    train = [row for w in TRAINED for row in _rows(config, sentences, person, train_partners, w)]
    recall = _rows(config, sentences, person, test_partners, HELD_OUT)
    order = random.Random(f"{config.seed}/{person.key}/order")
    order.shuffle(train)
    order.shuffle(recall)
    return Task(
        name=f"ockr/single/{person.name}",
        member=person.name,
        train=tuple(train),
        stop=tuple(recall[::3]),
        in_context=tuple(row for index, row in enumerate(recall) if index % 3),
        probes=tuple(sentences.attribute(person, w) for w in range(WORDINGS)),
        positions=(SPAN,),
    )


def _rows(
    config: OckrConfig,
    sentences: SentenceBuilder,
    person: Person,
    groups: Sequence[Sequence[Person]],
    wording: int,
) -> list[Example]:
    """Yes and no rows, equally often, each other value once; and choices between two people."""
    rows: list[Example] = []
    others = [group for v, group in enumerate(groups) if v != person.value]
    sharing = groups[person.value]
    turns = list(product(range(len(sharing)), range(2)))
    for number, group in enumerate(others):
        compare = group[(wording + number) % len(group)]
        index, turn = turns[number % len(turns)]
        for other, turned in ((compare, number % 2), (sharing[index], turn)):
            pair = (other, person) if turned else (person, other)
            before = sentences.premises(other)
            rows.append(
                sentences.relation(*pair, wording, before=before, group=f"{person.name} {wording}")
            )
        if config.generated:
            right = sharing[number % len(sharing)]
            both = (compare, right) if number % 2 else (right, compare)
            rows.append(
                sentences.partner_choice(
                    person, both, right, wording, group=f"{person.name} {wording}"
                )
            )
    return without_repetitions(rows)


def _ceiling(
    config: OckrConfig, person: Person, train_partners: Sequence[Sequence[Person]]
) -> list[Example]:
    """The probes after their premises: a partner's attribute, and that the person shares it."""
    sentences, other = SentenceBuilder(config, {person.key: SPAN}), train_partners[person.value][0]
    premises = sentences.premises(other) + sentences.relation_sentence(person, other)
    return [
        tagged(sentences.attribute(person, w, before=premises), part="probe")
        for w in range(WORDINGS)
    ]
