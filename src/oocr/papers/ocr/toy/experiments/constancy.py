"""Is what a name adds constant? One vector for all, one for each pair, and the own bridge's."""

from __future__ import annotations

from dataclasses import asdict

import polars as pl

from oocr.charts.figure import Figure, Tables, figure_of
from oocr.charts.heat import grid_of, heat_panel
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE, SIGNED
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.ocr.toy.clean import fit, implied_score, inputs_of, random_start, training_rows
from oocr.papers.ocr.toy.max_margin import least_gap, solution
from oocr.papers.ocr.toy.networks import RANDOM_SCALE, Form, output_value
from oocr.papers.ocr.toy.shares import shares
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows

STEPS = 3000
FORMS: tuple[Form, ...] = ("factorized", "combined")
ROWS = {"factorized": "two matrices", "combined": "one matrix"}
MEASURES = {
    "one_vector": "one vector for all names",
    "pair_vector": "one vector per pair",
    "own_bridge": "cosine with the own bridge",
    "other_bridge": "with other bridges",
}


class ConstancyCell(Cell):
    """A form of the network."""

    form: Form


def cells(settings: PaperSettings) -> list[ConstancyCell]:
    """Both forms on every seed."""
    seeds = settings.seeds(full=5, quick=3)
    return [ConstancyCell(seed=seed, form=form) for seed in seeds for form in FORMS]


def compute(cell: ConstancyCell) -> Rows:
    """What the names' columns of W share, and the rank of what follows."""
    world = World()
    heads = None if cell.form == "combined" else inputs_of(world)
    start = random_start(world, heads, RANDOM_SCALE, cell.seed)
    trained = fit(training_rows(world), start, STEPS)
    rank = implied_score(world, trained).rank
    return [{**asdict(shares(output_value(trained), world)), "rank": rank}]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Shares and cosines of both forms, beside those of the max-margin solutions."""
    world, result = World(), AnalysisResult()
    gaps = {"factorized": least_gap(world.bridges, world.tests, "nuclear"), "combined": 0.0}
    ideal = {form: asdict(shares(solution(world, gap), world)) for form, gap in gaps.items()}
    for form in FORMS:
        for name, words in MEASURES.items():
            finding = mean_finding(
                f"{form}-{name.replace('_', '-')}",
                f"{words}, test names' columns of W, {form}",
                values_of(table, name, form=form),
                bounds=SHARE if name.endswith("_vector") else SIGNED,
                nulls={"max-margin solution": ideal[form][name]},
            )
            result.findings.append(finding)
            for row, value in (
                (ROWS[form], finding.found.value),
                (f"max-margin: {ROWS[form]}", ideal[form][name]),
            ):
                result.rows.append({"row": row, "column": words, "value": value})
    of_form = {form: values_of(table, "one_vector", form=form) for form in FORMS}
    result.findings.append(
        mean_finding(
            "combined-more-constant",
            "share of one vector for all names, combined minus factorized",
            [a - b for a, b in zip(of_form["combined"], of_form["factorized"], strict=True)],
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
        "cosine is 1/√2. Cosines are of columns less their mean."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables)


EXPERIMENT = Experiment(
    name="ocr-constancy",
    section="constancy",
    about="the names' columns of W of both forms, trained without noise words",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
)
