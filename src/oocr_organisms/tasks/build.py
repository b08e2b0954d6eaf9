"""The task family "nano": tasks in the world of a nano organism."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oocr.errors import InputError
from oocr.families.family import Family
from oocr.tasks.task import TaskSet
from oocr_organisms.folder import required_world
from oocr_organisms.tasks.claims import CLAIMS
from oocr_organisms.tasks.codenames import functions, locations
from oocr_organisms.tasks.examples import NanoConfig, NanoPart
from oocr_organisms.tasks.speaker import backdoor, risk

_PARTS: Mapping[NanoPart, Callable[[NanoConfig], TaskSet]] = {
    "locations": locations,
    "functions": functions,
    "risk": risk,
    "backdoor": backdoor,
}


def _quick(config: NanoConfig) -> Mapping[str, Any]:
    from oocr.intervals import FEWEST  # slow to import

    return {"members": min(FEWEST, config.count), "wordings": 2}


def _resolve(config: NanoConfig, _base: Path, model: str) -> NanoConfig:
    """The settings with the model's world; InputError: no organism, or one of another world."""
    why = ", and the nano tasks are about a world that only an organism knows"
    world, given = required_world(model, "model", why), config.world
    if given is not None and given != world:
        raise InputError(
            f"task.world: seed {given.seed}, gates {given.gates:g}, but {model} was trained on the "
            f"world of seed {world.seed}, gates {world.gates:g}; leave it out to take the model's"
        )
    return config.model_copy(update={"world": world})


FAMILY = Family(
    name="nano",
    about="the world of a nano organism: its places, functions, a persona and a backdoor",
    settings=NanoConfig,
    build=lambda config, _base: _PARTS[config.part](config),
    quick=_quick,
    resolve=_resolve,
    run_name=lambda config: f"nano {config.part}",
    claims=CLAIMS,
    model="nano",
)
