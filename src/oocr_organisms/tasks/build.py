"""The nano tasks: parts of the world that a nano organism was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oocr.tasks.task import TaskSet
from oocr_organisms.tasks.backdoor import backdoor
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
