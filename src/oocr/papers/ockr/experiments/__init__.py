"""The experiments of the page, one per file."""

from __future__ import annotations

from collections.abc import Mapping

from oocr.papers.ockr.experiments import completion, places, reasoning
from oocr.papers.paper import AnyExperiment

EXPERIMENTS: tuple[AnyExperiment, ...] = (
    reasoning.EXPERIMENT,
    completion.EXPERIMENT,
    places.EXPERIMENT,
)

SECTIONS: Mapping[str, str] = {
    "nano": "Facts trained apart: recalled, but little follows; and what makes it follow",
    "completion": "Relations as a matrix to be completed",
    "places": "Where a new fact is written: one vector for each person, or the weights",
}
