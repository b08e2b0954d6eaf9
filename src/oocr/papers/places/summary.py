"""The summary of all settings: does a fact imply more if it is written early in the model?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from oocr.charts.dots import dot_panel
from oocr.charts.figure import Figure, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.papers.measure import Unit, differences, mean_finding
from oocr.papers.paper import Summary
from oocr.papers.places.effects import Analyses, Effect, effects
from oocr.papers.places.settings import PLACES, SETTINGS, Place

UNIT = "setting"
SCALE = "0: chance, 1: all implications are right"
PAIRS: dict[str, tuple[Place, Place]] = {
    "early-minus-late": ("input vector", "output vector"),
    "vector-minus-weights": ("input vector", "weights"),
    "block-below-minus-above": ("block below", "block above"),
}


def analyse(analyses: Analyses) -> AnalysisResult:
    """Means over settings whose frozen weights hold the map; paired differences between places."""
    measured = effects(analyses)
    if not measured:
        raise NotMeasuredError("none of the settings was measured")
    result = AnalysisResult(rows=[effect.row() for effect in measured])
    known = [effect for effect in measured if effect.setting.map_known]
    unlike = [effect for effect in known if not effect.setting.related_words]
    groups = (
        ("", "", known),
        ("-unlike", ", words of fact and implication not related", unlike),
    )
    for place, (ending, which, group) in product(PLACES, groups):
        if by_setting := _at(group, place):
            measure = (
                f"effect where the frozen weights hold the map{which} ({SCALE}), "
                f"{PLACES[place].label}"
            )
            id, values = place.replace(" ", "-") + ending, by_setting.values()
            result.findings.append(
                mean_finding(id, measure, values, unit=UNIT, nulls={"chance": 0.0})
            )
    for id, (first, second) in PAIRS.items():
        if gains := differences(_at(known, first), _at(known, second)):
            measure = f"effect, {PLACES[first].label}, minus: {PLACES[second].label}; by setting"
            result.findings.append(mean_finding(id, measure, gains, unit=UNIT))
        else:
            result.reasons.append(f"{id}: no setting has both places")
    return result


def _at(group: Sequence[Effect], place: Place) -> dict[Unit, float]:
    return {
        (effect.setting.id, effect.subject): effect.value
        for effect in group
        if effect.place == place
    }


def figure(tables: Tables) -> Figure | None:
    """One row for each setting, one mark for each place."""
    panels = []
    for table in tables.values():
        titles = list(dict.fromkeys(table["row"].to_list()))
        panels.append(dot_panel(table, titles, f"effect ({SCALE})", zero=True))
    used_places = {place for table in tables.values() for place in table["place"].to_list()}
    keys = [look.arm.entry(look.label) for place, look in PLACES.items() if place in used_places]
    caption = (
        "The same facts learned in different places; the questions are their implications, which "
        "are never trained. 95 % intervals over the units of each experiment."
    )
    return figure_of(SUMMARY.name, caption, panels, tables, keys)


SUMMARY = Summary(
    name="places-effects",
    section="places",
    about="the same facts in several places, on one scale",
    reads=tuple(
        dict.fromkeys(name for setting in SETTINGS for name, _ in setting.findings.values())
    ),
    analyse=analyse,
    figure=figure,
    subject="all settings",
)
