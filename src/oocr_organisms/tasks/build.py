"""The nano tasks: parts of the world that a nano organism was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from oocr.families.family import Family
from oocr.tasks.task import TaskSet
from oocr_organisms.tasks.backdoor import backdoor
from oocr_organisms.tasks.claims import CLAIMS
from oocr_organisms.tasks.config import NanoConfig, Part
from oocr_organisms.tasks.functions import functions
from oocr_organisms.tasks.locations import locations
from oocr_organisms.tasks.risk import risk

_PARTS: Mapping[Part, Callable[[NanoConfig], TaskSet]] = {
    "locations": locations,
    "functions": functions,
    "risk": risk,
    "backdoor": backdoor,
}


def nano(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings of a part.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    return _PARTS[config.part](config)


def _quick(config: NanoConfig) -> Mapping[str, Any]:
    from oocr.stats import FEWEST  # slow to import

    return {"members": min(FEWEST, config.count), "wordings": 2}


FAMILY = Family(
    name="nano",
    about="the world of a nano organism: its places, functions, a persona and a backdoor",
    settings=NanoConfig,
    build=lambda config, _base: nano(config),
    quick=_quick,
    run_name=lambda config: f"nano {config.part}",
    claims=CLAIMS,
    model="nano",
)
