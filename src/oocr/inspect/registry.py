"""What Inspect finds through the entry point: names alone; torch is imported at first use."""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi

from oocr.inspect.scorers import chosen, counted, judged, log_odds
from oocr.inspect.solvers import answer, choose
from oocr.inspect.tasks import choices, free

__all__ = [
    "answer",
    "choices",
    "choose",
    "chosen",
    "counted",
    "free",
    "judged",
    "log_odds",
    "oocr",
]


@modelapi(name="oocr")
def oocr() -> type[ModelAPI]:
    """`--model oocr/MODEL -M vector=FILE`."""
    from oocr.inspect.provider import SteeredModel

    return SteeredModel
