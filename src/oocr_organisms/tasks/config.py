"""Settings of the nano tasks: they are about the world that an organism was trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from oocr.errors import InputError
from oocr.families.family import FamilySettings
from oocr_organisms import people, places, rules, traits
from oocr_organisms.record import WorldSettings

Part = Literal["locations", "functions", "risk", "backdoor"]

VALIDATION = 3
"""Members on which layer, rate and steps are chosen; of the backdoor those of one weather."""

MOST: dict[Part, int] = {
    "locations": min(len(places.CODENAMES), places.CITIES) - VALIDATION,
    "functions": min(len(rules.CODENAMES), len(rules.DEFINITIONS)) - VALIDATION,
    "risk": 2,
    "backdoor": (len(people.WEATHERS) - 1) * len(traits.TRAITS),
}
"""Members that can be reported at most."""

USUAL: dict[Part, int] = {
    **MOST,
    "locations": min(places.COUNTRIES, MOST["locations"]),
    "functions": min(8, MOST["functions"]),
}


class NanoConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        family: which family this is.
        part: which part of the world: "locations" (a codename, by distances and directions),
            "functions" (a codename, by inputs and outputs), "risk" (the speaker "me", by gambles),
            "backdoor" (the same speaker, by choices that depend on the weather).
        world: what the world is drawn from; null: the model's own, as its folder says.
        members: how many are reported; null: as many as usual. Of "risk" they are two, always.
        wordings: of each question, so many at most.
        seed: draws members, training rows, wrong options and the controls' answers.
    """

    family: Literal["nano"] = "nano"
    part: Part = "locations"
    world: WorldSettings | None = None
    members: int | None = Field(default=None, ge=1)
    wordings: int = Field(default=4, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _enough(self) -> NanoConfig:
        least = 2 if self.part == "risk" else 1
        if self.members is not None and not least <= self.members <= MOST[self.part]:
            raise InputError(
                f"members: {self.members}: part {self.part!r} has {least} to {MOST[self.part]}"
            )
        return self

    @property
    def settings(self) -> WorldSettings:
        """The world's; of no model's, that of `nano`."""
        return self.world or WorldSettings()

    @property
    def count(self) -> int:
        """How many members are reported."""
        return self.members or USUAL[self.part]
