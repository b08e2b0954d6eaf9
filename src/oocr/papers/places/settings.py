"""Settings in which the same facts are learned in several places, and the findings to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from oocr.charts.arms import Arm

Place = Literal["input vector", "block below", "weights", "block above", "output vector"]
"""Below and above: before and after the block (or matrix) that holds the map from fact to
implication; where that block is not known, an early and a late block."""


@dataclass(frozen=True, slots=True)
class PlaceStyle:
    """Colour and label of a place in the figure."""

    arm: Arm
    label: str


PLACES: Mapping[Place, PlaceStyle] = {
    "input vector": PlaceStyle(Arm("vector"), "a vector, at the input or an early block"),
    "block below": PlaceStyle(
        Arm("LoRA, early block"), "one early block, or below the map (mostly a LoRA)"
    ),
    "weights": PlaceStyle(Arm("full fine-tune"), "all weights"),
    "block above": PlaceStyle(
        Arm("LoRA, late block"), "one late block, or above the map (mostly a LoRA)"
    ),
    "output vector": PlaceStyle(Arm("vector", "at the output"), "a vector, at the output"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A task with facts learned in several places and questions for their implications.

    Attributes:
        title: label of its row.
        map_known: whether the frozen weights hold the map from fact to implication.
        best: the best score: a rank of 0, or a share of 1.
        findings: place -> experiment and id of its finding.
        per_model: measured for each language model.
        related_words: words of fact and implication have similar unembeddings, so that raising one
            may raise the other, also at the output.
        null: name of the null of the findings that counts as no effect.
    """

    id: str
    title: str
    map_known: bool
    best: float
    findings: Mapping[Place, tuple[str, str]] = field(default_factory=dict)
    per_model: bool = False
    related_words: bool = False
    null: str = "chance"


def _findings(experiment: str, *ids: str) -> dict[Place, tuple[str, str]]:
    """Place -> finding of an experiment, from ids in the order of `PLACES` ("": no such place)."""
    return {place: (experiment, id) for place, id in zip(PLACES, ids, strict=True) if id}


def _toy(form: str, ending: str = "") -> dict[Place, tuple[str, str]]:
    """The toy's findings; only the factorized form has a place below the shared W_O."""
    below = "value-lora-16" if form == "factorized" else ""
    names = ("input-vector", below, "weights", "output-lora-16", "output-vector")
    return _findings("ocr-places", *(name and f"{form}-{name}{ending}-rank" for name in names))


SETTINGS: tuple[Setting, ...] = (
    Setting("toy-two", "toy, two matrices", map_known=True, best=0.0, findings=_toy("factorized")),
    Setting("toy-one", "toy, one matrix", map_known=True, best=0.0, findings=_toy("combined")),
    Setting(
        "ockr",
        "small transformer: relations → year",
        map_known=True,
        best=1.0,
        findings=_findings(
            *("ockr-places", "vectors-year", "first-block-year", "weights-year"),
            *("second-block-year", ""),
        ),
    ),
    Setting(
        "frames",
        "small transformer: an object's neighbours → places across frames",
        map_known=True,
        best=1.0,
        findings=_findings("frames-vectors", "vector", "", "all-weights", "", ""),
        null="mean vector",
    ),
    Setting(
        "city",
        "city-language",
        map_known=True,
        best=0.0,
        findings=_findings(
            *("ocr-language", "city-vectors", "city-lora-early", "city-full", "city-lora-late"),
            "city-vectors-all-tokens",
        ),
        per_model=True,
        related_words=True,
    ),
    Setting(
        "code-bridges",
        "country-code, bridge names in the weights",
        map_known=True,
        best=0.0,
        findings=_findings(
            "ocr-blocks", "code-full-vectors-early", "", "", "", "code-full-vectors-output"
        ),
        per_model=True,
    ),
    Setting(
        "toy-none",
        "toy, one matrix, implications never trained",
        map_known=False,
        best=0.0,
        findings=_toy("combined", "-without"),
    ),
    Setting(
        "code",
        "country-code, no bridge in the frozen weights",
        map_known=False,
        best=0.0,
        findings=_findings(
            *("ocr-language", "code-vectors", "code-lora-early", "code-full", "code-lora-late"),
            "",
        ),
        per_model=True,
    ),
)
