"""One scale for all settings: the effect is 0 at chance and 1 if all implications are right.

    effect = (score - chance) / (best - chance)

The score is a finding of an experiment: a mean rank (best: 0) or a share right (best: 1). `chance`
is the value of the finding's null that the setting names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oocr.claims.page_claims import KeptAnalysis
from oocr.claims.records import Finding
from oocr.papers.places.settings import PLACES, SETTINGS, Place, Setting

Analyses = Mapping[str, Mapping[str, KeptAnalysis]]
"""Experiment -> subject -> analysis."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of one place in one setting, for one subject (a model, or "")."""

    setting: Setting
    subject: str
    place: Place
    value: float
    low: float
    high: float
    measure: str

    @property
    def title(self) -> str:
        """The title of the setting, with the subject if there are several."""
        return (
            f"{self.setting.title}, {self.subject}"
            if self.setting.per_model
            else self.setting.title
        )

    def row(self) -> dict[str, Any]:
        """A row of the figure's table."""
        arm = PLACES[self.place].arm
        return {
            "row": self.title,
            "setting": self.setting.id,
            "subject": self.subject,
            "place": self.place,
            "arm": arm.name,
            "control": arm.control,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "note": self.measure,
        }


def effect_of(setting: Setting, subject: str, place: Place, finding: Finding) -> Effect:
    """A finding on the common scale; ValueError: the finding lacks the setting's null."""
    chance = next((null.value for null in finding.nulls if null.name == setting.null), None)
    if chance is None:
        raise ValueError(f"finding {finding.id!r} does not say what chance is")
    number, whole = finding.found, setting.best - chance
    low, high = sorted((end - chance) / whole for end in (number.low, number.high))
    value = (number.value - chance) / whole
    return Effect(setting, subject, place, value, low, high, finding.measure)


def effects(analyses: Analyses, settings: Sequence[Setting] = SETTINGS) -> list[Effect]:
    """All measured effects, setting by setting."""
    return [effect for setting in settings for effect in _of(setting, analyses)]


def _of(setting: Setting, analyses: Analyses) -> Iterator[Effect]:
    subjects = dict.fromkeys(
        subject
        for experiment, _ in setting.findings.values()
        for subject in analyses.get(experiment, {})
    )
    for subject in subjects:
        for place, (experiment, id) in setting.findings.items():
            kept = analyses.get(experiment, {}).get(subject)
            for finding in () if kept is None else kept.findings:
                if finding.id == id:
                    yield effect_of(setting, subject, place, finding)
