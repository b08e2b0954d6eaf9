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
    "learning": "One network in two parametrizations: only one of them implies",
    "places": "Where a new fact is written decides what follows from it",
    "constancy": "What names add: one vector for all, one per pair, or the bridge's",
    "controls": "The implications are those of the bridge names, whatever these are",
    "width": "The width that the head needs",
    "margins": "The max-margin programs, and how close training comes to them",
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
