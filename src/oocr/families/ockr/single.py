"""Single tasks: one invented person, told only by who shares the attribute.

Each training row says the attributes of others in its prompt, and trains whether the person shares
it (yes or no), or with whom. No row says the person's own, which is asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

from oocr.data.examples import Example
from oocr.families.ockr.joint import each_once
from oocr.families.ockr.settings import HELD_OUT as UNSEEN
from oocr.families.ockr.settings import TOLD, OckrConfig, Person, single_people
from oocr.families.ockr.speaker import HELD_OUT, TRAINED, WORDINGS, Speaker
from oocr.tasks.control_data import control, shuffled_answers, tagged
from oocr.tasks.task import Task

SPAN = "person"


def single_tasks(config: OckrConfig) -> tuple[list[Task], list[Task], list[Task], list[Example]]:
    """The reported tasks, those that choose settings, shuffled controls, and the ceiling."""
    groups = single_people(config)
    known = [group[:TOLD] for group in groups]
    unseen = [group[TOLD : TOLD + UNSEEN] for group in groups]
    subjects = [group[TOLD + UNSEEN :] for group in groups]
    test = [_task(config, p, known, unseen) for group in subjects for p in group[:-1]]
    validation = [_task(config, group[-1], known, unseen) for group in subjects[:3]]
    ceiling = [
        example for group in subjects for p in group[:-1] for example in _ceiling(config, p, known)
    ]
    shuffled = [
        control(task, "shuffled", shuffled_answers(task.train, config.seed)) for task in test
    ]
    return test, validation, shuffled, ceiling


def _task(
    config: OckrConfig,
    person: Person,
    known: Sequence[Sequence[Person]],
    unseen: Sequence[Sequence[Person]],
) -> Task:
    speaker = Speaker(config, {person.key: SPAN})
    train = [row for w in TRAINED for row in _rows(config, speaker, person, known, w)]
    recall = _rows(config, speaker, person, unseen, HELD_OUT)
    order = random.Random(f"{config.seed}/{person.key}/order")
    order.shuffle(train)
    order.shuffle(recall)
    return Task(
        name=f"ockr/single/{person.name}",
        member=person.name,
        train=tuple(train),
        stop=tuple(recall[::3]),
        in_context=tuple(row for place, row in enumerate(recall) if place % 3),
        probes=tuple(speaker.attribute(person, w) for w in range(WORDINGS)),
        positions=(SPAN,),
    )


def _rows(
    config: OckrConfig,
    speaker: Speaker,
    person: Person,
    groups: Sequence[Sequence[Person]],
    wording: int,
) -> list[Example]:
    """Yes as often as no, each other value once; and who of two shares it, in either order."""
    rows: list[Example] = []
    others = [group for v, group in enumerate(groups) if v != person.value]
    sharing = groups[person.value]
    turns = list(product(range(len(sharing)), range(2)))
    for number, group in enumerate(others):
        compare = group[(wording + number) % len(group)]
        place, turn = turns[number % len(turns)]
        for other, turned in ((compare, number % 2), (sharing[place], turn)):
            pair = (other, person) if turned else (person, other)
            before = speaker.premises(other)
            rows.append(
                speaker.relation(*pair, wording, before=before, group=f"{person.name} {wording}")
            )
        if config.generated:
            right = sharing[number % len(sharing)]
            both = (compare, right) if number % 2 else (right, compare)
            rows.append(
                speaker.which(person, both, right, wording, group=f"{person.name} {wording}")
            )
    return each_once(rows)


def _ceiling(
    config: OckrConfig, person: Person, known: Sequence[Sequence[Person]]
) -> list[Example]:
    """The questions after the premises: somebody's attribute, and that the person shares it."""
    speaker, other = Speaker(config, {person.key: SPAN}), known[person.value][0]
    premises = speaker.premises(other) + speaker.related(person, other)
    return [
        tagged(speaker.attribute(person, w, before=premises), part="probe") for w in range(WORDINGS)
    ]
