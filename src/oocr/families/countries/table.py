"""The facts about real countries, the wordings that ask for them, and what a codename may be."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.tasks.leaks import contains_words
from oocr.tasks.package_files import package_text

FACETS = ("capital", "language", "continent", "currency", "demonym", "dish")
MIN_NEIGHBOURS = 4
SOURCE = "countries.csv, countries_templates.yaml"
_PARTS = ("train", "stop", "test")
_COLUMNS = ("name", *FACETS, "neighbours", "other_neighbours")


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
        """Names that cannot stand as a wrong neighbour: all true ones and its own."""
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
        self,
        country: Country,
        facet: str,
        wording: Wording,
        codename: str,
        *,
        group: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Example:
        """A question about a facet, answered for `country` under `codename`.

        It belongs to the member `group` (default: the country).
        """
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
            tags=dict(tags or {}),
            source=SOURCE,
        )


def read_countries(text: str, source: str) -> tuple[Country, ...]:
    """Parse the CSV; InputError names the file, the line, the column and the value."""
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise InputError(f"{source}, line 1: columns are {reader.fieldnames}, want {_COLUMNS}")
    countries: list[Country] = []
    for row in reader:
        where = f"{source}, line {reader.line_num}"
        for column in _COLUMNS[:-2]:
            value = row[column]
            if not value or value != value.strip():
                raise InputError(f"{where}, {column}: {value!r} is empty or padded with spaces")
        name = row["name"]
        if any(name == other.name for other in countries):
            raise InputError(f"{where}, name: {name!r} is there twice")
        for column in FACETS:
            if contains_words(row[column], name):
                raise InputError(f"{where}, {column}: {row[column]!r} names {name!r} itself")
        neighbours, others = (
            tuple(neighbour for neighbour in (row[column] or "").split(";") if neighbour)
            for column in ("neighbours", "other_neighbours")
        )
        everyone = (*neighbours, *others)
        if name in everyone or len(set(everyone)) != len(everyone):
            raise InputError(f"{where}, neighbours: {everyone} repeat or include {name!r}")
        countries.append(Country(name, {facet: row[facet] for facet in FACETS}, neighbours, others))
    return tuple(countries)


def read_wordings(text: str, source: str) -> dict[str, Wordings]:
    """Parse the wordings' YAML: facet -> part -> id -> sentence.

    InputError names the file, the facet, the wording and what is wrong.
    """
    loaded: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(text)
    wordings: dict[str, Wordings] = {}
    for facet, parts in loaded.items():
        if unknown := sorted(set(parts) - set(_PARTS)):
            raise InputError(
                f"{source}, {facet}: unknown part {unknown[0]!r}; want {', '.join(_PARTS)}"
            )
        ids = [key for part in parts.values() for key in part]
        for part, sentences in parts.items():
            for key, sentence in sentences.items():
                where = f"{source}, {facet}.{part}.{key}: {sentence!r}"
                if not isinstance(sentence, str) or sentence.count("{}") != 1:
                    raise InputError(f"{where} must hold {{}} exactly once")
                if sentence != sentence.strip() or ids.count(key) > 1:
                    raise InputError(f"{where} is padded with spaces, or its id is there twice")
        of_part = (parts.get(part, {}).items() for part in _PARTS)
        wordings[facet] = Wordings(*(tuple(Wording(*entry) for entry in part) for part in of_part))
    return wordings


@cache
def load_table() -> CountryTable:
    """The table and wordings that come with the package."""
    facts, wordings = SOURCE.split(", ")
    return CountryTable(
        read_countries(package_text(__package__, facts), facts),
        read_wordings(package_text(__package__, wordings), wordings),
    )


def check_codename(codename: str, table: CountryTable) -> str:
    """The codename, if it gives nothing away and can be found again in a prompt.

    InputError: it is empty, padded, holds a real name, or is part of a wording.
    """
    if not codename or codename != " ".join(codename.split()) or "{" in codename:
        raise InputError(
            f"codename {codename!r} must be non-empty, on one line, without braces or "
            "padding; e.g. 'Country 4821', 'Vexoria', 'Zone K-17', 'the land of Orim'"
        )
    low = codename.lower()
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


Codename = Annotated[str, AfterValidator(lambda name: check_codename(name, load_table()))]
"""The setting of a name that stands for a country."""


@cache
def _other_names() -> tuple[str, ...]:
    text = package_text(__package__, "country_names.txt")
    return tuple(line for line in text.splitlines() if line)
