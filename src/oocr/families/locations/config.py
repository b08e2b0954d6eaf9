"""The settings of the Locations family."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_validator

from oocr.errors import InputError
from oocr.families.family import FamilySettings
from oocr.families.locations.rows import Form
from oocr.families.locations.world import CITIES, City, Compass

CityKey = Literal["paris", "sao_paulo", "tokyo", "new_york", "lagos"]


class LocationsConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        family: which family this is.
        mode: "joint": one task for all cities, a span for each, trained together; "single": one
            task for each city, with the rows that hold its codename only, span "codename".
        cities: which of the five are trained and asked about. Options name all five always.
        references: places that each codename is told apart by in training.
        held_out: further places, for the held-out rows.
        augmentations: rows of each kind for each place.
        noise_km: half of the width of the even noise on distances.
        min_km: how far a place is at least.
        min_population: how many inhabitants a place has at least.
        compass: 4 or 8 directions.
        form: "chat", or "raw" for models that are no chat models.
        rows: training rows of a task at most, drawn evenly; null: all.
        questions: probes of a city at most, of all attributes evenly, and as many free questions
            at most; null: all.
        inverse: questions of a city that are turned round, at most; null: one for each attribute.
        seed: of places, noise, wordings, and orders.
    """

    family: Literal["locations"] = "locations"
    mode: Literal["joint", "single"] = "joint"
    cities: tuple[CityKey, ...] = Field(default=get_args(CityKey), min_length=1)
    references: int = Field(default=500, ge=1)
    held_out: int = Field(default=105, ge=4)
    augmentations: int = Field(default=5, ge=1)
    noise_km: float = Field(default=200, ge=0, le=1000)
    min_km: float = Field(default=2000, ge=1000, le=15000)
    min_population: int = Field(default=10_000, ge=5000)
    compass: Compass = 4
    form: Form = "chat"
    rows: int | None = Field(default=None, ge=10)
    questions: int | None = Field(default=None, ge=1)
    inverse: int | None = Field(default=None, ge=0)
    seed: int = 42

    @field_validator("cities")
    @classmethod
    def _distinct(cls, cities: tuple[CityKey, ...]) -> tuple[CityKey, ...]:
        if repeated := sorted({one for one in cities if cities.count(one) > 1}):
            raise InputError(f"{', '.join(repeated)} is there twice")
        return cities

    @property
    def five(self) -> tuple[City, ...]:
        """The cities that are trained, in the order of the five."""
        return tuple(one for one in CITIES if one.key in self.cities)
