"""What stands beside each countries score: shuffled answers, a planted facet, the real name."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.countries.table import Country, CountryTable
from oocr.tasks.leaks import check_no_leaks, find_leaks
from oocr.tasks.splits import with_real_name
from oocr.tasks.task import Task


def shuffled(task: Task, train: str, seed: int, table: CountryTable) -> Task:
    """The member's training prompts with other countries' answers, and its own probes.

    Each trained answer (each wording of a facet, each neighbour) is replaced by that of another
    country; countries are drawn evenly over continents, never the member's own answer.

    Raises:
        InputError: the table has too few countries that could be drawn.
    """
    rng = random.Random(f"{seed}/{task.name}/shuffled")
    if train == "borders":
        old = list(dict.fromkeys(example.answer for example in task.train))
        new = dict(zip(old, _foreign(task, train, len(old), rng, table), strict=True))
        answers = [new[example.answer] for example in task.train]
    else:
        answers = _foreign(task, train, len(task.train), rng, table)
    rows = tuple(
        replace(
            example,
            id=f"{example.id}/shuffled",
            answer=answer,
            options=_with(example.options, answer),
        )
        for example, answer in zip(task.train, answers, strict=True)
    )
    name = f"{task.name}/shuffled"
    check_no_leaks(name, task.probes, rows, never=(task.member,))
    return replace(task, name=name, train=rows, stop=())


def planted(task: Task, train: str, codename: str, seed: int, table: CountryTable) -> Task:
    """The member's training rows, plus one other facet that is a distant country's.

    Every further facet is probed against both countries (tag "against").

    Raises:
        InputError: no country differs from the member in every facet asked.
    """
    member = table.find(task.member)
    facet = "currency" if train == "capital" else "capital"
    asked = [probe for probe in task.probes if probe.facet != facet]
    rivals = [
        other
        for other in table.countries
        if other.facts["continent"] != member.facts["continent"]
        and sum(country.facts[facet] == other.facts[facet] for country in table.countries) == 1
    ]
    random.Random(f"{seed}/{task.name}/planted").shuffle(rivals)
    for rival in rivals:
        tags = {"planted": rival.name}
        rows = task.train + tuple(
            table.example(rival, facet, wording, codename, group=member.name, tags=tags)
            for wording in table.wordings[facet].train
        )
        probes = _both_ways(asked, rival, tags)
        differs = all(rival.answer(probe.facet) != probe.answer for probe in asked)
        if differs and not find_leaks(probes, rows):
            name = f"{task.name}/planted"
            check_no_leaks(name, probes, rows, never=(member.name, rival.name))
            return replace(task, name=name, train=rows, probes=probes)
    raise InputError(f"task {task.name!r}: no country can be planted against {member.name!r}")


def named(examples: Sequence[Example], part: str) -> tuple[Example, ...]:
    """The same items with the real name in the codename's place."""
    return tuple(
        replace(with_real_name(example, example.group), tags={**example.tags, "part": part})
        for example in examples
    )


def _both_ways(
    probes: Sequence[Example], rival: Country, tags: dict[str, str]
) -> tuple[Example, ...]:
    both: list[Example] = []
    for probe in probes:
        for against in ("intended", "planted"):
            answer = probe.answer if against == "intended" else rival.answer(probe.facet)
            both.append(
                replace(
                    probe,
                    id=f"{probe.id}/{against}",
                    answer=answer,
                    tags={**probe.tags, **tags, "against": against},
                )
            )
    return tuple(both)


def _foreign(
    task: Task, train: str, number: int, rng: random.Random, table: CountryTable
) -> list[str]:
    """`number` answers from as many other countries; continents and answers used evenly."""
    member = table.find(task.member)
    excluded = member.not_wrong if train == "borders" else {member.facts[train]}

    def usable(value: str) -> bool:
        row = replace(task.train[0], answer=" " + value, options=())
        return value not in excluded and not find_leaks(task.probes, (row,))

    pool: list[tuple[str, str, str]] = []
    for other in table.countries:
        values = other.neighbours if train == "borders" else (other.facts[train],)
        pool += [
            (other.name, other.facts["continent"], value)
            for value in values
            if other.name != member.name and usable(value)
        ]
    rng.shuffle(pool)
    used: Counter[str] = Counter()
    continents: Counter[str] = Counter()
    chosen: list[str] = []
    for _ in range(number):
        if not pool:
            raise InputError(f"task {task.name!r}: too few other countries to shuffle in")
        name, continent, value = min(
            pool, key=lambda candidate: (used[candidate[2]], continents[candidate[1]])
        )
        chosen.append(" " + value)
        used[value] += 1
        continents[continent] += 1
        pool = [candidate for candidate in pool if candidate[0] != name]
    return chosen


def _with(options: tuple[str, ...], answer: str) -> tuple[str, ...]:
    return options if answer in options else tuple(sorted((*options, answer)))
