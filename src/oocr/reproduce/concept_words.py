"""The concepts that a reader chooses among, by task: each with the words that belong to it."""

from __future__ import annotations

from collections.abc import Mapping

from oocr.families.registry import family_of
from oocr.runs.config import RunConfig

NO_WORDS = "no words stand for what its members are about, so no reader can be asked"


def concepts_of(config: RunConfig) -> Mapping[str, tuple[str, ...]]:
    """Concept -> words, trained members among them; empty where members have no words."""
    return family_of(config.task).concepts(config.task)
