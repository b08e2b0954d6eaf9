"""The task family "nano": parts of the world that a nano organism was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oocr.errors import InputError
from oocr.families.family import Family
from oocr.tasks.task import TaskSet
from oocr_organisms.folder import WorldSettings, required_world
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


def _build(config: NanoConfig, _base: Path) -> TaskSet:
    return _PARTS[config.part](config)


def _quick(config: NanoConfig) -> Mapping[str, Any]:
    from oocr.stats import FEWEST  # slow to import

    return {"members": min(FEWEST, config.count), "wordings": 2}


def _resolve(config: NanoConfig, _base: Path, model: str) -> NanoConfig:
    """The settings with the world of the model.

    Raises:
        InputError: the model is no organism, or of another world than is asked for.
    """
    why = ", and the nano tasks are about a world that only an organism knows"
    world = required_world(model, "model", why)
    if config.world is not None and config.world != world:
        raise InputError(
            f"task.world: {_text(config.world)}, but {model} was trained on the world of "
            f"{_text(world)}; leave it out to take the model's"
        )
    return config.model_copy(update={"world": world})


def _text(world: WorldSettings) -> str:
    return f"seed {world.seed}, gates {world.gates:g}"


FAMILY = Family(
    name="nano",
    about="the world of a nano organism: its places, functions, a persona and a backdoor",
    settings=NanoConfig,
    build=_build,
    quick=_quick,
    resolve=_resolve,
    run_name=lambda config: f"nano {config.part}",
    claims=CLAIMS,
    model="nano",
)
