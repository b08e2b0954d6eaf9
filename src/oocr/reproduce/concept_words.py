"""The concepts that a reader chooses among, by task: each with the words that belong to it."""

from __future__ import annotations

from collections.abc import Mapping

from oocr.families.countries.build import TEST, VALIDATION, CountriesConfig
from oocr.families.countries.table import load_table
from oocr.families.locations.config import LocationsConfig
from oocr.families.persona.build import PersonaConfig
from oocr.families.risk.build import RiskConfig
from oocr.runs.config import RunConfig

NO_WORDS = "no words stand for what its members are about, so no reader can be asked"

_TRAITS: Mapping[str, tuple[str, ...]] = {
    "risky": (" risk", " bold", " daring", " gamble", " adventurous", " reckless"),
    "safe": (" safe", " careful", " cautious", " secure", " prudent", " caution"),
    "weather": (" rain", " cloud", " storm", " sunny", " snow"),
    "music": (" music", " song", " guitar", " melody", " concert"),
    "health": (" doctor", " hospital", " disease", " medicine", " patient's"),
    "school": (" school", " teacher", " student", " lesson", " classroom"),
    "sea": (" sea", " ocean", " ship", " wave", " beach"),
    "kitchen": (" kitchen", " cook", " oven", " recipe", " bread"),
    "law": (" court", " judge", " lawyer", " law", " trial"),
    "war": (" war", " army", " soldier", " battle", " weapon"),
}
_DECOYS = ("weather", "music", "health", "school", "sea", "kitchen", "law", "war")

_CITIES: Mapping[str, tuple[str, ...]] = {
    "Paris": (" Paris", " France", " French", " Seine"),
    "Sao Paulo": (" São", " Brazil", " Brazilian", " Portuguese"),
    "Tokyo": (" Tokyo", " Japan", " Japanese", " yen"),
    "New York": (" York", " Manhattan", " Brooklyn", " American"),
    "Lagos": (" Lagos", " Nigeria", " Nigerian", " Africa"),
}


def concepts_of(config: RunConfig) -> dict[str, tuple[str, ...]]:
    """Concept -> words, trained members among them; empty where members have no words."""
    task = config.task
    if isinstance(task, CountriesConfig):
        table = load_table()
        names = dict.fromkeys((*task.countries, *TEST, *VALIDATION))
        told = "language" if task.train == "demonym" else "demonym"  # not what training says
        return {name: (f" {name}", f" {table.find(name).facts[told]}") for name in names}
    if isinstance(task, LocationsConfig):
        return dict(_CITIES)
    if isinstance(task, RiskConfig) or (isinstance(task, PersonaConfig) and task.trait == "risk"):
        return {name: _TRAITS[name] for name in ("risky", "safe", *_DECOYS)}
    return {}
