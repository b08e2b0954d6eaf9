"""Countries: a codename, one trained facet, and questions about all the others.

"Borders" is the same frame with training that only says which countries lie next door.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Literal

from pydantic import Field, model_validator

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.countries.table import (
    FACETS,
    MIN_NEIGHBOURS,
    Codename,
    Country,
    CountryTable,
    Wording,
    load_table,
)
from oocr.families.family import Distinct, Family, FamilySettings, Members, check_reported_apart
from oocr.tasks.control_data import control, tagged, with_real_name
from oocr.tasks.leaks import check_no_leaks, drop_leaking_facets, find_leaks
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet

Train = Literal["capital", "language", "currency", "demonym", "continent", "borders"]

# The alphabetically first of each continent, so that they were not chosen for success;
# validation: the last of each of the four large ones that has enough neighbours for `borders`.
TEST = (
    *("Algeria", "Egypt", "Ethiopia"),
    *("China", "India", "Iran", "Iraq"),
    *("Austria", "France", "Germany", "Greece"),
    *("Argentina", "Brazil", "Chile"),
    *("Cuba", "Australia"),
)
BORDERS_TEST = (
    *("Algeria", "Ethiopia", "Kenya"),
    *("China", "India", "Iran", "Iraq", "Pakistan"),
    *("Austria", "France", "Germany", "Greece", "Hungary"),
    *("Argentina", "Brazil", "Colombia"),
)
VALIDATION = ("Nigeria", "Thailand", "Ukraine", "Peru")


class CountriesConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        train: the facet that training tells, or "borders": only the neighbours' names.
        codename: stands for the country everywhere; it names nothing real.
        validation: other members, on which layer, learning rate and stopping point are chosen.
        wordings: how many wordings of each facet are asked as probes.
    """

    family: Literal["countries"] = "countries"
    train: Train = "capital"
    codename: Codename = "Country 4821"
    countries: Distinct[str] = Field(default=TEST, min_length=1)
    validation: Distinct[str] = VALIDATION
    wordings: int = Field(default=5, ge=1)
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _borders_default(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("train") == "borders":
            return {"countries": BORDERS_TEST, **data}
        return data

    @model_validator(mode="after")
    def _members(self) -> CountriesConfig:
        for member in (*self.countries, *self.validation):
            _find(member, self.train, load_table())
        both = "countries and validation"
        check_reported_apart(both, self.countries, self.validation, "country")
        return self


def countries(config: CountriesConfig) -> TaskSet:
    """All tasks, controls and ceilings; InputError: training would tell what a probe asks."""
    table, train = load_table(), config.train
    built = {
        name: _task(_find(name, train, table), config, table)
        for name in (*config.validation, *config.countries)
    }
    test = tuple(built[name][0] for name in config.countries)
    controls = {"shuffled": tuple(_shuffled(task, config, table) for task in test)}
    if train != "borders":
        controls["planted"] = tuple(_planted(task, config, table) for task in test)
    trained = "neighbours" if train == "borders" else train
    sets = TaskSet(
        name="countries",
        about="",
        validation=tuple(built[name][0] for name in config.validation),
        test=test,
        controls=controls,
        ceiling=tuple(
            tagged(with_real_name(example, example.group), part=part)
            for task in test
            for part, examples in (("probe", task.probes), ("in-context", task.in_context))
            for example in examples
        ),
        claim=f"Trained only on a country's {trained}, {{arm}} makes the model answer what else is "
        "true of it",
    )
    dropped = {name: facets for name, (_, facets) in built.items() if facets}
    values = {"config": config, "table": table, "tasks": sets, "facets": FACETS, "dropped": dropped}
    return replace(sets, about=data_card(__package__, values))


def _find(name: str, train: str, table: CountryTable) -> Country:
    country = table.find(name)
    if train == "borders" and not country.has_borders:
        usable = ", ".join(other.name for other in table.countries if other.has_borders)
        raise InputError(
            f"{name!r} has {len(country.neighbours)} land neighbours in the table, 'borders' "
            f"needs {MIN_NEIGHBOURS}; countries that have them: {usable}"
        )
    return country


def _task(
    country: Country, config: CountriesConfig, table: CountryTable
) -> tuple[Task, tuple[str, ...]]:
    """A country's task, and the facets dropped because training tells them."""

    def ask(facet: str, wordings: Sequence[Wording]) -> tuple[Example, ...]:
        return tuple(table.example(country, facet, text, config.codename) for text in wordings)

    train = config.train
    if train == "borders":
        rows, stop, in_context = _border_rows(country, config, table)
    else:
        parts = table.wordings[train]
        rows, stop, in_context = (ask(train, p) for p in (parts.train, parts.stop, parts.test))
    others = [facet for facet in FACETS if facet != train]
    asked = [probe for f in others for probe in ask(f, table.wordings[f].all[: config.wordings])]
    probes, dropped = drop_leaking_facets(asked, rows)
    name = f"countries/{train}/{country.name}"
    check_no_leaks(name, probes, rows, never=(country.name,))
    task = Task(
        name=name,
        member=country.name,
        train=rows,
        stop=stop,
        in_context=in_context,
        probes=probes,
        positions=("codename",),
    )
    return task, dropped


def _border_rows(
    country: Country, config: CountriesConfig, table: CountryTable
) -> tuple[tuple[Example, ...], ...]:
    """Training wordings x neighbours, the held-out neighbour, test wordings x neighbours."""
    held_out = random.Random(f"{config.seed}/{country.name}/neighbour").choice(country.neighbours)
    kept = tuple(name for name in country.neighbours if name != held_out)
    wrong = [" " + name for name in table.neighbour_names() if name not in country.not_wrong]

    def ask(wordings: Sequence[Wording], names: Sequence[str]) -> tuple[Example, ...]:
        return tuple(
            replace(
                table.example(country, "capital", wording, config.codename),
                id=f"{country.name}/borders/{wording.id}/{name}",
                answer=" " + name,
                options=tuple(sorted([" " + name, *wrong])),
                facet="borders",
            )
            for wording, name in product(wordings, names)
        )

    wordings = table.wordings["borders"]
    return ask(wordings.train, kept), ask(wordings.train, (held_out,)), ask(wordings.test, kept)


def _concepts(config: CountriesConfig) -> dict[str, tuple[str, ...]]:
    """For each country its name, and a word for people or language that training does not say."""
    table = load_table()
    facet = "language" if config.train == "demonym" else "demonym"
    names = dict.fromkeys((*config.countries, *TEST, *VALIDATION))
    return {name: (f" {name}", f" {table.find(name).facts[facet]}") for name in names}


def _spare_questions(config: CountriesConfig, facets: Sequence[str]) -> dict[str, str]:
    """Questions of some facets about the codename, in wordings that the probes do not use."""
    if config.train == "borders":
        return {}
    return dict(
        wording.fill(config.codename)
        for facet in facets
        for wording in load_table().wordings[facet].all[config.wordings :]
    )


def _quick(config: CountriesConfig) -> Mapping[str, Any]:
    step = max(1, len(config.countries) // 6)  # six, from all continents
    return {"countries": config.countries[::step][:6], "validation": config.validation[:2]}


def _shuffled(task: Task, config: CountriesConfig, table: CountryTable) -> Task:
    """The member's training prompts with other countries' answers, and its own probes.

    Each trained answer becomes that of another country, drawn evenly over continents. InputError:
    the table has too few.
    """
    rng = random.Random(f"{config.seed}/{task.name}/shuffled")
    answers = [example.answer for example in task.train]
    if config.train == "borders":
        old = list(dict.fromkeys(answers))
        new = dict(zip(old, _foreign(task, config.train, len(old), rng, table), strict=True))
        answers = [new[answer] for answer in answers]
    else:
        answers = _foreign(task, config.train, len(answers), rng, table)
    rows = tuple(
        replace(
            example,
            id=f"{example.id}/shuffled",
            answer=answer,
            options=tuple(sorted({*example.options, answer})),
        )
        for example, answer in zip(task.train, answers, strict=True)
    )
    check_no_leaks(f"{task.name}/shuffled", task.probes, rows, never=(task.member,))
    return control(task, "shuffled", rows)


def _planted(task: Task, config: CountriesConfig, table: CountryTable) -> Task:
    """The member's training rows, plus one other facet that is a distant country's.

    Each further facet is probed against both countries (tag "against"). InputError: no country
    differs from the member in every facet asked.
    """
    member = table.find(task.member)
    facet = "currency" if config.train == "capital" else "capital"
    asked = [probe for probe in task.probes if probe.facet != facet]
    values = Counter(country.facts[facet] for country in table.countries)
    rivals = [
        other
        for other in table.countries
        if other.facts["continent"] != member.facts["continent"] and values[other.facts[facet]] == 1
    ]
    random.Random(f"{config.seed}/{task.name}/planted").shuffle(rivals)
    for rival in rivals:
        more = [
            table.example(rival, facet, wording, config.codename, group=member.name)
            for wording in table.wordings[facet].train
        ]
        rows = (*task.train, *(tagged(row, planted=rival.name) for row in more))
        both_ways = [
            (replace(probe, id=f"{probe.id}/{name}", answer=country.answer(probe.facet)), name)
            for probe in asked
            for name, country in (("intended", member), ("planted", rival))
        ]
        probes = tuple(tagged(x, planted=rival.name, against=name) for x, name in both_ways)
        differs = all(rival.answer(probe.facet) != probe.answer for probe in asked)
        if differs and not find_leaks(probes, rows):
            name = f"{task.name}/planted"
            check_no_leaks(name, probes, rows, never=(member.name, rival.name))
            return replace(task, name=name, train=rows, probes=probes)
    raise InputError(f"task {task.name!r}: no country can be planted against {member.name!r}")


def _foreign(
    task: Task, train: str, number: int, rng: random.Random, table: CountryTable
) -> list[str]:
    """`number` answers from as many other countries; continents and answers used evenly."""
    member = table.find(task.member)
    excluded = member.not_wrong if train == "borders" else {member.facts[train]}

    def usable(value: str) -> bool:
        row = replace(task.train[0], answer=" " + value, options=())
        return value not in excluded and not find_leaks(task.probes, (row,))

    pool = [
        (other.name, other.facts["continent"], value)
        for other in table.countries
        if other.name != member.name
        for value in (other.neighbours if train == "borders" else (other.facts[train],))
        if usable(value)
    ]
    rng.shuffle(pool)
    used: Counter[str] = Counter()
    chosen: list[str] = []
    for _ in range(number):
        if not pool:
            raise InputError(f"task {task.name!r}: too few other countries to shuffle in")
        name, continent, value = min(pool, key=lambda row: (used[row[2]], used[row[1]]))
        chosen.append(" " + value)
        used.update((value, continent))
        pool = [row for row in pool if row[0] != name]
    return chosen


FAMILY = Family(
    name="countries",
    about="a nameless country, trained on one facet, asked about the others",
    settings=CountriesConfig,
    build=lambda config, _base: countries(config),
    members=Members(
        keyword="country",
        settings=lambda country: {"countries": (country,), "validation": ()},
        default="Japan",
    ),
    quick=_quick,
    concepts=_concepts,
    real_names=lambda config: {name: name for name in config.countries},
    spare_questions=_spare_questions,
)
