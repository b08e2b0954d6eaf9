"""The toy's experiments, one per file, and the page's sections that show them."""

from __future__ import annotations

from oocr.papers.ocr.toy.experiments import learning
from oocr.papers.paper import AnyExperiment

SECTIONS = {
    "learning": "One network written in two ways: only one of them implies",
}
EXPERIMENTS: tuple[AnyExperiment, ...] = (learning.EXPERIMENT,)
