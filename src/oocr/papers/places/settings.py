"""The settings in which the same facts were learned in several places, and who measured them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from oocr.charts.arms import Arm

Place = Literal["input vector", "block below", "weights", "block above", "output vector"]
"""Below and above: before or after the block (or matrix) that reads the map from fact to
consequence, or as far as that is known, an early block and a late one."""


@dataclass(frozen=True, slots=True)
class PlaceLook:
    """How a place is called and looks."""

    arm: Arm
    label: str


PLACES: Mapping[Place, PlaceLook] = {
    "input vector": PlaceLook(Arm("vector"), "a vector, at the input or an early block"),
    "block below": PlaceLook(
        Arm("LoRA, early block"), "one early block, or below the map (mostly a LoRA)"
    ),
    "weights": PlaceLook(Arm("full fine-tune"), "all weights"),
    "block above": PlaceLook(
        Arm("LoRA, late block"), "one late block, or above the map (mostly a LoRA)"
    ),
    "output vector": PlaceLook(Arm("vector", "at the output"), "a vector, at the output"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Where facts were learned and consequences asked.

    Attributes:
        title: of its row.
        known: whether the frozen weights hold the map from fact to consequence.
        best: the score when all is said: a rank of 0, or a share of 1.
        null: the name of the findings' null that counts as no effect.
        marks: place -> the experiment and the id of its finding.
        of_models: measured for each language model.
        alike: words of fact and consequence belong together, so that what raises one may raise the
            other by likeness alone, also at the output.
    """

    id: str
    title: str
    known: bool
    best: float
    marks: Mapping[Place, tuple[str, str]] = field(default_factory=dict)
    of_models: bool = False
    alike: bool = False
    null: str = "chance"


def _marks(experiment: str, *ids: str) -> dict[Place, tuple[str, str]]:
    """An experiment's findings in the order of `PLACES`; "": a place that it does not have."""
    return {place: (experiment, id) for place, id in zip(PLACES, ids, strict=True) if id}


def _toy(form: str, ending: str = "") -> dict[Place, tuple[str, str]]:
    """The toy's places; only two matrices have a place below the shared read-out."""
    below = "value-lora-16" if form == "factorized" else ""
    names = ("input-vector", below, "weights", "output-lora-16", "output-vector")
    return _marks("ocr-places", *(name and f"{form}-{name}{ending}-rank" for name in names))


SETTINGS: tuple[Setting, ...] = (
    Setting("toy-two", "toy, two matrices", known=True, best=0.0, marks=_toy("factorized")),
    Setting("toy-one", "toy, one matrix", known=True, best=0.0, marks=_toy("combined")),
    Setting(
        "ockr",
        "small transformer: relations → year",
        known=True,
        best=1.0,
        marks=_marks(
            *("ockr-places", "vectors-year", "first-block-year", "weights-year"),
            *("second-block-year", ""),
        ),
    ),
    Setting(
        "frames",
        "small transformer: an object's neighbours → places across frames",
        known=True,
        best=1.0,
        marks=_marks("frames-vectors", "vector", "", "all-weights", "", ""),
        null="mean vector",
    ),
    Setting(
        "city",
        "city-language",
        known=True,
        best=0.0,
        marks=_marks(
            *("ocr-language", "city-vectors", "city-lora-early", "city-full", "city-lora-late"),
            "city-vectors-all-tokens",
        ),
        of_models=True,
        alike=True,
    ),
    Setting(
        "code-bridges",
        "country-code, bridge names in the weights",
        known=True,
        best=0.0,
        marks=_marks(
            "ocr-blocks", "code-full-vectors-early", "", "", "", "code-full-vectors-output"
        ),
        of_models=True,
    ),
    Setting(
        "toy-none",
        "toy, one matrix, never told an implication",
        known=False,
        best=0.0,
        marks=_toy("combined", "-without"),
    ),
    Setting(
        "code",
        "country-code, no bridge in the frozen weights",
        known=False,
        best=0.0,
        marks=_marks(
            *("ocr-language", "code-vectors", "code-lora-early", "code-full", "code-lora-late"),
            "",
        ),
        of_models=True,
    ),
)
