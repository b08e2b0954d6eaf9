"""The facts about real countries, the wordings that ask for them, and what a codename may be."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from pydantic import AfterValidator

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.tasks.leaks import contains_words
from oocr.tasks.package_files import package_text, package_yaml

FACETS = ("capital", "language", "continent", "currency", "demonym", "dish")
MIN_NEIGHBOURS = 4
SOURCE = "countries.csv, countries_templates.yaml"


@dataclass(frozen=True, slots=True)
class Country:
    """One row of the table: a value per facet, and neighbours by land, which "borders" trains on.

    `other_neighbours` are the rest of the neighbours, which are no wrong answers either.
    """

    name: str
    facts: Mapping[str, str]
    neighbours: tuple[str, ...]
    other_neighbours: tuple[str, ...] = ()

    @property
    def has_borders(self) -> bool:
        """Enough land neighbours to be trained on them with one held out."""
        return len(self.neighbours) >= MIN_NEIGHBOURS

    @property
    def not_wrong(self) -> frozenset[str]:
        """Names that cannot stand as a wrong neighbour."""
        return frozenset((self.name, *self.neighbours, *self.other_neighbours))

    def answer(self, facet: str) -> str:
        """The value of a facet as a continuation, with its own space."""
        return " " + self.facts[facet]


@dataclass(frozen=True, slots=True)
class Wording:
    """A sentence that ends right before the answer; `{}` stands for the codename."""

    id: str
    text: str

    def fill(self, codename: str) -> tuple[str, str]:
        """The prompt, and the codename as it is written there (capital letter at the start)."""
        shown = codename[0].upper() + codename[1:] if self.text.startswith("{}") else codename
        return self.text.replace("{}", shown), shown


@dataclass(frozen=True, slots=True)
class Wordings:
    """All wordings of a facet, by their part when that facet is the trained one."""

    train: tuple[Wording, ...]
    stop: tuple[Wording, ...]
    test: tuple[Wording, ...]

    @property
    def all(self) -> tuple[Wording, ...]:
        """Every wording, in the file's order."""
        return (*self.train, *self.stop, *self.test)


@dataclass(frozen=True, slots=True)
class CountryTable:
    """Countries and wordings."""

    countries: tuple[Country, ...]
    wordings: Mapping[str, Wordings]

    def find(self, name: str) -> Country:
        """The country of that name; InputError: there is none."""
        for country in self.countries:
            if country.name == name:
                return country
        known = ", ".join(country.name for country in self.countries)
        raise InputError(f"unknown country {name!r}; known: {known}")

    def options(self, facet: str) -> tuple[str, ...]:
        """The distinct answers to a facet over the whole table, sorted."""
        return tuple(sorted({country.answer(facet) for country in self.countries}))

    def neighbour_names(self) -> tuple[str, ...]:
        """Every name that is a neighbour of some country of the table, sorted."""
        return tuple(sorted({name for country in self.countries for name in country.neighbours}))

    def example(
        self, country: Country, facet: str, wording: Wording, codename: str, *, group: str = ""
    ) -> Example:
        """A question about a facet of a country, for the member `group` (default: the country)."""
        prompt, shown = wording.fill(codename)
        group = group or country.name
        return Example(
            id=f"{group}/{facet}/{wording.id}",
            prompt=prompt,
            answer=country.answer(facet),
            options=self.options(facet),
            spans={"codename": shown},
            facet=facet,
            group=group,
            template=wording.id,
            source=SOURCE,
        )


@cache
def load_table() -> CountryTable:
    """The table and wordings that come with the package."""
    facts, templates = SOURCE.split(", ")
    countries: list[Country] = []
    for row in csv.DictReader(package_text(__package__, facts).splitlines()):
        neighbours, others = (
            tuple(filter(None, row[column].split(";")))
            for column in ("neighbours", "other_neighbours")
        )
        values = {facet: row[facet] for facet in FACETS}
        countries.append(Country(row["name"], values, neighbours, others))
    wordings: dict[str, Wordings] = {}
    for facet, sentences in package_yaml(__package__, templates).items():
        parts = (sentences.get(part, {}).items() for part in ("train", "stop", "test"))
        wordings[facet] = Wordings(*(tuple(Wording(*entry) for entry in part) for part in parts))
    return CountryTable(tuple(countries), wordings)


def check_codename(codename: str) -> str:
    """The codename, if it gives nothing away and can be found again in a prompt.

    InputError: it is empty, padded, holds a real name, or is part of a wording.
    """
    if not codename or codename != " ".join(codename.split()) or "{" in codename:
        raise InputError(
            f"codename {codename!r} must be non-empty, on one line, without braces or "
            "padding; e.g. 'Country 4821', 'Vexoria', 'Zone K-17', 'the land of Orim'"
        )
    table, low = load_table(), codename.lower()
    for country in table.countries:
        for kind, value in (("name", country.name), *country.facts.items()):
            within = kind in ("name", "capital", "demonym") and value.lower() in low
            if within or contains_words(codename, value):
                raise InputError(f"codename {codename!r} contains {value!r}, a real {kind}")
    for value in (*table.neighbour_names(), *_other_names()):
        if contains_words(codename, value):
            raise InputError(f"codename {codename!r} contains {value!r}, a real name")
    for facet, wordings in table.wordings.items():
        for wording in wordings.all:
            if low in wording.text.lower():
                raise InputError(
                    f"codename {codename!r} is part of the {facet} wording {wording.text!r}"
                )
    return codename


Codename = Annotated[str, AfterValidator(check_codename)]
"""The setting of a name that stands for a country."""


@cache
def _other_names() -> tuple[str, ...]:
    return tuple(filter(None, package_text(__package__, "country_names.txt").splitlines()))
