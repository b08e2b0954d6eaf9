"""The toy's experiments, one per file, and the page's sections that show them."""

from __future__ import annotations

from oocr.papers.ocr.toy.experiments import (
    approach,
    bridges,
    constancy,
    controls,
    learning,
    places,
    programs,
    sweep,
)
from oocr.papers.paper import AnyExperiment

SECTIONS = {
    "learning": "One network written in two ways: only one of them implies",
    "places": "Where a new fact is written decides what follows from it",
    "constancy": "What names add: one vector, one per pair, or the bridge's",
    "controls": "It implies whatever the bridges say",
    "width": "How wide the head must be",
    "margins": "The max-margin programs behind it, and how near training gets",
}
EXPERIMENTS: tuple[AnyExperiment, ...] = (
    learning.EXPERIMENT,
    places.EXPERIMENT,
    constancy.EXPERIMENT,
    controls.EXPERIMENT,
    bridges.EXPERIMENT,
    sweep.EXPERIMENT,
    programs.EXPERIMENT,
    approach.EXPERIMENT,
)
