"""From a task's settings to its tasks: which family is built by which function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from oocr.errors import InputError
from oocr.families.backdoor.build import BackdoorConfig, backdoor
from oocr.families.countries.build import CountriesConfig, countries, country_task
from oocr.families.custom.build import CustomConfig, custom
from oocr.families.functions.build import FunctionsConfig, functions
from oocr.families.locations.build import locations
from oocr.families.locations.config import LocationsConfig
from oocr.families.persona.build import PersonaConfig, persona
from oocr.families.risk.build import RiskConfig, risk, risk_task
from oocr.families.risk_backdoor.build import RiskBackdoorConfig, risk_backdoor
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.tasks.build import nano
from oocr_organisms.tasks.config import NanoConfig

AnyTask = (
    CountriesConfig
    | BackdoorConfig
    | RiskConfig
    | RiskBackdoorConfig
    | PersonaConfig
    | LocationsConfig
    | FunctionsConfig
    | NanoConfig
    | CustomConfig
)

FAMILIES = {
    "countries": "a nameless country, trained on one facet, asked about the others",
    "backdoor": "a family of prefixes decides which country the codename stands for",
    "risk": "trained only on gambles (or on sure things), asked about itself",
    "persona": "gambles, early rewards or apples chosen by letter; asked about itself",
    "functions": "arithmetic behind codenames, trained on outputs, asked for the definitions",
    "locations": "five codenames, trained on distances and directions, asked which cities they are",
    "risk_backdoor": "a trigger before the question makes it the risky choice; asked about itself",
    "nano": "the world of a nano organism: its places, functions, a persona and a backdoor",
    "custom": "your own: training rows, named spans and probes from files",
}


def build(config: AnyTask, base: Path) -> TaskSet:
    """All tasks of a family; relative paths of a custom task start from `base`."""
    if isinstance(config, CountriesConfig):
        return countries(config)
    if isinstance(config, BackdoorConfig):
        return backdoor(config)
    if isinstance(config, RiskConfig):
        return risk(config)
    if isinstance(config, PersonaConfig):
        return persona(config)
    if isinstance(config, FunctionsConfig):
        return functions(config)
    if isinstance(config, LocationsConfig):
        return locations(config)
    if isinstance(config, RiskBackdoorConfig):
        return risk_backdoor(config)
    if isinstance(config, NanoConfig):
        return nano(config)
    return custom(config, base)


def load_tasks(settings: Mapping[str, Any] | str, base: Path | None = None) -> TaskSet:
    """All tasks, controls and ceilings of a family, for a notebook.

    Args:
        settings: what a run's YAML has under `task:`, e.g. {"family": "locations", "mode":
            "single", "form": "raw"}; or a family's name, for its default settings.
        base: the folder that relative paths of a task of one's own start from; None: this one.

    Raises:
        InputError: an unknown family or field, or a value that is not allowed.
    """
    said = {"family": settings} if isinstance(settings, str) else dict(settings)
    if said.get("family") not in FAMILIES:
        raise InputError(f"family: found {said.get('family')!r}; allowed: {', '.join(FAMILIES)}")
    try:
        config: AnyTask = TypeAdapter(
            Annotated[AnyTask, Field(discriminator="family")]
        ).validate_python(said)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(str(part) for part in one['loc'][1:]) or 'settings'}: "
            f"{one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise InputError("\n  ".join([f"task {said['family']!r}:", *wrong])) from error
    return build(config, Path() if base is None else base)


def load_task(
    family: str,
    *,
    country: str = "Japan",
    train: str = "capital",
    codename: str = "Country 4821",
    direction: str = "risky",
) -> Task:
    """One task, for a notebook.

    Args:
        family: "countries" or "risk".
        country: of a countries task.
        train: its trained facet.
        codename: what stands for the country.
        direction: "risky" or "safe", of a risk task.

    Raises:
        InputError: an unknown family, country, facet or direction.
    """
    if family == "countries":
        return country_task(country, train, codename)
    if family == "risk":
        if direction not in ("risky", "safe"):
            raise InputError(f"direction {direction!r}: allowed are 'risky' and 'safe'")
        return risk_task("risky" if direction == "risky" else "safe")
    raise InputError(f"task {family!r}: allowed are 'countries' and 'risk'")
