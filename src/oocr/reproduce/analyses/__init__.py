"""The analyses of the page of the paper's claims, one file per subject.

An analysis is a function from `FinishedRuns` to an `AnalysisResult` (findings by id, and a table)
with a function from its tables to a figure beside it. Packages add their own by an entry point in
the group `oocr.analyses` that names an `Analysis`, with its claims.
"""

from __future__ import annotations

from collections.abc import Mapping

from oocr.errors import InputError
from oocr.plugins import load_group
from oocr.reproduce.analyses.attention import attention, attention_figure, reads, reads_figure
from oocr.reproduce.analyses.constancy import grouped, pairs, pairs_figure
from oocr.reproduce.analyses.costs import costs, costs_figure
from oocr.reproduce.analyses.directions import (
    ablation,
    directions,
    directions_figure,
    relearned,
    relearned_figure,
)
from oocr.reproduce.analyses.geometry import cosines, cosines_figure, lines_figure, seed_lines
from oocr.reproduce.analyses.mixing import mixing, mixing_figure
from oocr.reproduce.analyses.narrow import narrow, narrow_figure
from oocr.reproduce.analyses.natural import naive_scores, natural_figure, natural_scores
from oocr.reproduce.analyses.ranks import ranks, ranks_figure
from oocr.reproduce.analyses.readings import asked, described, readable
from oocr.reproduce.analyses.scores import (
    judged,
    layers,
    layers_figure,
    methods,
    scores_figure,
)
from oocr.reproduce.analyses.training import (
    dynamics,
    dynamics_figure,
    specificity,
    specificity_figure,
)
from oocr.reproduce.analysis import Analysis
from oocr.reproduce.claims import CLAIMS
from oocr.reproduce.paper_claim import PaperClaim

GROUP = "oocr.analyses"

BUILT_IN: Mapping[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        Analysis("judged", judged, always=True),
        Analysis("methods", methods, "scores", scores_figure),
        Analysis("layers", layers, "layers", layers_figure),
        Analysis("pairs", pairs, "constancy", pairs_figure),
        Analysis("grouped", grouped),
        Analysis(
            "natural",
            natural_scores,
            "natural",
            natural_figure,
            more_tables=("naive", "methods"),
        ),
        Analysis("naive", naive_scores),
        Analysis("readable", readable),
        Analysis("described", described),
        Analysis("asked", asked, asks_judge=True),
        Analysis("cosines", cosines, "cosines", cosines_figure),
        Analysis("lines", seed_lines, "lines", lines_figure),
        Analysis("reads", reads, "backdoor", reads_figure),
        Analysis("attention", attention, "backdoor", attention_figure),
        Analysis("directions", directions, "mechanism", directions_figure),
        Analysis("ablation", ablation),
        Analysis("ranks", ranks, "mechanism", ranks_figure),
        Analysis("relearned", relearned, "mechanism", relearned_figure),
        Analysis("specificity", specificity, "transfer", specificity_figure),
        Analysis("narrow", narrow, "transfer", narrow_figure),
        Analysis("costs", costs, "costs", costs_figure),
        Analysis("dynamics", dynamics, "dynamics", dynamics_figure),
        Analysis("mixing", mixing, "dynamics", mixing_figure),
    )
}


def analyses() -> dict[str, Analysis]:
    """The built-in analyses, then those of installed packages, by name.

    Raises:
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
