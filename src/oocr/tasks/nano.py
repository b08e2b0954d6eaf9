"""The nano tasks: parts of the world that a nano organism was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oocr.tasks.nano_backdoor import backdoor
from oocr.tasks.nano_config import NanoConfig, Part
from oocr.tasks.nano_functions import functions
from oocr.tasks.nano_locations import locations
from oocr.tasks.nano_risk import risk
from oocr.tasks.task import TaskSet

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
