"""The language experiments, one per file, and the page's sections that show them."""

from __future__ import annotations

from oocr.papers.ocr.language.experiments import blocks, tasks
from oocr.papers.paper import AnyExperiment

SECTIONS = {
    "language": "Real models: what follows by a known map, and by an arbitrary map",
    "blocks": "The block at which a vector stops implying",
}
EXPERIMENTS: tuple[AnyExperiment, ...] = (tasks.EXPERIMENT, blocks.EXPERIMENT)
