"""Is what names add constant? One vector for all, one for each pair, or the bridge's vector."""

from __future__ import annotations

from dataclasses import asdict

import polars as pl

from oocr.charts.figure import Figure, Tables, figure_of
from oocr.charts.heat import grid_of, heat_panel
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE, SIGNED
from oocr.papers.measure import by_unit, differences, mean_finding, values_of
from oocr.papers.ocr.toy.clean import fit_world, implied_score, inputs_of
from oocr.papers.ocr.toy.experiments.forms import FORMS, FormCell, both_forms, solution_gap
from oocr.papers.ocr.toy.max_margin import solution
from oocr.papers.ocr.toy.networks import output_value
from oocr.papers.ocr.toy.shares import shares
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Experiment, Rows

STEPS = 3000
ROWS = {"factorized": "two matrices", "combined": "one matrix"}
MEASURES = {
    "one_vector": "one vector for all names",
    "pair_vector": "one vector per pair",
    "own_bridge": "cosine with the own bridge",
    "other_bridge": "with other bridges",
}


def compute(cell: FormCell) -> Rows:
    """Similarity of the names' columns of W, and the rank of the implication."""
    world = World()
    heads = None if cell.form == "combined" else inputs_of(world)
    trained = fit_world(world, heads, cell.seed, STEPS)
    rank = implied_score(world, trained).rank
    return [{**asdict(shares(output_value(trained), world)), "rank": rank}]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Shares and cosines of both forms; the max-margin solutions' values are the nulls."""
    world, result = World(), AnalysisResult()
    for form in FORMS:
        ideal = asdict(shares(solution(world, solution_gap(world, form)), world))
        for name, words in MEASURES.items():
            finding = mean_finding(
                f"{form}-{name.replace('_', '-')}",
                f"{words}, test names' columns of W, {form}",
                values_of(table, name, form=form),
                bounds=SHARE if name.endswith("_vector") else SIGNED,
                nulls={"max-margin solution": ideal[name]},
            )
            result.findings.append(finding)
            for row, value in (
                (ROWS[form], finding.found.value),
                (f"max-margin: {ROWS[form]}", ideal[name]),
            ):
                result.rows.append({"row": row, "column": words, "value": value})
    combined, factorized = (
        by_unit(table, "one_vector", form=form) for form in ("combined", "factorized")
    )
    result.findings.append(
        mean_finding(
            "combined-more-constant",
            "share of one vector for all names, combined minus factorized",
            differences(combined, factorized),
            bounds=SIGNED,
        )
    )
    return result


def figure(tables: Tables) -> Figure | None:
    """A table of shares and cosines."""
    panels = []
    for table in tables.values():
        grid = grid_of(table, "row", "column", "value")
        panels.append(heat_panel(*grid, most=1.7))
    caption = (
        "What the test names' columns of W have in common. One matrix is the more constant form, "
        "and does not imply: a bridge has a half on c that its test names lack, so that their "
        "cosine is 1/√2. Cosines are of columns minus their mean."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables)


EXPERIMENT = Experiment(
    name="ocr-constancy",
    section="constancy",
    about="the names' columns of W of both forms, trained without noise words",
    cells=both_forms,
    compute=compute,
    analyse=analyse,
    figure=figure,
)
