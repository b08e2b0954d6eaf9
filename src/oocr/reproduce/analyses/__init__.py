"""The table of analyses, one file per subject: functions from `FinishedRuns` to `AnalysisResult`.

Packages add their own by an entry point in the group `oocr.analyses` that names an `Analysis`.
"""

from __future__ import annotations

from collections.abc import Mapping

from oocr.errors import InputError
from oocr.plugins import load_group
from oocr.reproduce.analyses import (
    attention,
    directions,
    geometry,
    paths,
    readings,
    retraining,
    scores,
    side_effects,
)
from oocr.reproduce.analysis import Analysis
from oocr.reproduce.claims import CLAIMS, PaperClaim

GROUP = "oocr.analyses"

_TABLE = (
    Analysis("judged", scores.judged, always=True),
    Analysis("methods", scores.methods, "scores", scores.scores_figure),
    Analysis("layers", scores.layers, "layers", scores.layers_figure),
    Analysis("pairs", geometry.pairs, "constancy", geometry.pairs_figure),
    Analysis("grouped", geometry.grouped),
    Analysis("natural", scores.natural, "natural", scores.natural_figure, ("naive", "methods")),
    Analysis("naive", scores.naive),
    Analysis("readable", readings.readable),
    Analysis("described", readings.described),
    Analysis("asked", readings.asked, asks_judge=True),
    Analysis("cosines", geometry.cosines, "cosines", geometry.cosines_figure),
    Analysis("lines", paths.seed_lines, "lines", paths.lines_figure),
    Analysis("reads", attention.reads, "backdoor", attention.reads_figure),
    Analysis("attention", attention.attention, "backdoor", attention.attention_figure),
    Analysis("directions", directions.directions, "mechanism", directions.directions_figure),
    Analysis("ablation", directions.ablation),
    Analysis("ranks", retraining.ranks, "mechanism", retraining.ranks_figure),
    Analysis("relearned", directions.relearned, "mechanism", directions.relearned_figure),
    Analysis("specificity", side_effects.specificity, "transfer", side_effects.specificity_figure),
    Analysis("narrow", retraining.narrow, "transfer", retraining.narrow_figure),
    Analysis("costs", side_effects.costs, "costs", side_effects.costs_figure),
    Analysis("dynamics", paths.dynamics, "dynamics", paths.dynamics_figure),
    Analysis("mixing", retraining.mixing, "dynamics", retraining.mixing_figure),
)
BUILT_IN: Mapping[str, Analysis] = {analysis.name: analysis for analysis in _TABLE}


def analyses() -> dict[str, Analysis]:
    """The built-in analyses, then those of installed packages, by name.

    InputError: a plug-in that is no `Analysis`, or has the name of a built-in one.
    """
    added = load_group(GROUP, Analysis)
    for analysis in added.values():
        if analysis.name in BUILT_IN:
            raise InputError(f"{GROUP}: {analysis.name!r} is built in; allowed: another name")
    return {**BUILT_IN, **{analysis.name: analysis for analysis in added.values()}}


def all_claims() -> tuple[PaperClaim, ...]:
    """The table of claims, then those of analyses from outside."""
    return (*CLAIMS, *[claim for analysis in analyses().values() for claim in analysis.claims])
