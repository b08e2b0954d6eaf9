"""All task families, built-in and installed, and the tasks that their settings describe.

A package adds a family by an entry point of the group `oocr.families`, as docs/how-to/add-a-task.md
shows:

    [project.entry-points."oocr.families"]
    toy = "oocr_toy:FAMILY"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from oocr.errors import InputError
from oocr.families.backdoor import build as backdoor
from oocr.families.countries import build as countries
from oocr.families.custom import build as custom
from oocr.families.family import Family, FamilySettings
from oocr.families.frames import build as frames
from oocr.families.functions import build as functions
from oocr.families.locations import build as locations
from oocr.families.ockr import build as ockr
from oocr.families.ocr import build as ocr
from oocr.families.persona import build as persona
from oocr.families.risk import build as risk
from oocr.families.risk_backdoor import build as risk_backdoor
from oocr.plugins import load_group
from oocr.tasks.task import Task, TaskSet

GROUP = "oocr.families"

BUILT_IN: tuple[Family[Any], ...] = (
    countries.FAMILY,
    backdoor.FAMILY,
    risk.FAMILY,
    persona.FAMILY,
    functions.FAMILY,
    locations.FAMILY,
    frames.FAMILY,
    risk_backdoor.FAMILY,
    ocr.FAMILY,
    ockr.FAMILY,
    custom.FAMILY,
)


def _all() -> dict[str, Family[Any]]:
    """Built-in families first, then installed ones, then tasks of the user's own."""
    families = {family.name: family for family in BUILT_IN}
    for name, family in load_group(GROUP, Family).items():
        if family.name != name:
            raise InputError(f"plug-in {name!r} of {GROUP}: found a family named {family.name!r}")
        if name in families:
            raise InputError(f"plug-in {name!r} of {GROUP}: there is a built-in family {name!r}")
        families[name] = family
    families[custom.FAMILY.name] = families.pop(custom.FAMILY.name)  # a user's own comes last
    return families


FAMILIES: dict[str, Family[Any]] = _all()


def family_of(settings: FamilySettings) -> Family[Any]:
    """The family that settings belong to."""
    return FAMILIES[settings.family]


def build(settings: FamilySettings, base: Path) -> TaskSet:
    """All tasks of a family; relative paths of files start from `base`."""
    return family_of(settings).build(settings, base)


def load_tasks(settings: Mapping[str, Any] | str, base: Path | None = None) -> TaskSet:
    """All tasks, controls and ceilings of a family, for a notebook.

    Args:
        settings: what a run's YAML has under `task:`, e.g. {"family": "locations", "form": "raw"};
            or a family's name, for its default settings.
        base: the folder that relative paths of a task of your own start from; None: this one.

    InputError: an unknown family or field, or a value that is not allowed.
    """
    fields = {"family": settings} if isinstance(settings, str) else settings
    return build(_validated(fields), base or Path())


def load_task(
    family: str,
    *,
    member: str | None = None,
    settings: Mapping[str, Any] | None = None,
    country: str | None = None,
    city: str | None = None,
    function: str | None = None,
    direction: str | None = None,
    pair: str | None = None,
    train: str | None = None,
    codename: str | None = None,
) -> Task:
    """One task, for a notebook: `load_task("locations", city="tokyo")`.

    The family is any that `oocr tasks` lists. Its member is named by `member` (None: its first) or
    by what the family calls it: `country`, `city`, `function` (a codename), `direction` ("risky"),
    `pair` ("France|Japan"). `settings` is what a run's YAML has under `task:` ({"form": "raw"});
    `train` (the trained facet of a countries task) and `codename` are settings too.

    InputError: an unknown family, member or setting; the message names the allowed ones.
    """
    if family not in FAMILIES:
        raise InputError(f"task {family!r}: allowed are {', '.join(map(repr, FAMILIES))}")
    members = FAMILIES[family].members
    named = {"member": member, "country": country, "city": city, "function": function}
    named |= {"direction": direction, "pair": pair}
    given = {keyword: name for keyword, name in named.items() if name is not None}
    allowed = tuple(dict.fromkeys((members.keyword, "member")))
    if wrong := [keyword for keyword in given if keyword not in allowed]:
        raise InputError(
            f"{wrong[0]}: task {family!r} has none; its member is picked by {' or '.join(allowed)}"
        )
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} name the same thing: give one of them")
    keyword, wanted = next(iter(given.items()), (members.keyword, members.default))
    fields: dict[str, Any] = {**(members.settings(wanted) if wanted else {}), **(settings or {})}
    further = {"train": train, "codename": codename}
    fields |= {name: value for name, value in further.items() if value is not None}
    built = build(_validated({**fields, "family": family}), Path())
    tasks = [replace(task, headline=built.headline) for task in built.test]
    for task in tasks:
        if not wanted or _plain(task.member) == _plain(wanted):
            return task
    known = ", ".join(repr(task.member) for task in tasks)
    raise InputError(f"{keyword} {wanted!r}: allowed are {known}")


def _plain(name: str) -> str:
    """A member's name without capitals and underscores: "sao_paulo" is "Sao Paulo"."""
    return name.casefold().replace("_", " ")


def _validated(fields: Mapping[str, Any]) -> FamilySettings:
    name = fields.get("family")
    if name not in tuple(FAMILIES):
        raise InputError(f"family: found {name!r}; allowed: {', '.join(FAMILIES)}")
    try:
        settings: FamilySettings = FAMILIES[str(name)].settings.model_validate(dict(fields))
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'settings'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise InputError("\n  ".join([f"task {name!r}:", *faults])) from error
    return settings
